"""A checksum sees every changed bit, wherever the tensor lies."""

from hashlib import blake2b

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adamms.engines import checksum as module
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


@pytest.mark.parametrize(("rows", "width"), [(8, 256), (512, 4), (3, 64)])
def test_rows_that_have_changed_places_show(rows: int, width: int) -> None:
    """As experts in a router, whose rows share a block."""
    router = torch.randn(rows, width, generator=torch.Generator().manual_seed(0)).bfloat16()
    swapped = router.clone()
    swapped[[0, 1]] = router[[1, 0]]
    assert len({checksum(each) for each in (router, router.flip(0), router.roll(1, 0), swapped)}) == 4


def test_its_sums_are_those_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU the blocks are summed some at a time."""
    words = torch.randint(-(2**63), 2**63 - 1, (512 * 3 + 5,), generator=torch.Generator().manual_seed(0))
    numbers, factors = words.tolist() + [0] * (512 - 5), module.FACTORS.tolist()
    expected = blake2b(b"torch.int64 (1541,)", digest_size=16)
    for start in range(0, len(numbers), 512):
        block = numbers[start : start + 512]
        total = sum(word * factor for word, factor in zip(block, factors, strict=True))
        expected.update((total % 2**64).to_bytes(8, "little"))
    assert checksum(words) == expected.hexdigest()
    blocks = words[:1536].view(3, 512)
    monkeypatch.setattr(module, "BLOCKS", 2)
    assert torch.equal(module.in_pieces(blocks, module.FACTORS), blocks @ module.FACTORS)


@pytest.mark.cuda
def test_on_a_gpu_it_is_the_same() -> None:
    tensor = torch.randn(5000, 1025, generator=torch.Generator().manual_seed(0))
    assert checksum(tensor.cuda()) == checksum(tensor)


@pytest.mark.parametrize(("shape", "count"), [((3, 64, 64), 3), ((3, 2, 4), 1), ((64, 64), 1), ((), 1)])
def test_experts_in_one_tensor_have_one_each(shape: tuple[int, ...], count: int) -> None:
    found = checksums_of("w", torch.zeros(shape))
    assert list(found) == (["w"] if count == 1 else [f"w[{i}]" for i in range(count)])
