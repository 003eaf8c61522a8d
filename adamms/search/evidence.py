"""All that a search without labels can look at, who is asked for it, and what a signal makes of it.

Made of models' answers alone. Knows no labels, models or engines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from adamms.engines.answer import Answer
from adamms.errors import AdammsError
from adamms.merge.candidate import Candidate

Array = npt.NDArray[np.float64]
Answers = Mapping[str, Answer]  # example id -> answer


@dataclass(frozen=True)
class Evidence:
    """Answers to the same examples.

    Args:
        candidates: candidate -> its answers.
        target: the target's own answers, whether or not it is a candidate.
        donors: donor name -> its own answers, as a model of its own architecture.
        control: candidate -> answers of the target merged with the ancestor in the donors' place.
        disturbed: candidate -> its answers to harmless changes of the examples (`data.disturbance`).
    """

    candidates: Mapping[Candidate, Answers]
    target: Answers = field(default_factory=dict)
    donors: Mapping[str, Answers] = field(default_factory=dict)
    control: Mapping[Candidate, Answers] = field(default_factory=dict)
    disturbed: Mapping[Candidate, Answers] = field(default_factory=dict)

    @property
    def order(self) -> list[Candidate]:
        """The candidates in increasing order, which is that of every signal's rows."""
        return sorted(self.candidates)


# What a signal may need beside the candidates' answers: the last two are log-probabilities, of all that might
# have been said, or of what was said alone, which a signal weighs so coarsely that it may be interpolated.
PARENTS, CONTROL, DISTURBED, TOKENS, SURENESS = "parents", "control", "disturbed", "tokens", "sureness"


class Ask(Protocol):
    """Has questions answered, or finds the answers where they were given before."""

    def __call__(self, candidates: Sequence[Candidate], examples: Sequence[str]) -> Evidence:
        """What these candidates say of these examples, with all that the strategy `needs` beside it.

        A candidate whose settings cannot be merged is left out; those of the grid all can.
        """
        ...


class Signal(Protocol):
    """Says without labels how good every candidate seems to be.

    Attributes:
        needs: some of PARENTS, CONTROL, DISTURBED, TOKENS, SURENESS.
        reach: steps along the grid to the farthest candidates whose answers count for a candidate's own; None
            for all of them.
    """

    @property
    def needs(self) -> tuple[str, ...]: ...

    @property
    def reach(self) -> int | None: ...

    def differences(self, evidence: Evidence, examples: Sequence[str]) -> Array:
        """What every example holds against every candidate, never negative: shape (candidates, examples).

        A candidate's D is the sum of its row: examples count alike, so that they can be resampled.

        Raises:
            AdammsError: evidence that it needs is not there.
        """
        ...


def texts(answers: Answers, examples: Sequence[str]) -> npt.NDArray[np.str_]:
    """The answers' texts, case-folded as `ExactMatch` compares them: shape (examples,)."""
    return np.array([answers[example].text.casefold() for example in examples], dtype=np.str_)


def table(answers: Mapping[Candidate, Answers], examples: Sequence[str]) -> npt.NDArray[np.str_]:
    """The same of all candidates in increasing order: shape (candidates, examples)."""
    return np.stack([texts(answers[candidate], examples) for candidate in sorted(answers)])


def log_probability(answer: Answer) -> float:
    """Of the whole answer: the sum over its tokens.

    Raises:
        AdammsError: the engine was not asked for log-probabilities.
    """
    if not answer.tokens:
        raise AdammsError("this signal needs log-probabilities: search.logprobs=10")
    return sum(token.logprob for token in answer.tokens)


def log_probabilities(answers: Answers, examples: Sequence[str]) -> Array:
    """Of every answer: shape (examples,)."""
    return np.array([log_probability(answers[example]) for example in examples])


def sureness(answers: Answers, examples: Sequence[str]) -> Array:
    """The mean log-probability of every answer's tokens, so that long ones are not unsure: (examples,).

    Raises:
        AdammsError: the engine was not asked for log-probabilities.
    """
    lengths = np.array([len(answers[example].tokens) for example in examples])
    return log_probabilities(answers, examples) / lengths


def first_token(answer: Answer) -> dict[int, float]:
    """Token id -> probability, of the likeliest tokens in the first place.

    Raises:
        AdammsError: the engine was not asked for log-probabilities.
    """
    log_probability(answer)
    return {name: float(np.exp(value)) for name, value in answer.tokens[0].likeliest}


def jensen_shannon(one: Mapping[int, float], other: Mapping[int, float]) -> float:
    """Divergence (nats) of two distributions; what one of them lacks counts as nothing there."""
    names = sorted(one.keys() | other.keys())
    left = np.array([one.get(name, 0.0) for name in names])
    right = np.array([other.get(name, 0.0) for name in names])
    middle = (left + right) / 2
    total = 0.0
    for side in (left, right):
        known = side > 0
        total += float((side[known] * np.log(side[known] / middle[known])).sum()) / 2
    return max(0.0, total)


def given(evidence: Evidence, field_name: str) -> None:
    """Raise AdammsError unless the evidence has that field."""
    if not getattr(evidence, field_name):
        raise AdammsError(f"this signal needs evidence that is not there: {field_name}")
