"""How far a candidate disagrees with others: all of them, or the parent that is the surer of the answer.

The parents are the target and the donors, which answer as models of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from adamms.engines.answer import Answer
from adamms.errors import AdammsError
from adamms.search.difference import Difference, ExactMatch
from adamms.search.evidence import (
    PARENTS,
    SURENESS,
    TOKENS,
    Answers,
    Array,
    Evidence,
    first_token,
    given,
    jensen_shannon,
    log_probabilities,
    sureness,
    texts,
)


@dataclass(frozen=True)
class Disagreement:
    """The share of all candidates, and of the donors if they were asked, that give another answer.

    Args:
        sureness: voters count by the probability of their answer (the geometric mean over its tokens) to this
            power, and the parent that is the surest of all parents counts twice if the donors were asked; 0,
            each alike and once, for which no log-probabilities are needed.
    """

    sureness: float = 0.0

    reach: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        if not self.sureness >= 0:
            raise AdammsError(f"sureness of a signal is {self.sureness}; expected a number not below 0")

    @property
    def needs(self) -> tuple[str, ...]:
        return (PARENTS, SURENESS) if self.sureness else (PARENTS,)

    def differences(self, evidence: Evidence, examples: Sequence[str]) -> Array:
        voters = _voters(evidence)
        if self.sureness and evidence.donors:
            voters.append(surest(evidence, examples))
        votes = np.stack([texts(voter, examples) for voter in voters])
        others = votes[: len(evidence.candidates), None] != votes[None]  # (candidates, voters, examples)
        if not self.sureness:
            return np.mean(others, axis=1)
        sure = np.stack([sureness(voter, examples) for voter in voters])
        weights = np.exp(self.sureness * (sure - sure.max(axis=0)))  # 1 for the surest: nothing underflows
        return np.asarray((others * (weights / weights.sum(axis=0))).sum(axis=1))


@dataclass(frozen=True)
class Vote:
    """1 where the answer is not the one that all candidates and donors together vote for.

    Args:
        weighted: by the probability that each voter gives its own answer; else one vote each. Among equals
            the first in the alphabet wins.
    """

    weighted: bool = True

    needs: ClassVar[tuple[str, ...]] = (PARENTS, TOKENS)
    reach: ClassVar[int | None] = None

    def differences(self, evidence: Evidence, examples: Sequence[str]) -> Array:
        given(evidence, "donors")
        voters = _voters(evidence)
        votes = np.stack([texts(voter, examples) for voter in voters])
        weights = np.ones(votes.shape)
        if self.weighted:
            weights = np.exp([log_probabilities(voter, examples) for voter in voters])
        winners = [_most(votes[:, place], weights[:, place]) for place in range(len(examples))]
        return (votes[: len(evidence.candidates)] != np.array(winners)).astype(np.float64)


@dataclass(frozen=True)
class SurestParent:
    """How much the answer differs from that of the parent which gives its own the highest probability.

    A parent that was taught a skill is sure of it, one that forgot it or never had it less so: the answers
    to be kept of each are told apart one by one. Among equally sure parents the target counts.

    Args:
        difference: how much two answers differ.
    """

    difference: Difference = field(default_factory=ExactMatch)

    needs: ClassVar[tuple[str, ...]] = (PARENTS, TOKENS)
    reach: ClassVar[int | None] = 0

    def differences(self, evidence: Evidence, examples: Sequence[str]) -> Array:
        given(evidence, "donors")
        parent = surest(evidence, examples)
        wanted = [parent[example].text for example in examples]
        answers = [[evidence.candidates[c][example].text for example in examples] for c in evidence.order]
        return np.stack([self.difference(row, wanted) for row in answers])


@dataclass(frozen=True)
class ParentsDivergence:
    """The Jensen-Shannon divergence (nats) between the distributions of the first token: own, parents' mean.

    Token ids must mean the same to all of them.
    """

    needs: ClassVar[tuple[str, ...]] = (PARENTS, TOKENS)
    reach: ClassVar[int | None] = 0

    def differences(self, evidence: Evidence, examples: Sequence[str]) -> Array:
        given(evidence, "donors")
        means = {example: _mean([p[example] for p in parents(evidence)]) for example in examples}
        return np.array(
            [
                [
                    jensen_shannon(first_token(evidence.candidates[c][example]), means[example])
                    for example in examples
                ]
                for c in evidence.order
            ]
        )


def parents(evidence: Evidence) -> list[Answers]:
    """The target's answers, then the donors'."""
    return [evidence.target, *evidence.donors.values()]


def surest(evidence: Evidence, examples: Sequence[str]) -> Answers:
    """To each example the answer of the parent that gives its own the highest probability."""
    known = parents(evidence)
    sure = np.stack([log_probabilities(parent, examples) for parent in known])  # (parents, examples)
    pairs = zip(sure.argmax(axis=0).tolist(), examples, strict=True)
    return {example: known[parent][example] for parent, example in pairs}


def _mean(answers: Sequence[Answer]) -> dict[int, float]:
    """Of the first token's distributions."""
    found = [first_token(answer) for answer in answers]
    names = {name for one in found for name in one}
    return {name: sum(one.get(name, 0.0) for one in found) / len(found) for name in names}


def _voters(evidence: Evidence) -> list[Answers]:
    """All candidates' answers, then the donors'."""
    return [*(evidence.candidates[candidate] for candidate in evidence.order), *evidence.donors.values()]


def _most(answers: npt.NDArray[np.str_], weights: Array) -> str:
    """The answer with the largest weight."""
    names, places = np.unique(answers, return_inverse=True)  # in the alphabet's order
    return str(names[np.bincount(places, weights).argmax()])
