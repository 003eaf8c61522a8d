"""What makes elementwise methods give the same bytes on every device, a GPU or the processor.

Float64 sums, differences, products, quotients and square roots are correctly rounded by IEEE 754 on both, and
so are conversions to the narrower dtypes; comparisons, selections, sorting and counting are exact.
Elementwise methods do without what is left open, and a test runs all of them on a device that differs in it:

- fused operations (`add(..., alpha=)`, `addcmul`, `lerp`), which may be rounded once or twice. Each of
  PyTorch's plain operations is a kernel of its own, so nothing is fused behind the methods' back;
- division by a number, which PyTorch's CUDA kernels make a product with its reciprocal: `divide_`;
- `clamp` at zero, whose zeros may have either sign: `positive_`;
- sums of many values, whose order differs: they are taken on the processor (`sums`), unless all are whole
  numbers below 2**53, as counts are;
- transcendental functions: of Python's floats only, on the processor.

Not covered are the bits of a NaN that an input had. Methods that are not elementwise decompose or multiply
matrices: their last bits depend on the library and the device.
"""

import torch


def divide_(values: torch.Tensor, by: float) -> torch.Tensor:
    """The quotients, correctly rounded; in place."""
    # Of a tensor on the device it is a division everywhere.
    return values.div_(values.new_full((), by))


def positive_(values: torch.Tensor) -> torch.Tensor:
    """0.0 for what is below zero; NaN and the sign of zeros stay; in place."""
    if values.device.type == "cpu":
        return values.clamp_(min=0.0)  # which keeps that sign here, and is faster
    return values.masked_fill_(values < 0, 0.0)


def sum_in_order(values: torch.Tensor) -> torch.Tensor:
    """The sum over dimension 0, which is short, from the first to the last."""
    total = values[0].clone()
    for place in range(1, len(values)):
        total.add_(values[place])
    return total
