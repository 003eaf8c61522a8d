"""Has a search's questions answered: by candidates, parents, the control, and with disturbed inputs.

What a strategy asks for, and no more; each answer once. Like `answering`, above the layers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from adamms.app.answering import UNMERGED, Answers, ask_donor, fill
from adamms.app.grid import space_of
from adamms.app.merges import Case, build, variants_of
from adamms.app.merging import Merging
from adamms.data.disturbance import disturbed
from adamms.data.example import Example
from adamms.engines.answer import Answer
from adamms.engines.base import Engine
from adamms.errors import AdammsError
from adamms.merge.candidate import Candidate
from adamms.merge.recipe import Recipe
from adamms.report.console import Console
from adamms.search.choice import Selector
from adamms.search.evidence import CONTROL, DISTURBED, PARENTS, SURENESS, TOKENS, Ask, Evidence
from adamms.search.several import CoefficientsSelector


def selector_of(config: DictConfig) -> Selector:
    """The strategy that the configuration names, with the space that it walks in.

    Raises:
        AdammsError: a space that is none.
    """
    selector: Selector = build(config.search.selector)
    return selector.within(space_of(config)) if isinstance(selector, CoefficientsSelector) else selector


@dataclass
class Asker:
    """An `Ask` over one live model.

    Args:
        console: shows what is asked.
        case: the models.
        engine: holds the target's architecture.
        examples: id -> example.
        needs: what the strategy needs beside the candidates' answers.
        donors: donor name -> its own answers, given before: one model is live at a time.
        folder: where disturbed images go.
        merging: how candidates that the case does not know are merged, as `variants_of` says it.
        answers, target, control, changed: everything that was answered so far.
    """

    console: Console
    case: Case
    engine: Engine
    examples: Mapping[str, Example]
    needs: Sequence[str]
    donors: Mapping[str, Mapping[str, Answer]]
    folder: Path
    merging: Callable[[Sequence[Candidate]], Mapping[Candidate, Merging]] = lambda _: {}
    answers: Answers = field(default_factory=dict)
    target: dict[str, Answer] = field(default_factory=dict)
    control: Answers = field(default_factory=dict)
    changed: Answers = field(default_factory=dict)

    def __call__(self, candidates: Sequence[Candidate], examples: Sequence[str]) -> Evidence:
        questions = [self.examples[example] for example in examples]
        candidates = [candidate for candidate in candidates if self._can_be_merged(candidate)]
        self._ask("search", self.answers, candidates, self._merged, questions)
        if PARENTS in self.needs:
            self._ask_target(questions)
        if CONTROL in self.needs:
            self._ask("search control", self.control, candidates, self._control, questions)
        if DISTURBED in self.needs:
            harmless = [disturbed(question, self.folder) for question in questions]
            self._ask("search disturbed", self.changed, candidates, self._merged, harmless)
        return Evidence(
            candidates=_part(self.answers, candidates, examples),
            target={example: self.target[example] for example in examples} if PARENTS in self.needs else {},
            donors={
                name: {example: answers[example] for example in examples}
                for name, answers in self.donors.items()
            },
            control=_part(self.control, candidates, examples) if CONTROL in self.needs else {},
            disturbed=_part(self.changed, candidates, examples) if DISTURBED in self.needs else {},
        )

    def given(self, candidates: Sequence[Candidate]) -> Answers:
        """What these candidates have said so far; of those that were asked nothing, nothing."""
        return {candidate: self.answers.get(candidate, {}) for candidate in dict.fromkeys(candidates)}

    def _can_be_merged(self, candidate: Candidate) -> bool:
        """Whether its settings go together; from now on the case knows it."""
        try:
            if candidate.parameters and candidate not in self.case.variants:
                known = {**self.case.variants, **self.merging([candidate])}
                self.case = replace(self.case, variants=known)
            self._merged(candidate)
        except AdammsError:
            return False
        return True

    def _merged(self, candidate: Candidate) -> Recipe:
        return self.case.at(candidate).recipe()

    def _control(self, candidate: Candidate) -> Recipe:
        return self.case.at(candidate).control_recipe()

    def _ask_target(self, questions: Sequence[Example]) -> None:
        """Of most methods it is the candidate of alpha 0."""
        if self._merged(UNMERGED).changes:
            held = {UNMERGED: self.target}
            self._ask("search target", held, [UNMERGED], lambda _: self.case.unmerged(), questions)
        else:
            self._ask("search target", self.answers, [UNMERGED], self._merged, questions)
            self.target = self.answers.get(UNMERGED, {})

    def _ask(
        self,
        title: str,
        held: Answers,
        candidates: Sequence[Candidate],
        recipe: Callable[[Candidate], Recipe],
        questions: Sequence[Example],
    ) -> None:
        fill(self.console, title, self.engine, held, candidates, recipe, questions)


def donors_answers(
    console: Console, config: DictConfig, case: Case, needs: Sequence[str], examples: Sequence[Example]
) -> dict[str, dict[str, Answer]]:
    """What every donor answers by itself, if the strategy needs it: before the target's engine is opened."""
    if PARENTS not in needs:
        return {}
    return {name: ask_donor(console, f"search {name}", config, case, name, examples) for name in case.donors}


def asker_of(
    console: Console,
    config: DictConfig,
    case: Case,
    engine: Engine,
    needs: Sequence[str],
    donors: Mapping[str, Mapping[str, Answer]],
    examples: Sequence[Example],
) -> Asker:
    """The asker of a run."""
    folder, merging = Path(config.cache) / "disturbed", partial(variants_of, config)
    by_id = {example.id: example for example in examples}
    return Asker(console, case, engine, by_id, needs, donors, folder, merging)


def recorded(answers: Mapping[Candidate, Mapping[str, Answer]]) -> Ask:
    """What a strategy asks with where all answers are there already."""

    def ask(candidates: Sequence[Candidate], examples: Sequence[str]) -> Evidence:
        return Evidence({c: {example: answers[c][example] for example in examples} for c in candidates})

    return ask


def check_logprobs(config: DictConfig, needs: Sequence[str]) -> None:
    """Raise AdammsError if a strategy needs log-probabilities that the engine is not asked for."""
    if {TOKENS, SURENESS} & set(needs) and not config.engine.logprobs:
        raise AdammsError(
            "this search needs log-probabilities, and engine.logprobs is 0; expected search.logprobs=10, or "
            "1 where only those of the answers themselves count, as in search=trusted"
        )


def check_recorded(needs: Sequence[str]) -> None:
    """Raise AdammsError if a strategy needs more than what candidates once said."""
    words = {
        PARENTS: "the parents' own answers",
        CONTROL: "the answers of a control",
        DISTURBED: "answers to disturbed inputs",
        TOKENS: "log-probabilities",
        SURENESS: "the answers' log-probabilities",
    }
    if needs:
        raise AdammsError(
            f"this search needs {' and '.join(words[need] for need in needs)}, and engine=replay has only "
            f"what the candidates said: search=adamms goes with it, and search=trusted with "
            f"search.donors=false search.sureness=0"
        )


def _part(held: Answers, candidates: Sequence[Candidate], examples: Sequence[str]) -> Answers:
    return {
        candidate: {example: held[candidate][example] for example in examples} for candidate in candidates
    }
