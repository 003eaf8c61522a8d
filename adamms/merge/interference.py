"""The interference of a merged task vector with what each model learned, by the directions of its curvature.

    sum_m c_m |(tau - target_m) D_m^T|^2        m = the models, |.| Frobenius norms

is quadratic in tau: (rows, columns). Its gradient is zero where tau A = B, with A = sum_m c_m D_m^T D_m
(columns x columns) and B = sum_m c_m target_m D_m^T D_m. Knows no particular method.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch


class Term(NamedTuple):
    """One term of the sum, of a model that is not the ancestor itself: c_m * |(tau - target) D^T|^2."""

    target: torch.Tensor
    direction: torch.Tensor
    scale: float


@dataclass(frozen=True)
class Interference:
    """The sum around a point.

    Args:
        start: that point: (rows, columns).
        values, vectors: eigenvalues of A in increasing order, and its eigenvectors: (r,) and (r, r).
        residual: B - start A: (rows, r).
        basis: of the rows of all D_m: (columns, r), in which A and the residual are written where that is
            smaller; None where r is the number of columns.
    """

    start: torch.Tensor
    values: torch.Tensor
    vectors: torch.Tensor
    residual: torch.Tensor
    basis: torch.Tensor | None

    @classmethod
    def of(cls, start: torch.Tensor, terms: Sequence[Term]) -> Self:
        rows = sum(len(term.direction) for term in terms)
        columns = start.shape[1]
        basis = None
        if rows < columns:
            basis = torch.linalg.qr(torch.cat([term.direction for term in terms]).T).Q
            terms = [term._replace(direction=term.direction @ basis) for term in terms]
        squares = torch.zeros(min(rows, columns), min(rows, columns), dtype=start.dtype, device=start.device)
        residual = torch.zeros(len(start), len(squares), dtype=start.dtype, device=start.device)
        for target, direction, scale in terms:
            away = target - start
            within = away if basis is None else away @ basis
            square = direction.T @ direction * scale
            squares.add_(square)
            residual.add_(within @ square)
        values, vectors = torch.linalg.eigh(squares)
        return cls(start, values, vectors, residual, basis)

    def above(self, least: float) -> torch.Tensor:
        """Which eigenvalues are more than this part of the largest: the others count as zero."""
        return self.values > least * self.values.max()

    def changed(self, kept: torch.Tensor, divisors: torch.Tensor) -> torch.Tensor:
        """start + (B - start A) V diag(1 / divisors) V^T with the eigenvectors V that are kept.

        With the eigenvalues as divisors that is the minimum nearest to `start`.
        """
        vectors = self.vectors[:, kept]
        step = (self.residual @ vectors / divisors) @ vectors.T
        return self.start + (step if self.basis is None else step @ self.basis.T)
