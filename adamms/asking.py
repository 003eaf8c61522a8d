"""Has a search's questions answered: by candidates, parents, the control, and with disturbed inputs.

What a strategy asks for, and no more; each answer once. Like `answering`, above the layers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adamms.answering import UNMERGED, Answers, fill
from adamms.compose import Case
from adamms.data.disturbance import disturbed
from adamms.data.example import Example
from adamms.engines.answer import Answer
from adamms.engines.base import Engine
from adamms.engines.responses import Candidate, Responses
from adamms.errors import AdammsError
from adamms.merge.recipe import Recipe
from adamms.search.evidence import CONTROL, DISTURBED, PARENTS, TOKENS, Ask, Evidence
from adamms.track.console import Console


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
        answers, target, control, changed: everything that was answered so far.
    """

    console: Console
    case: Case
    engine: Engine
    examples: Mapping[str, Example]
    needs: Sequence[str]
    donors: Mapping[str, Mapping[str, Answer]]
    folder: Path
    answers: Answers = field(default_factory=dict)
    target: dict[str, Answer] = field(default_factory=dict)
    control: Answers = field(default_factory=dict)
    changed: Answers = field(default_factory=dict)

    def __call__(self, candidates: Sequence[Candidate], examples: Sequence[str]) -> Evidence:
        questions = [self.examples[example] for example in examples]
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

    @property
    def asked(self) -> int:
        """Answers so far, the donors' among them."""
        given = [*self.answers.values(), *self.control.values(), *self.changed.values()]
        own = [] if self.target in given else [self.target]
        return sum(map(len, [*given, *own, *self.donors.values()]))

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


def recorded(responses: Responses) -> Ask:
    """An `Ask` that finds its answers in what candidates once said."""

    def ask(candidates: Sequence[Candidate], examples: Sequence[str]) -> Evidence:
        return Evidence(
            {
                candidate: {example: Answer(responses.answers[candidate][example]) for example in examples}
                for candidate in candidates
            }
        )

    return ask


def check_recorded(needs: Sequence[str]) -> None:
    """Raise AdammsError if a strategy needs more than what candidates once said."""
    words = {
        PARENTS: "the parents' own answers",
        CONTROL: "the answers of a control",
        DISTURBED: "answers to disturbed inputs",
        TOKENS: "log-probabilities",
    }
    if needs:
        raise AdammsError(
            f"this search needs {' and '.join(words[need] for need in needs)}, and engine=replay has only "
            f"what the candidates said: search=adamms goes with it"
        )


def _part(held: Answers, candidates: Sequence[Candidate], examples: Sequence[str]) -> Answers:
    return {
        candidate: {example: held[candidate][example] for example in examples} for candidate in candidates
    }
