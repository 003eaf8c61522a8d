"""A checksum sees every changed bit, wherever the tensor lies."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adamms.engines.checksum import checksum, checksums_of

DTYPES = (torch.bfloat16, torch.float32, torch.float64, torch.uint8, torch.float8_e4m3fn)


@given(
    dtype=st.sampled_from(DTYPES),
    size=st.integers(1, 9000),
    offset=st.integers(0, 9),
    place=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
)
def test_one_bit_changes_it_and_where_the_bytes_lie_does_not(
    dtype: torch.dtype, size: int, offset: int, place: float, bit: int
) -> None:
    generator = torch.Generator().manual_seed(size)
    raw = torch.randint(256, ((size + offset) * dtype.itemsize,), dtype=torch.uint8, generator=generator)
    tensor = raw.view(dtype)[offset:]
    before = checksum(tensor)
    assert checksum(tensor.clone()) == before
    raw[offset * dtype.itemsize + int(place * size * dtype.itemsize)] ^= 1 << bit
    assert checksum(tensor) != before


def test_dtype_shape_and_the_order_of_blocks_count() -> None:
    tensor = torch.arange(2 * 4096, dtype=torch.float32).reshape(2, 4096)
    others = (tensor.reshape(4096, 2), tensor.view(torch.int32), tensor.flip(0), tensor[:1], tensor[:0])
    assert len({checksum(each) for each in (tensor, *others)}) == 6
    assert checksum(tensor.T) == checksum(tensor.T.contiguous())


@pytest.mark.parametrize(("shape", "count"), [((3, 64, 64), 3), ((3, 2, 4), 1), ((64, 64), 1), ((), 1)])
def test_experts_in_one_tensor_have_one_each(shape: tuple[int, ...], count: int) -> None:
    found = checksums_of("w", torch.zeros(shape))
    assert list(found) == (["w"] if count == 1 else [f"w[{i}]" for i in range(count)])
