"""A checksum of a tensor's values, computed where the tensor is. Knows nothing of models."""

import torch

WORD = 8  # bytes
BLOCK_WORDS = 1 << 22  # of one step, so that little memory is needed
# Odd, with bits everywhere: Knuth's multiplier for hashing, and the 64-bit golden ratio.
SPREAD, CHAIN = 6364136223846793005, -7046029254386353131


@torch.no_grad()
def checksum(tensor: torch.Tensor) -> str:
    """16 hexadecimal digits that change with any one value, and practically always with several.

    The sum of all 64-bit words, each times an odd number of its own, modulo 2**64. The order of adding
    does not matter, so processors and GPUs agree.

    >>> checksum(torch.tensor([1, 2])) == checksum(torch.tensor([2, 1]))
    False
    """
    content = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    rest = -content.numel() % WORD
    if rest or content.storage_offset() % WORD:
        content = torch.cat([content, content.new_zeros(rest)])
    words = content.view(torch.int64)
    count = min(len(words), BLOCK_WORDS)
    factors = (torch.arange(count, device=words.device) * 2 + 1) * SPREAD
    total = torch.zeros((), dtype=torch.int64, device=words.device)
    for start in range(0, len(words), BLOCK_WORDS):
        block = words[start : start + BLOCK_WORDS]
        total = total * CHAIN + (block * factors[: len(block)]).sum()
    return f"{int(total) % 2**64:016x}"
