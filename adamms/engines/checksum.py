"""A checksum of a tensor, computed where the tensor is, at the speed of its memory. Knows no models."""

import hashlib

import torch

BLOCK_BYTES = 4096
BLOCKS = 4096  # at a time on a GPU: 16 MB
# An odd factor for each word of a block: each word counts wholly, and where it stands, too.
FACTORS = torch.frombuffer(bytearray(hashlib.shake_128().digest(BLOCK_BYTES)), dtype=torch.int64) | 1


def checksums_of(name: str, tensor: torch.Tensor) -> dict[str, str]:
    """The checksum of a tensor under its name; of experts in one tensor, each by itself: 'name[3]'.

    Every tensor of three dimensions counts as experts, one after the other, unless they were tiny.
    """
    if tensor.dim() == 3 and tensor[:1].nbytes >= BLOCK_BYTES:
        return {f"{name}[{expert}]": checksum(part) for expert, part in enumerate(tensor)}
    return {name: checksum(tensor)}


@torch.no_grad()
def checksum(tensor: torch.Tensor) -> str:
    """A digest of a tensor's dtype, shape and bytes, without a copy of it, but of a view out of order.

    The bytes are summed as 64-bit words, each times a fixed odd number of its place, modulo 2^64, in blocks
    of 4 KB, and the digest is of these sums. So one changed word shows always, and so do rows that have
    changed places, but for words of a block that differ in nothing but their highest bits.
    """
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    if flat.storage_offset() % 8 or flat.data_ptr() % 8:  # a part of a tensor may begin anywhere
        flat = flat.clone()
    whole = flat.numel() // BLOCK_BYTES * BLOCK_BYTES
    rest = torch.zeros(BLOCK_BYTES, dtype=torch.uint8, device=flat.device)
    rest[: flat.numel() - whole] = flat[whole:]
    factors = FACTORS.to(flat.device)
    found = hashlib.blake2b(f"{tensor.dtype} {tuple(tensor.shape)}".encode(), digest_size=16)
    for part in (flat[:whole], rest):
        words = part.view(torch.int64).view(len(part) // BLOCK_BYTES, BLOCK_BYTES // 8)
        sums = words @ factors if words.device.type == "cpu" else in_pieces(words, factors)
        found.update(sums.cpu().numpy().tobytes())
    return found.hexdigest()


def in_pieces(words: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """words @ factors, which CUDA does not have for whole numbers; in 16 MB beside them."""
    return torch.cat([(blocks * factors).sum(1) for blocks in words.split(BLOCKS)])
