"""Checksums of tensors: the same for the same values, others for any one value changed."""

import struct

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adamms.engines import checksum as module
from adamms.engines.checksum import CHAIN, SPREAD, checksum


def reference(content: bytes, block: int) -> str:
    """In Python's whole numbers."""
    content += bytes(-len(content) % 8)
    words = struct.unpack(f"<{len(content) // 8}Q", content)
    total = 0
    for start in range(0, len(words), block):
        step = sum(w * (2 * i + 1) * SPREAD for i, w in enumerate(words[start : start + block]))
        total = total * CHAIN + step
    return f"{total % 2**64:016x}"


@given(content=st.binary(max_size=70), place=st.integers(0, 69), flip=st.integers(1, 255))
def test_it_is_the_sum_of_all_words_and_shows_one_changed_byte(content: bytes, place: int, flip: int) -> None:
    tensor = torch.tensor(list(content), dtype=torch.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_WORDS", 3)
        own = checksum(tensor)
        assert own == reference(content, 3)
        if place < len(content):
            tensor[place] ^= flip
            assert checksum(tensor) != own


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.bool, torch.float64])
def test_only_the_values_count_not_how_they_lie_in_memory(dtype: torch.dtype) -> None:
    values = torch.arange(15).view(3, 5).to(dtype)
    padded = torch.zeros(4, 7, dtype=dtype)
    padded[1:, 2:] = values
    assert checksum(padded[1:, 2:]) == checksum(values)
    assert checksum(values.flip(0)) != checksum(values)
    assert checksum(values[0, 0]) == checksum(values[:1, :1])
