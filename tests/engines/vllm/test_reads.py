"""Which rows of the tensors that it is given a loader reads."""

from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from adamms.engines.vllm.reads import Reads, joined


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9)), max_size=8))
def test_ranges_are_joined_to_disjoint_ones(parts: list[tuple[int, int]]) -> None:
    ranges = [range(first, first + length) for first, length in parts]
    found = joined(ranges)
    assert {number for each in found for number in each} == {number for each in ranges for number in each}
    assert all(one.stop < other.start for one, other in pairwise(found))


@torch.no_grad()
def test_a_view_reads_nothing_and_a_copy_the_rows_that_it_is_made_of() -> None:
    with Reads() as reads:
        rows, columns, expert, ignored, scalar = (
            reads.give(name, torch.randn(shape))
            for name, shape in (
                ("rows", (8, 6)),
                ("columns", (8, 6)),
                ("expert", (4, 6, 5)),
                ("ignored", (2, 2)),
                ("scalar", ()),
            )
        )
        torch.empty(2, 6).copy_(rows.narrow(0, 1, 2))
        torch.empty(2, 6, device="meta").copy_(rows.narrow(0, 5, 2))
        torch.empty(8, 3).copy_(columns.narrow(1, 3, 3))
        expert[2].t().contiguous()
        ignored.view(4)[1:].reshape(3)
        scalar.to(torch.float64)
    assert reads.rows == {
        "rows": [range(1, 3), range(5, 7)],
        "columns": [range(8)],
        "expert": [range(2, 3)],
        "scalar": [range(1)],
    }


@torch.no_grad()
def test_tensors_in_one_storage_and_memory_given_again_are_told_apart() -> None:
    memory = torch.zeros(12)
    with Reads() as reads:
        first, second = (
            reads.give("first", memory[:6].view(3, 2)),
            reads.give("second", memory[6:].view(3, 2)),
        )
        torch.empty(1, 2).copy_(second[1:2])
        again = reads.give("again", memory[2:8].view(3, 2))
        torch.empty(3, 2).copy_(again)
        torch.empty(1, 2).copy_(first[:1])  # given up with the memory that it shares
    assert reads.rows == {"second": [range(1, 2)], "again": [range(3)]}


@torch.no_grad()
def test_what_is_made_in_the_memory_of_a_freed_tensor_is_another_one() -> None:
    """Tensors of 38 MB: when they are freed, the next ones are given their memory."""
    shape, half = (6144, 3072), 3072
    addresses = []
    with Reads() as reads:
        for number in range(6):
            weight = reads.give(str(number), torch.empty(shape, dtype=torch.bfloat16))
            addresses.append(weight.data_ptr())
            if number % 2:
                torch.empty(half, 3072, dtype=torch.bfloat16).copy_(weight[:half])
            del weight
            made = torch.empty(shape, dtype=torch.bfloat16).zero_()
            addresses.append(made.data_ptr())
            made.t()[:half].contiguous()
            del made
    assert len(set(addresses)) < len(addresses)
    assert reads.rows == {"1": [range(half)], "3": [range(half)], "5": [range(half)]}


@torch.no_grad()
def test_what_is_written_is_not_read_and_rows_end_with_the_tensor() -> None:
    memory = torch.zeros(12)
    with Reads() as reads:
        into, middle = reads.give("into", torch.empty(2, 2)), reads.give("middle", memory[4:8].view(2, 2))
        into.copy_(torch.ones(2, 2))
        torch.add(torch.ones(2, 2), 1, out=into)
        assert not reads.rows
        memory[6:].clone()
        assert reads.rows == {"middle": [range(1, 2)]}
        memory.clone()
    assert reads.rows == {"middle": [range(2)]}
    assert middle.sum() == 0
