"""How far a row's softmax is from another's: the same bits by NumPy and the compiled pass, on every machine.

Libraries' exponentials and logarithms differ in their last bits. These are series of sums and products, which
are rounded alike everywhere. Knows nothing of methods.
"""

import math

import numpy as np
import numpy.typing as npt
import torch

from adamms.merge import kernel, kernel_ranks

Array = npt.NDArray[np.float64]
# Added to probabilities, as in mergekit.
LEAST = 1e-8
# As in kernel.c. e to the power of less is 0 beside LEAST.
LEAST_POWER = -700.0
LOG2_E, LN2 = 1 / math.log(2), math.log(2)
# Their sum is closer to the logarithm of 2; whole multiples of the first are exact.
LN2_UPPER, LN2_LOWER = float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.a39ef35793c76p-33")
# 1.5 * 2**52: adding it rounds to a whole number, which is then in the last bits.
ROUNDING = 1.5 * 2.0**52
EXPONENTIAL = [1 / math.factorial(k) for k in reversed(range(14))]
LOGARITHM = [2 / (2 * k + 1) for k in reversed(range(11))]


def divergences(rows: torch.Tensor, base: torch.Tensor) -> Array:
    """KL of each row's softmax from the base's, not below 0; 0 where it is not a number.

    Args:
        rows, base: (n, width), of any dtype.
    """
    if kernel.fits([rows, base]):
        found = kernel_ranks.divergences(rows, base, LEAST)
        if found is not None:
            return found
    with np.errstate(invalid="ignore", over="ignore"):
        own, others = _softmax(rows) + LEAST, _softmax(base) + LEAST
        sums = np.add.reduce(own * log_quotient(own, others), axis=1)
    return np.where(sums > 0, sums, 0.0)


def _softmax(rows: torch.Tensor) -> Array:
    values = rows.double().contiguous().cpu().numpy()  # a sum's bits depend on how its terms lie
    powers = exponential(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers * (1 / np.add.reduce(powers, axis=1, keepdims=True)))


def exponential(powers: Array) -> Array:
    """e to the power of each, of numbers up to 0."""
    powers = np.maximum(powers, LEAST_POWER)
    shifted = powers * LOG2_E + ROUNDING
    twos = shifted - ROUNDING
    rest = (powers - twos * LN2_UPPER) - twos * LN2_LOWER
    return _series(EXPONENTIAL, rest) * (shifted.view(np.int64) + 1023 << 52).view(np.float64)


def log_quotient(over: Array, under: Array) -> Array:
    """The logarithm of over / under, of positive numbers."""
    twos = over.view(np.int64) - under.view(np.int64) + (1 << 51) >> 52
    under = under * (twos + 1023 << 52).view(np.float64)
    part = (over - under) / (over + under)
    return np.asarray(twos * LN2 + part * _series(LOGARITHM, part * part))


def _series(factors: list[float], of: Array) -> Array:
    total = np.full_like(of, factors[0])
    for factor in factors[1:]:
        total *= of
        total += factor
    return total
