"""How far a candidate agrees with others: all of them, or the parent that is the surer of the answer.

The parents are the target (the first candidate) and the donors, which answer as models of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from adamms.search.evidence import Array, Evidence, given, log_probabilities, table, texts


@dataclass(frozen=True)
class Agreement:
    """The share of all candidates and donors that give the same answer, the candidate among them."""

    needs: ClassVar[tuple[str, ...]] = ("donors",)

    def contributions(self, evidence: Evidence, examples: Sequence[str]) -> Array:
        answers, voters = _voters(evidence, examples)
        return np.mean(answers[:, None] == voters[None], axis=1)


@dataclass(frozen=True)
class Vote:
    """Whether the answer is that which all candidates and donors together vote for.

    Args:
        weighted: by the probability that each voter gives its own answer; else one vote each. Among equals
            the first in the alphabet wins.
    """

    weighted: bool = True

    needs: ClassVar[tuple[str, ...]] = ("donors", "tokens")

    def contributions(self, evidence: Evidence, examples: Sequence[str]) -> Array:
        answers, voters = _voters(evidence, examples)
        weights = np.exp(_sureness(evidence, examples)) if self.weighted else np.ones(voters.shape)
        winners = [_most(voters[:, place], weights[:, place]) for place in range(len(examples))]
        return (answers == np.array(winners)).astype(np.float64)


@dataclass(frozen=True)
class SurestParent:
    """Whether the answer is that of the parent which gives its own the highest probability.

    A parent that was taught a skill is sure of it, one that forgot it or never had it less so: the answers
    to be kept of each are told apart one by one. Among equally sure parents the target counts.
    """

    needs: ClassVar[tuple[str, ...]] = ("donors", "tokens")

    def contributions(self, evidence: Evidence, examples: Sequence[str]) -> Array:
        given(evidence, "donors")
        answers = table(evidence.candidates, examples)
        parents = [evidence.candidates[evidence.order[0]], *evidence.donors.values()]
        said = np.stack([texts(parent, examples) for parent in parents])  # (parents, examples)
        sure = np.stack([log_probabilities(parent, examples) for parent in parents])
        wanted = said[sure.argmax(axis=0), np.arange(len(examples))]
        return (answers == wanted).astype(np.float64)


def _voters(evidence: Evidence, examples: Sequence[str]) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.str_]]:
    """The candidates' answers, and those of candidates and donors: (candidates or voters, examples)."""
    given(evidence, "donors")
    answers = table(evidence.candidates, examples)
    donors = [texts(donor, examples) for donor in evidence.donors.values()]
    return answers, np.concatenate([answers, np.stack(donors)])


def _sureness(evidence: Evidence, examples: Sequence[str]) -> Array:
    voters = [*(evidence.candidates[c] for c in evidence.order), *evidence.donors.values()]
    return np.stack([log_probabilities(voter, examples) for voter in voters])


def _most(answers: npt.NDArray[np.str_], weights: Array) -> str:
    """The answer with the largest weight."""
    names, places = np.unique(answers, return_inverse=True)  # in the alphabet's order
    return str(names[np.bincount(places, weights).argmax()])
