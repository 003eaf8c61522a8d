"""How much answers change between neighbouring candidates of a grid: the paper's signal, and relatives of it.

For answers G_0 ... G_n along increasing alpha, and DiffCnt(i, j) the summed difference of G_i and G_j,
by exact match the number of answers that differ, by a graded difference how much they differ:

    sum       D_i = DiffCnt(i, i-1) + DiffCnt(i, i+1)            paper, Algorithm 1
    either    D_i = examples that differ from either neighbour   paper, appendix B; the authors' LLaMA script
    previous  D_i = DiffCnt(i, i-1)                              the authors' Qwen script

On a grid of several axes D is the sum over the axes of what the rule says of the neighbours along that axis.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import PositiveInt

from adamms.merge.candidate import Candidate
from adamms.search.candidates import lines_of
from adamms.search.choice import LEAST_CHANGE
from adamms.search.difference import Difference
from adamms.search.evidence import TOKENS, Evidence, table
from adamms.search.resampling import Array
from adamms.search.signals.probabilities import first_token, jensen_shannon
from adamms.search.signals.signal import Signal

Rule = Literal["sum", "either", "previous"]
NEIGHBOURS: dict[Rule, tuple[int, ...]] = {"sum": (-1, 1), "either": (-1, 1), "previous": (-1,)}


@dataclass(frozen=True)
class Consistency(Signal):
    """D of AdaMMS (arXiv:2503.23733, Algorithm 1).

    Args:
        rule: `sum`, `either` or `previous`, as above.
    """

    rule: Rule

    because = LEAST_CHANGE
    counts_changes = True

    @property
    def neighbours(self) -> tuple[int, ...]:
        return NEIGHBOURS[self.rule]

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        answers = table(evidence.candidates, examples)
        return along_axes(evidence.order, self.rule, lambda i, j: difference(answers[i], answers[j]))


@dataclass(frozen=True)
class NeighbourDivergence(Signal):
    """The Jensen-Shannon divergence (nats) between neighbours' distributions of the first token.

    It also sees changes that do not reach the text. Only the likeliest tokens are known; the others count as
    impossible.

    Args:
        rule: as in `Consistency`.
    """

    rule: Rule

    because = "its first tokens' probabilities change least against its neighbours on the grid"
    needs = (TOKENS,)

    @property
    def neighbours(self) -> tuple[int, ...]:
        return NEIGHBOURS[self.rule]

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        rows = [[first_token(evidence.candidates[c][e]) for e in examples] for c in evidence.order]

        def between(i: int, j: int) -> Array:
            return np.array([jensen_shannon(a, b) for a, b in zip(rows[i], rows[j], strict=True)])

        return along_axes(evidence.order, self.rule, between)


@dataclass(frozen=True)
class Basin(Signal):
    """The mean difference from the candidates up to `width` steps away: small in a wide basin.

    Steps beyond an end of the grid count as another answer, so a plateau at an end has to be as wide as one
    in the interior. On several axes it is the mean over the axes.

    Args:
        width: steps to either side.
    """

    width: PositiveInt

    because = "most of the candidates near it give its answers"

    @property
    def looks_at(self) -> tuple[int, ...]:
        return tuple(step for step in range(-self.width, self.width + 1) if step)

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        answers, lines = table(evidence.candidates, examples), lines_of(evidence.order)
        alike = np.zeros((len(answers), len(examples)))
        for line in lines.values():
            for step in range(1, self.width + 1):
                for i, j in zip(line[:-step].flat, line[step:].flat, strict=True):
                    same = 1 - difference(answers[i], answers[j])
                    alike[i] += same
                    alike[j] += same
        return 1 - alike / (2 * self.width * max(1, len(lines)))


def along_axes(candidates: Sequence[Candidate], rule: Rule, between: Callable[[int, int], Array]) -> Array:
    """`contributions` summed over the axes of a grid; shape (candidates, examples).

    Args:
        candidates: of the grid, in increasing order.
        between: places of two candidates -> their difference on each example.
    """
    total: Array = np.zeros(())
    for axis, line in lines_of(candidates).items():
        left, right = line[:-1], line[1:]
        found = [between(int(i), int(j)) for i, j in zip(left.flat, right.flat, strict=True)]
        changes = np.reshape(found, (*left.shape, -1))  # (steps, other axes ..., examples)
        total = total + np.moveaxis(contributions(changes, rule), 0, axis)
    return total.reshape(len(candidates), -1)


def contributions(changes: Array, rule: Rule) -> Array:
    """What every example adds to D of every candidate along one axis.

    A candidate at an end has one neighbour, which stands in for the missing one: `sum` counts it twice.

    Args:
        changes: the difference between candidate i and i + 1; shape (candidates - 1, ..., examples).

    Returns:
        Shape (candidates, ..., examples).
    """
    before = np.concatenate([changes[:1], changes])  # difference to the previous candidate
    after = np.concatenate([changes, changes[-1:]])  # difference to the next one
    if rule == "sum":
        return before + after
    return np.maximum(before, after) if rule == "either" else before
