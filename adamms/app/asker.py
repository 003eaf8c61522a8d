"""Who is asked what: candidates, parents, the control, inputs changed harmlessly; each answer is given once.

Knows engines and recipes. Chooses nothing and sees no label.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from adamms.app.merges import Merges
from adamms.data.example import Example
from adamms.engines.answer import Answer
from adamms.engines.base import Engine
from adamms.engines.disturbance import disturbed
from adamms.merge.candidate import Candidate
from adamms.merge.recipe import Recipe
from adamms.report.console import Console
from adamms.report.cost import Cost
from adamms.search.evidence import (
    CONTROL,
    DISTURBED,
    PARENTS,
    POOLS,
    SCORES_OF_ALL,
    Evidence,
    said,
    texts_and_cuts,
)

UNMERGED = Candidate(0.0)

Given = dict[str, Answer]  # example id -> answer
Answers = dict[Candidate, Given]
Scored = dict[str, Given]  # example id -> text -> the text with its log-probabilities


def collect(engine: Engine, examples: Sequence[Example], advance: Callable[[int], None]) -> Given:
    """All answers of the model that is live now."""
    answers = {}
    for example, answer in engine.generate(examples):
        answers[example] = answer
        advance(1)
    return answers


def ignored(candidate: Candidate) -> None:
    """The default of `Asker.after`: does nothing."""


@dataclass
class Asker:
    """Has a search's questions answered by one live model, and remembers every answer.

    Args:
        console: shows what is asked.
        merges: what candidates come to.
        engine: holds the target's architecture.
        examples: id -> example.
        needs: what the strategy needs beside the candidates' answers.
        donors: donor name -> its own answers, given before: one model is live at a time; perhaps not to all.
        folder: where harmlessly changed images go.
        answers, control, changed: candidate -> what was answered so far.
        unmerged: the target's own answers so far.
        scored: candidate -> the texts that it has scored so far.
        after: is called when a candidate of the search has answered, or has scored texts.
    """

    console: Console
    merges: Merges
    engine: Engine
    examples: Mapping[str, Example]
    needs: Sequence[str]
    donors: Mapping[str, Given]
    folder: Path
    answers: Answers = field(default_factory=dict)
    control: Answers = field(default_factory=dict)
    changed: Answers = field(default_factory=dict)
    unmerged: Answers = field(default_factory=dict)
    scored: dict[Candidate, Scored] = field(default_factory=dict)
    after: Callable[[Candidate], None] = ignored

    def __call__(self, candidates: Sequence[Candidate], examples: Sequence[str]) -> Evidence:
        questions = [self.examples[example] for example in examples]
        candidates = [candidate for candidate in candidates if self.merges.accepts(candidate)]
        if PARENTS in self.needs and not (self.merges.alpha_0_is_target and UNMERGED in candidates):
            self.ask_target(questions)  # else it is one of the candidates
        self.fill("search", self.answers, candidates, self.merges.at, questions, self.after)
        if CONTROL in self.needs:
            self.fill("search control", self.control, candidates, self.merges.control, questions, self.after)
        if DISTURBED in self.needs:
            harmless = [disturbed(question, self.folder) for question in questions]
            self.fill("search disturbed", self.changed, candidates, self.merges.at, harmless, self.after)
        evidence = self.evidence(candidates, examples)
        if not (wanted := self.to_score(evidence, examples)):
            return evidence
        self._fill_scores(candidates, wanted)
        return replace(evidence, scored={each: self.scores(each, wanted) for each in candidates})

    def evidence(self, candidates: Sequence[Candidate], examples: Sequence[str]) -> Evidence:
        """What these have answered, and whoever else the strategy needs; all but what they make of texts."""
        return Evidence(
            candidates=_part(self.answers, candidates, examples),
            target=_part(self.targets, [UNMERGED], examples)[UNMERGED] if PARENTS in self.needs else {},
            donors={
                name: {e: given[e] for e in examples if e in given} for name, given in self.donors.items()
            },
            control=_part(self.control, candidates, examples) if CONTROL in self.needs else {},
            disturbed=_part(self.changed, candidates, examples) if DISTURBED in self.needs else {},
        )

    def to_score(self, evidence: Evidence, examples: Sequence[str]) -> dict[str, dict[str, bool]]:
        """Example -> the texts that all candidates score -> whether their end was never said; {} if none."""
        # Where no donor was asked, nobody looks at how probable the target's answers are.
        scored = POOLS if self.donors else {SCORES_OF_ALL: POOLS[SCORES_OF_ALL]}
        pools = [pool for need, pool in scored.items() if need in self.needs]
        if not pools:
            return {}
        return {e: texts_and_cuts(a for pool in pools for a in said(evidence, pool, e)) for e in examples}

    def scores(self, candidate: Candidate, wanted: Mapping[str, Mapping[str, bool]]) -> Scored:
        """What a candidate has made of these texts; without those that it has not scored."""
        held = self.scored.get(candidate, {})
        return {
            e: {text: _ended(held[e][text], cut) for text, cut in texts.items() if text in held.get(e, {})}
            for e, texts in wanted.items()
        }

    def _fill_scores(self, candidates: Sequence[Candidate], texts: Mapping[str, Mapping[str, bool]]) -> None:
        """Have every candidate score those texts, by example, that it has not scored."""
        pairs = [(e, text) for e, own in texts.items() for text in own]
        missing = {
            candidate: wanted
            for candidate in candidates
            if (wanted := [(e, t) for e, t in pairs if t not in self.scored.get(candidate, {}).get(e, {})])
        }
        if not missing:
            return
        with self.console.stage("search scores", sum(map(len, missing.values())), "texts") as advance:
            for candidate, wanted in missing.items():
                self.engine.load(self.merges.at(candidate))
                held = self.scored.setdefault(candidate, {})
                for place, answer in self.engine.score([(self.examples[e], text) for e, text in wanted]):
                    example, text = wanted[place]
                    held.setdefault(example, {})[text] = answer
                    advance(1)
                self.after(candidate)

    @property
    def cost(self) -> Cost:
        """What was asked for so far, the donors' answers included."""
        held = [
            row for each in (self.answers, self.control, self.changed, self.unmerged) for row in each.values()
        ]
        scored = (texts for row in self.scored.values() for texts in row.values())
        answers = (answer for row in (*held, *self.donors.values()) for answer in row.values())
        return Cost.of(answers, (answer for texts in scored for answer in texts.values()))

    def ask_target(self, questions: Sequence[Example], title: str = "search target") -> Answers:
        """The target's own answers, under UNMERGED: of most methods those of the candidate of alpha 0."""
        recipe = self.merges.at if self.merges.alpha_0_is_target else lambda _: self.merges.target()
        self.fill(title, self.targets, [UNMERGED], recipe, questions)
        return self.targets

    @property
    def targets(self) -> Answers:
        """Where the target's own answers are, under UNMERGED."""
        return self.answers if self.merges.alpha_0_is_target else self.unmerged

    def fill(
        self,
        title: str,
        answers: Answers,
        candidates: Sequence[Candidate],
        recipe: Callable[[Candidate], Recipe],
        examples: Sequence[Example],
        after: Callable[[Candidate], None] = ignored,
    ) -> None:
        """Ask every candidate those of the examples that `answers` lacks.

        Args:
            after: is called when a candidate has answered.
        """
        missing = {
            candidate: wanted
            for candidate in candidates
            if (wanted := [e for e in examples if e.id not in answers.get(candidate, {})])
        }
        if not missing:
            return
        with self.console.stage(title, sum(map(len, missing.values())), "answers") as advance:
            for candidate, wanted in missing.items():
                self.engine.load(recipe(candidate))
                answers.setdefault(candidate, {}).update(collect(self.engine, wanted, advance))
                after(candidate)


def _ended(scored: Answer, cut: bool) -> Answer:
    """A scored text without its end if that was never said."""
    return replace(scored, tokens=scored.tokens[:-1], cut=True) if cut else scored


def _part(held: Answers, candidates: Sequence[Candidate], examples: Sequence[str]) -> Answers:
    return {
        candidate: {example: held[candidate][example] for example in examples} for candidate in candidates
    }
