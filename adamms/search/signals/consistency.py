"""How much answers change between neighbouring candidates: the paper's signal, and what log-probs add."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from adamms.errors import AdammsError, check_choice
from adamms.search.consistency import RULES, contributions
from adamms.search.evidence import TOKENS, Array, Evidence, first_token, jensen_shannon, table


@dataclass(frozen=True)
class Consistency:
    """D of a grid of one axis (AdaMMS, Algorithm 1; see `adamms.search.consistency`).

    Args:
        rule: `sum`, `either` or `previous`.
        smoothing: neighbours on either side to average over, cut at the ends; 0 for none.
    """

    rule: str = "sum"
    smoothing: int = 0

    needs: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        check_choice("signal.rule", self.rule, RULES)

    @property
    def reach(self) -> int | None:
        return 1 + self.smoothing

    def differences(self, evidence: Evidence, examples: Sequence[str]) -> Array:
        answers = table(evidence.candidates, examples)
        found = contributions((answers[1:] != answers[:-1]).astype(np.float64), self.rule)
        windows = [
            found[max(0, place - self.smoothing) : place + self.smoothing + 1] for place in range(len(found))
        ]
        return np.stack([window.mean(axis=0) for window in windows])


@dataclass(frozen=True)
class Basin:
    """The share of the candidates up to `width` steps away that answer otherwise: small in a wide basin.

    Beyond an end there is nothing to agree with, so that what lies there counts as another answer: a plateau
    at an end has to be as wide as one of the interior.

    Args:
        width: steps to either side.
    """

    width: int = 3

    needs: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if self.width < 1:
            raise AdammsError(f"signal.width is {self.width}; expected at least 1")

    @property
    def reach(self) -> int | None:
        return self.width

    def differences(self, evidence: Evidence, examples: Sequence[str]) -> Array:
        answers = table(evidence.candidates, examples)
        alike = np.zeros(answers.shape)
        for step in range(1, self.width + 1):
            same = answers[step:] == answers[:-step]
            alike[step:] += same
            alike[:-step] += same
        return 1 - alike / (2 * self.width)


@dataclass(frozen=True)
class NeighbourDivergence:
    """The Jensen-Shannon divergence (nats) between neighbours' distributions of the first token.

    Changes of mind that do not reach the text count, too. Of each distribution the likeliest tokens are
    known; what one of two lists lacks counts as nothing there.

    Args:
        rule: as in `Consistency`.
    """

    rule: str = "sum"

    needs: ClassVar[tuple[str, ...]] = (TOKENS,)
    reach: ClassVar[int | None] = 1

    def __post_init__(self) -> None:
        check_choice("signal.rule", self.rule, RULES)

    def differences(self, evidence: Evidence, examples: Sequence[str]) -> Array:
        rows = [
            [first_token(evidence.candidates[candidate][example]) for example in examples]
            for candidate in evidence.order
        ]
        between = [
            [jensen_shannon(a, b) for a, b in zip(one, other, strict=True)] for one, other in pairwise(rows)
        ]
        return contributions(np.array(between), self.rule)
