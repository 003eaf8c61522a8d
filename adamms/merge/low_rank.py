"""Matrices of low rank: the best one for the difference of two matrices, and sums of several.

Knows no files and no models. Source: Eckart and Young, 1936: of all matrices of rank r, that of the leading r
singular values and vectors leaves the least of a matrix, in the Frobenius norm. They are found by
eigenvectors of squares in float64: directions below about 1e-8 of the largest singular value are rounding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from adamms.errors import AdammsError

# Rows that are compared at a time, in float64.
ROWS = 1024


@dataclass(frozen=True)
class LowRankPart:
    """up @ down, of shapes (out, r) and (r, in) in float32, and what it leaves of the matrix that it is for.

    Args:
        total: sum of squares of that matrix.
        left: sum of squares of what is left of it.
    """

    up: torch.Tensor
    down: torch.Tensor
    total: float
    left: float


def truncated(merged: torch.Tensor, base: torch.Tensor, rank: int) -> LowRankPart:
    """The best matrix of a rank for `merged - base`, both (out, in), in their stored dtypes.

    It is found in float64 by the eigenvectors of the smaller of D D^T and D^T D, and rounded to float32.
    Memory: three square matrices of the smaller side in float64, beside the two given.

    Raises:
        AdammsError: an infinite or NaN value, of which there is no decomposition.
    """
    if merged.shape[0] < merged.shape[1]:
        found = truncated(merged.T, base.T, rank)
        return LowRankPart(found.down.T.contiguous(), found.up.T.contiguous(), found.total, found.left)
    size = merged.shape[1]
    square = torch.zeros(size, size, dtype=torch.float64, device=merged.device)
    for part in _differences(merged, base):
        square += part.T @ part
    total = float(square.trace())
    if not torch.isfinite(square).all():
        raise AdammsError("it has infinite or NaN values, so that it has no singular values")
    rank = min(rank, size)
    right = torch.linalg.eigh(square).eigenvectors[:, size - rank :].flip(1)  # descending
    down = right.T.float().contiguous()
    up = torch.cat([(part @ right).float() for part in _differences(merged, base)])
    left = sum(
        float((part - rows.double() @ down.double()).square().sum())
        for part, rows in zip(_differences(merged, base), up.split(ROWS), strict=True)
    )
    return LowRankPart(up.cpu(), down.cpu(), total, left)


def summed(parts: Sequence[tuple[float, torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    """(up, down) of the sum of `factor * up @ down`: their ranks side by side, so that nothing is left.

    The factors go into `up`, in float64, rounded once to float32.
    """
    up = torch.cat([(factor * up.double()).float() for factor, up, _ in parts], dim=1)
    return up, torch.cat([down.float() for *_, down in parts])


def squares(merged: torch.Tensor, base: torch.Tensor) -> float:
    """Sum of squares of a difference, of any shape."""
    flat = [tensor.reshape(len(tensor) if tensor.dim() else 1, -1) for tensor in (merged, base)]
    return sum(float(part.square().sum()) for part in _differences(*flat))


def _differences(merged: torch.Tensor, base: torch.Tensor) -> Iterator[torch.Tensor]:
    """Some rows at a time, in float64."""
    for one, other in zip(merged.split(ROWS), base.split(ROWS), strict=True):
        yield one.double() - other.double()
