"""The series are as exact as NumPy's functions, and the compiled pass has their bits."""

import numpy as np
import pytest
import torch
from compiled import needs_kernel
from hypothesis import given
from hypothesis import strategies as st

from adamms.checkpoint.tensor_values import torch_dtype
from adamms.merge import kernel, kernel_ranks
from adamms.merge.softmax import LEAST, divergences, exponential, log_quotient

DTYPES = [torch_dtype(name) for name in kernel.DTYPES]
EXACT = 4e-16


def test_series() -> None:
    powers = -np.concatenate([np.linspace(0, 40, 100_001), np.geomspace(1e-20, 690, 1001)])
    np.testing.assert_allclose(exponential(powers), np.exp(powers), rtol=EXACT)
    assert exponential(np.array([-np.inf, -1e9, 0.0])).tolist() == [
        exponential(np.array([-700.0]))[0]
    ] * 2 + [1]
    over, under = np.exp(powers / 2) + LEAST, np.exp(powers[::-1] / 3) + LEAST
    np.testing.assert_allclose(log_quotient(over, under), np.log(over) - np.log(under), rtol=0, atol=4e-15)
    near = 1 + powers * 1e-9
    np.testing.assert_allclose(log_quotient(near, np.ones_like(near)), np.log(near), rtol=EXACT)
    assert not log_quotient(over, over).any()


@needs_kernel
@given(st.sampled_from([1, 5, 8, 127, 130, 700]), st.integers(0, 99), st.sampled_from(DTYPES))
def test_the_compiled_pass_has_these_bits(width: int, seed: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(3, width, generator=generator).mul_(10.0 ** (seed % 5 - 2))
    rows, base = (base + torch.randn(3, width, generator=generator) / 50).to(dtype), base.to(dtype)
    found = divergences(rows, base)
    assert kernel_ranks.divergences(rows, base, LEAST) is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "LIBRARY", None)
        np.testing.assert_array_equal(divergences(rows, base), found)
    p, q = (torch.softmax(values.double(), 1) + LEAST for values in (rows, base))
    np.testing.assert_allclose(found, (p * (p / q).log()).sum(1).clamp(min=0), rtol=1e-9, atol=1e-15)


def test_how_values_lie_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, base = torch.randn(2, 40, 300, generator=torch.Generator().manual_seed(0)).bfloat16()
    turned = rows.T.contiguous().T
    monkeypatch.setattr(kernel, "LIBRARY", None)
    np.testing.assert_array_equal(divergences(turned, base), divergences(rows, base))


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_rows_without_a_softmax_are_not_apart(bad: float) -> None:
    base = torch.zeros(2, 9)
    rows = torch.arange(18.0).reshape(2, 9)
    expected = divergences(rows, base)
    assert (expected > 0).all()
    rows[0, 4] = bad
    assert divergences(rows, base).tolist() == [0.0, expected[1]]
    rows[0, 4] = -float("inf")
    assert 0 < divergences(rows, base)[0] < expected[0] * 2
