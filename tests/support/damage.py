"""What the fault kinds of checkpoints share: damaged bytes, and a comparison of values."""

import random
from collections.abc import Mapping

import torch
from fault import Wrong

from adamms.checkpoint.tensor_entry import TensorEntry
from adamms.checkpoint.tensor_values import map_tensor


def some_bytes(content: bytes, rng: random.Random) -> bytes:
    """One to three bytes replaced, or with one bit flipped."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(changed))
        changed[at] = rng.choice([rng.randrange(256), changed[at] ^ (1 << rng.randrange(8))])
    return bytes(changed)


def check_values(found: Mapping[str, TensorEntry], expected: Mapping[str, torch.Tensor]) -> None:
    """Raise Wrong unless the names, shapes, dtypes and bits are those that another reader gives."""
    if found.keys() != expected.keys():
        raise Wrong(f"read {list(found)}, not {list(expected)}")
    for name, tensor in expected.items():
        read = map_tensor(found[name])
        if (read.dtype, read.shape) != (tensor.dtype, tensor.shape):
            raise Wrong(f"{name} is {read.dtype} {read.shape}, not {tensor.dtype} {tensor.shape}")
        raw = [values.detach().clone(memory_format=torch.contiguous_format) for values in (read, tensor)]
        if not torch.equal(*(values.reshape(-1).view(torch.uint8) for values in raw)):
            raise Wrong(f"the values of {name}")
