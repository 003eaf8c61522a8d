"""Random numbers belong to elements: any part of a tensor draws what the whole does."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adamms.merge.randomness import kept, uniform


def whole(seed: int = 0, slot: str = "w", operand: str = "a", count: int = 500) -> torch.Tensor:
    return uniform(seed, slot, operand, 0, torch.empty(count))


@given(st.integers(0, 499), st.integers(1, 60))
def test_a_part_draws_what_the_whole_does(start: int, count: int) -> None:
    part = torch.empty(min(count, 500 - start))
    assert torch.equal(uniform(0, "w", "a", start, part), whole()[start : start + count])


def philox(counter: int, key: int) -> list[int]:
    """One block of Philox 4x64 with 10 rounds, from the paper: four numbers of 64 bits."""
    mask = (1 << 64) - 1
    words = [counter >> 64 * i & mask for i in range(4)]
    first, second = key & mask, key >> 64
    for _ in range(10):
        a, b = words[0] * 0xD2E7470EE14C6C93, words[2] * 0xCA5A826395121157
        words = [b >> 64 ^ words[1] ^ first, b & mask, a >> 64 ^ words[3] ^ second, a & mask]
        first, second = first + 0x9E3779B97F4A7C15 & mask, second + 0xBB67AE8584CAA73B & mask
    return words


@pytest.mark.parametrize("start", [0, 8, 8 * 10**10, 2**66 - 8])
def test_the_numbers_are_those_of_the_paper(start: int) -> None:
    """So they are the same with every version of NumPy, on every machine. NumPy's first block is number 1."""
    key = int.from_bytes(hashlib.blake2b(b"5\nmodel.w\na", digest_size=16).digest(), "little")
    block = philox(start // 8 + 1, key)
    expected = [half / 2**32 for word in block for half in (word & 0xFFFFFFFF, word >> 32)]
    assert uniform(5, "model.w", "a", start, torch.empty(8)).tolist() == expected


def test_seed_slot_and_operand_each_draw_their_own() -> None:
    draws = [whole(), whole(seed=1), whole(slot="v"), whole(operand="b")]
    for i, one in enumerate(draws):
        for other in draws[:i]:
            assert abs(float(np.corrcoef(one, other)[0, 1])) < 4 / 500**0.5  # four standard deviations


def test_they_are_uniform() -> None:
    values = whole(count=200_000)
    assert 0 <= float(values.min()) < float(values.max()) < 1
    counts = torch.histc(values.float(), 20, 0, 1).double()
    # Chi squared with 19 degrees of freedom exceeds 50 once in 7000 draws.
    assert float(((counts - 10_000) ** 2 / 10_000).sum()) < 50


@pytest.mark.parametrize("probability", [0.0, 2.0**-33, 0.1, 1 / 3, 0.5, 1 - 2.0**-40, 1.0])
def test_kept_is_below_the_probability(probability: float) -> None:
    like = torch.empty(25, 20)
    assert torch.equal(kept(probability, 0, "w", "a", 7, like), uniform(0, "w", "a", 7, like) < probability)
    assert kept(probability, 0, "w", "a", 7, like).shape == like.shape
