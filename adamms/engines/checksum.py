"""A checksum of a tensor, computed where the tensor is, at the speed of its memory. Knows no models."""

import hashlib

import torch

BLOCK_BYTES = 4096


def checksums_of(name: str, tensor: torch.Tensor) -> dict[str, str]:
    """The checksum of a tensor under its name; of experts in one tensor, each by itself: 'name[3]'.

    Every tensor of three dimensions counts as experts, one after the other, unless they were tiny.
    """
    if tensor.dim() == 3 and tensor[:1].nbytes >= BLOCK_BYTES:
        return {f"{name}[{expert}]": checksum(part) for expert, part in enumerate(tensor)}
    return {name: checksum(tensor)}


@torch.no_grad()
def checksum(tensor: torch.Tensor) -> str:
    """A digest of a tensor's dtype, shape and bytes, without a copy of it.

    The bytes are summed as 64-bit words, modulo 2^64, in blocks of 4 KB, and the digest is of these sums. So
    one changed word shows, and so do blocks that have changed places; words that have within a block do not.
    """
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    if flat.storage_offset() % 8 or flat.data_ptr() % 8:  # a part of a tensor may begin anywhere
        flat = flat.clone()
    whole = flat.numel() // BLOCK_BYTES * BLOCK_BYTES
    rest = torch.zeros(BLOCK_BYTES, dtype=torch.uint8, device=flat.device)
    rest[: flat.numel() - whole] = flat[whole:]
    found = hashlib.blake2b(f"{tensor.dtype} {tuple(tensor.shape)}".encode(), digest_size=16)
    for part in (flat[:whole], rest):
        sums = part.view(torch.int64).view(len(part) // BLOCK_BYTES, BLOCK_BYTES // 8).sum(1)
        found.update(sums.cpu().numpy().tobytes())
    return found.hexdigest()
