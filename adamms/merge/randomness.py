"""Random numbers that belong to elements: the same however a tensor is chunked, on every machine.

A counter-based generator (Philox 4x64, Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
SC 2011) has the n-th number without those before it. Knows nothing of methods.
"""

import hashlib

import numpy as np
import numpy.typing as npt
import torch

# Numbers of 32 bits in one block of the generator, which its counter counts.
PER_BLOCK = 8


def uniform(seed: int, slot: str, operand: str, start: int, like: torch.Tensor) -> torch.Tensor:
    """Multiples of 2**-32 in [0, 1), one for each element of `like`.

    Args:
        seed: the user's.
        slot: the tensor's name in the target.
        operand: whose random numbers: a donor's name, or `TARGET`.
        start: position of the first element in the slot.
        like: gives shape and device.

    Returns:
        float64, of `like`'s shape, on its device; a copy.
    """
    bits = _bits(seed, slot, operand, start, like.numel())
    return torch.from_numpy(bits * 2.0**-32).to(like.device).view(like.shape)


def kept(
    probability: float, seed: int, slot: str, operand: str, start: int, like: torch.Tensor
) -> torch.Tensor:
    """True with this probability, independently for each element of `like`: `uniform(...) < probability`."""
    bits = _bits(seed, slot, operand, start, like.numel())
    # 2**32 numbers, of which the least are below: the comparison of multiples of 2**-32, without them.
    below = bits < int(np.ceil(probability * 2.0**32))
    return torch.from_numpy(below).to(like.device).view(like.shape)


def _bits(seed: int, slot: str, operand: str, start: int, count: int) -> npt.NDArray[np.uint32]:
    key = hashlib.blake2b(f"{seed}\n{slot}\n{operand}".encode(), digest_size=16).digest()
    first, skipped = divmod(start, PER_BLOCK)
    generator = np.random.Philox(counter=first, key=np.frombuffer(key, "<u8"))
    blocks = -(-(skipped + count) // PER_BLOCK)
    raw = generator.random_raw(blocks * PER_BLOCK // 2).astype("<u8", copy=False)
    return raw.view("<u4")[skipped : skipped + count]
