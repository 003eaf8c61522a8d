"""What a cosine is worth: thresholds hold what they promise, and grades follow from who else is near."""

import pytest
import torch

from adamms.mapping.content.noise import (
    KINDRED_VECTORS,
    LEAST_COSINE,
    Noise,
    cosine,
    measure_noise,
    normalised,
    strange_parts,
    variance_beyond_chance,
)


@pytest.mark.parametrize("numbers", [64, 256, 2048])
def test_chance_does_not_reach_the_threshold(numbers: int) -> None:
    """A million unrelated pairs; the bound promises one false match in a thousand such experiments."""
    generator = torch.Generator().manual_seed(numbers)
    one, other = (normalised(torch.randn(1000, numbers, generator=generator)) for _ in range(2))
    table = one @ other.T
    assert float(table.max()) < Noise(table.numel()).threshold(numbers)


def test_the_threshold_grows_with_comparisons_and_never_falls_below_the_least() -> None:
    assert Noise(10).threshold(64) < Noise(10**6).threshold(64)
    assert Noise(10).threshold(10**9) == LEAST_COSINE


def test_what_all_tensors_share_is_measured_on_the_pairs_that_do_not_match() -> None:
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(4096, generator=generator)
    for strength in (0.0, 0.1, 0.3):
        signs = torch.randn(200, 1, generator=generator)
        one = normalised(torch.randn(200, 4096, generator=generator) + strength * signs * shared)
        other = normalised(torch.randn(200, 4096, generator=generator) + strength * signs.flip(0) * shared)
        table = one @ other.T
        noise = measure_noise([variance_beyond_chance(table.flatten(), 4096)], table.numel())
        # Shared cosines are products of two normal numbers here, whose median is lower; hence 60 %.
        assert noise.deviation(4096) == pytest.approx(float(table.std()), rel=0.6)
        assert noise.deviation(4096) >= 4096**-0.5


def test_grades_of_matrices() -> None:
    for found, others, contested, expected in [
        (0.98, [0.04], 0.98, "sure"),
        (0.98, [], 0.98, "sure"),
        (0.30, [0.05], 0.30, "sure"),
        (0.30, [0.05], 0.98, "unsure"),  # the candidate belongs to another tensor
        (0.70, [0.05], 0.98, "sure"),  # a copy that went its own way
        (0.98, [0.97], 0.98, "tied"),
        (0.98, [0.90], 0.98, "sure"),
        (0.40, [0.39], 0.40, "unsure"),
        (0.15, [0.02], 0.15, "none"),
    ]:
        assert Noise(10_000).grade(found, 4096, others, contested) == expected


@pytest.mark.parametrize(
    ("found", "others", "expected"),
    [
        (0.9999, [0.95, 0.94], "sure"),
        (0.80, [0.75, 0.72], "unsure"),  # norms of other layers: a family, and its own member is missing
        (0.96, [0.95, 0.10], "tied"),  # two copies of one bias
        (0.999, [0.9985, 0.998], "tied"),
    ],
)
def test_grades_of_vectors(found: float, others: list[float], expected: str) -> None:
    assert Noise(10_000, kindred=KINDRED_VECTORS).grade(found, 4096, others) == expected


def test_a_vector_that_another_target_resembles_more_is_a_doubt() -> None:
    vectors = Noise(10_000, kindred=KINDRED_VECTORS)
    assert vectors.grade(0.85, 4096, [0.5, 0.4], contested=0.99) == "unsure"
    assert vectors.grade(0.85, 4096, [0.5, 0.4], contested=0.86) == "sure"


def test_strange_parts_are_counted_in_runs_of_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(160, 16, generator=generator)
    other = target + 0.2 * torch.randn(160, 16, generator=generator)
    assert strange_parts(target, other) == 0
    other[32:48] = torch.randn(16, 16, generator=generator)
    assert strange_parts(target, other) == pytest.approx(0.1)
    assert strange_parts(target[:40], other[:40]) == pytest.approx(1 / 3)
    target[64:80] = other[64:80] = 0  # rows that no token uses
    assert strange_parts(target, other) == pytest.approx(0.1)


def test_zeros_resemble_nothing() -> None:
    assert cosine(torch.zeros(3), torch.ones(3)) == 0
    assert torch.equal(normalised(torch.zeros(2, 3)), torch.zeros(2, 3))
