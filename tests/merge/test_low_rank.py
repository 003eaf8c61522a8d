"""Matrices of low rank, against NumPy's singular values in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adamms.errors import AdammsError
from adamms.merge.low_rank import squares, summed, truncated


def matrices(rows: int, columns: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Two in bfloat16, whose difference has values that fall off."""
    noise = torch.Generator().manual_seed(seed)
    base = torch.randn(rows, columns, generator=noise, dtype=torch.float64)
    sides = (
        torch.randn(n, min(rows, columns), generator=noise, dtype=torch.float64) for n in (rows, columns)
    )
    left, right = (torch.linalg.qr(side)[0] for side in sides)
    falling = 0.7 ** torch.arange(min(rows, columns), dtype=torch.float64)
    return (base + (left * falling) @ right.T).bfloat16(), base.bfloat16()


@given(rows=st.integers(1, 40), columns=st.integers(1, 40), rank=st.integers(1, 45), seed=st.integers(0, 9))
def test_it_is_the_truncated_decomposition(rows: int, columns: int, rank: int, seed: int) -> None:
    merged, base = matrices(rows, columns, seed)
    found = truncated(merged, base, rank)
    difference = merged.double().numpy() - base.double().numpy()
    u, s, v = np.linalg.svd(difference, full_matrices=False)
    kept = min(rank, len(s))
    assert found.up.shape == (rows, kept)
    assert found.down.shape == (kept, columns)
    product = found.up.double().numpy() @ found.down.double().numpy()
    # The parts of equal values may mix; elsewhere float32's rounding of the two factors is what differs.
    scale = float(s[0]) if len(s) else 0.0
    rest = np.sqrt((s[kept:] ** 2).sum())
    assert np.linalg.norm(difference - product) == pytest.approx(rest, rel=1e-6, abs=1e-6 * scale)
    if kept < len(s) and s[kept - 1] > 1.1 * s[kept]:
        best = (u[:, :kept] * s[:kept]) @ v[:kept]
        np.testing.assert_allclose(product, best, rtol=0, atol=1e-6 * scale)
    assert found.total == pytest.approx(float((difference**2).sum()), rel=1e-12)
    assert np.sqrt(found.left) == pytest.approx(rest, rel=1e-6, abs=1e-6 * scale)
    assert squares(merged, base) == pytest.approx(found.total, rel=1e-12)


def test_a_sum_is_exact() -> None:
    noise = torch.Generator().manual_seed(0)
    parts = [
        (factor, torch.randn(9, rank, generator=noise), torch.randn(rank, 7, generator=noise))
        for factor, rank in ((0.5, 2), (-0.25, 3), (3.0, 1))
    ]
    up, down = summed(parts)
    assert up.shape == (9, 6)
    assert down.shape == (6, 7)
    expected = sum(factor * left.double() @ right.double() for factor, left, right in parts)
    torch.testing.assert_close(up.double() @ down.double(), expected, rtol=0, atol=1e-6)


def test_an_infinite_value_has_no_decomposition() -> None:
    merged, base = matrices(4, 3)
    merged[0, 0] = float("inf")
    with pytest.raises(AdammsError, match="infinite or NaN values"):
        truncated(merged, base, 2)
