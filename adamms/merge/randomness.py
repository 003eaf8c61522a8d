"""Random numbers that belong to elements: the same for any chunks, on every machine and device.

A counter-based generator computes the n-th number without those before it (Philox 4x64: Salmon et al.,
"Parallel random numbers: as easy as 1, 2, 3", SC 2011). Knows nothing of methods.
"""

import hashlib

import numpy as np
import numpy.typing as npt
import torch

# Numbers of 32 bits in one block of the generator; its counter counts blocks.
PER_BLOCK = 8
# Philox 4x64: its paper's constants.
ROUNDS = 10
MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
KEY_STEPS = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
LOW = (1 << 32) - 1


def uniform(seed: int, slot: str, operand: str, start: int, like: torch.Tensor) -> torch.Tensor:
    """Multiples of 2**-32 in [0, 1), one for each element of `like`.

    Args:
        seed: the user's.
        slot: the tensor's name in the target.
        operand: the model that the numbers are for: a donor's name, or `TARGET`.
        start: position of the first element in the slot.
        like: gives shape and device.

    Returns:
        float64, of `like`'s shape, computed on its device.
    """
    if like.device.type != "cpu":
        there = random_bits_on(like.device, seed, slot, operand, start, like.numel())
        return there.double().mul_(2.0**-32).view(like.shape)
    bits = random_bits(seed, slot, operand, start, like.numel())
    return torch.from_numpy(bits * 2.0**-32).view(like.shape)


def kept(
    probability: float, seed: int, slot: str, operand: str, start: int, like: torch.Tensor
) -> torch.Tensor:
    """True with this probability, independently for each element of `like`: `uniform(...) < probability`."""
    # Compares whole numbers in place of their multiples of 2**-32.
    least = int(np.ceil(probability * 2.0**32))
    if like.device.type != "cpu":
        there = random_bits_on(like.device, seed, slot, operand, start, like.numel())
        return (there < least).view(like.shape)
    return torch.from_numpy(random_bits(seed, slot, operand, start, like.numel()) < least).view(like.shape)


def random_bits(seed: int, slot: str, operand: str, start: int, count: int) -> npt.NDArray[np.uint32]:
    """Whole numbers from 0 to 2**32 - 1, by NumPy's generator: shape (count,)."""
    key = np.frombuffer(_key(seed, slot, operand), "<u8")
    first, skipped = divmod(start, PER_BLOCK)
    generator = np.random.Philox(counter=first, key=key)
    blocks = -(-(skipped + count) // PER_BLOCK)
    raw = generator.random_raw(blocks * PER_BLOCK // 2).astype("<u8", copy=False)
    return raw.view("<u4")[skipped : skipped + count]


def random_bits_on(
    device: torch.device, seed: int, slot: str, operand: str, start: int, count: int
) -> torch.Tensor:
    """The same numbers, computed on a device with torch's operations on int64."""
    first, skipped = divmod(start, PER_BLOCK)
    # NumPy counts before it draws: its first block is number 1. A tensor is too small to pass 2**64.
    low, high = (first + 1) % (1 << 64), (first + 1) >> 64
    counter = torch.arange(-(-(skipped + count) // PER_BLOCK), device=device, dtype=torch.int64)
    zero = torch.zeros_like(counter)
    words = philox([counter + signed(low), zero + signed(high), zero, zero], _key(seed, slot, operand))
    halves = [half for word in words for half in (word & LOW, word >> 32 & LOW)]
    return torch.stack(halves, dim=1).view(-1)[skipped : skipped + count]


def philox(words: list[torch.Tensor], key: bytes) -> list[torch.Tensor]:
    """Philox 4x64 with 10 rounds: the four words of each counter -> four random words, all as int64."""
    keys = [int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")]
    for _ in range(ROUNDS):
        upper, lower = _product(words[0], MULTIPLIERS[0])
        other_upper, other_lower = _product(words[2], MULTIPLIERS[1])
        words = [
            other_upper ^ words[1] ^ signed(keys[0]),
            other_lower,
            upper ^ words[3] ^ signed(keys[1]),
            lower,
        ]
        keys = [(k + step) % (1 << 64) for k, step in zip(keys, KEY_STEPS, strict=True)]
    return words


def _product(word: torch.Tensor, by: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The upper and the lower 64 bits of the product of unsigned words of 64 bits."""
    # In halves of 32 bits, whose products fit. A shift of int64 keeps the sign, hence the masks.
    low, high, by_low, by_high = word & LOW, word >> 32 & LOW, by & LOW, by >> 32
    middle = high * by_low + (low * by_low >> 32 & LOW)
    other = low * by_high + (middle & LOW)
    return high * by_high + (middle >> 32 & LOW) + (other >> 32 & LOW), word * signed(by)


def signed(word: int) -> int:
    """The int64 with the bits of an unsigned word of 64 bits."""
    return word - (1 << 64) if word >> 63 else word


def _key(seed: int, slot: str, operand: str) -> bytes:
    return hashlib.blake2b(f"{seed}\n{slot}\n{operand}".encode(), digest_size=16).digest()
