"""Why elementwise methods give the same bytes on a GPU as on the processor, and the helpers for it.

IEEE 754 rounds float64 sums, differences, products, quotients and square roots correctly on both, and
conversions to narrower dtypes too. Comparisons, selections, sorting and counting are exact. Elementwise
methods avoid everything else:

- fused operations (`add(..., alpha=)`, `addcmul`, `lerp`) may round once or twice. Each of PyTorch's plain
  operations is a kernel of its own, so these are not fused;
- division by a number is a product with the reciprocal in PyTorch's CUDA kernels: use `divide_`;
- `clamp` at zero may give zeros of either sign: use `positive_`;
- sums of many values differ with their order: take them on the processor (`sums`), unless all are whole
  numbers below 2**53, as counts are;
- transcendental functions: only of Python's floats, on the processor, or as series, see `softmax`.

The bits of an input's NaN may differ. Methods that are not elementwise decompose or multiply matrices, and
their last bits depend on the library and the device.
"""

from __future__ import annotations

from adamms.system.on_demand import torch


def divide_(values: torch.Tensor, by: float) -> torch.Tensor:
    """The quotients, correctly rounded; in place."""
    # By a tensor on the device it is a true division everywhere.
    return values.div_(values.new_full((), by))


def positive_(values: torch.Tensor) -> torch.Tensor:
    """Values below zero become 0.0; NaN and the sign of zeros stay; in place."""
    if values.device.type == "cpu":
        return values.clamp_(min=0.0)  # keeps that sign on the processor, and is faster
    return values.masked_fill_(values < 0, 0.0)


def sum_in_order(values: torch.Tensor) -> torch.Tensor:
    """The sum over dimension 0 (a short one), from the first to the last."""
    total = values[0].clone()
    for place in range(1, len(values)):
        total.add_(values[place])
    return total
