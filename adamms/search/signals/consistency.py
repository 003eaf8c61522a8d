"""How little answers change between neighbouring candidates: the paper's signal, and what log-probs add."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from adamms.engines.answer import Answer
from adamms.errors import AdammsError, check_choice
from adamms.search.consistency import RULES, contributions
from adamms.search.evidence import Array, Evidence, table


@dataclass(frozen=True)
class Consistency:
    """Minus D of a grid of one axis (AdaMMS, Algorithm 1; see `adamms.search.consistency`).

    Args:
        rule: `sum`, `either` or `previous`.
    """

    rule: str = "sum"

    needs: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        check_choice("signal.rule", self.rule, RULES)

    def contributions(self, evidence: Evidence, examples: Sequence[str]) -> Array:
        answers = table(evidence.candidates, examples)
        return -contributions((answers[1:] != answers[:-1]).astype(np.float64), self.rule)


@dataclass(frozen=True)
class NeighbourDivergence:
    """Minus the Jensen-Shannon divergence (nats) between neighbours' distributions of the first token.

    Changes of mind that do not reach the text count, too. Of each distribution the likeliest tokens are
    known; what one of two lists lacks counts as nothing there.

    Args:
        rule: as in `Consistency`.
    """

    rule: str = "sum"

    needs: ClassVar[tuple[str, ...]] = ("tokens",)

    def __post_init__(self) -> None:
        check_choice("signal.rule", self.rule, RULES)

    def contributions(self, evidence: Evidence, examples: Sequence[str]) -> Array:
        rows = [
            [_first_token(evidence.candidates[candidate][example]) for example in examples]
            for candidate in evidence.order
        ]
        between = [
            [_jensen_shannon(a, b) for a, b in zip(one, other, strict=True)] for one, other in pairwise(rows)
        ]
        return -contributions(np.array(between), self.rule)


def _first_token(answer: Answer) -> dict[int, float]:
    """Token id -> probability."""
    if not answer.tokens:
        raise AdammsError("this signal needs log-probabilities: search.logprobs=10")
    return {name: float(np.exp(value)) for name, value in answer.tokens[0].likeliest}


def _jensen_shannon(one: Mapping[int, float], other: Mapping[int, float]) -> float:
    names = sorted(one.keys() | other.keys())
    left = np.array([one.get(name, 0.0) for name in names])
    right = np.array([other.get(name, 0.0) for name in names])
    middle = (left + right) / 2
    total = 0.0
    for side in (left, right):
        known = side > 0
        total += float((side[known] * np.log(side[known] / middle[known])).sum()) / 2
    return total
