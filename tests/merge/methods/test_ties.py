"""TIES against the authors' computation on one flat vector per model, and mergekit's per tensor, in float64.

Coarse values (`two_donors`) have many equal magnitudes and sums that cancel, and all arithmetic on them is
exact in float64: there the merged tensors must be bitwise the reference's.
"""

import numpy as np
import pytest
import tiny_merges as merging
from configured import configured

from adamms.merge.election import Majority
from adamms.merge.surveys.thresholds import Thresholds

Array = merging.Array


def flat_trim(vectors: list[Array], density: float) -> list[Array]:
    """Each vector with the largest floor(d * density) + 1 entries, and those equal to the least of them."""
    trimmed = []
    for vector in vectors:
        d = vector.size
        least = np.sort(np.abs(vector))[max(d - int(d * density) - 1, 0)]
        trimmed.append(np.where(np.abs(vector) >= least, vector, 0))
    return trimmed


def majority_of(vectors: list[Array]) -> int:
    return int(np.sign(np.sign(np.sum(vectors, axis=0)).sum()))


def disjoint(vectors: list[Array], shares: list[float], majority: int, combine: str) -> Array:
    """As the published code: entries above zero where the elected sign is positive, else those below."""
    sign = np.sign(np.sum(vectors, axis=0))
    sign = np.where(sign == 0, majority, sign)
    agree = [np.where(sign > 0, vector > 0, vector < 0) for vector in vectors]
    merged = sum(share * vector * mask for share, vector, mask in zip(shares, vectors, agree, strict=True))
    if combine == "sum":
        return np.asarray(merged)
    weight = sum(share * mask for share, mask in zip(shares, agree, strict=True))
    return np.asarray(merged) / np.where(weight == 0, 1, weight)


def authors(
    recipe: object, operands: merging.Operands, density: float, scaling: float, combine: str = "sum"
) -> dict[str, Array]:
    """Trim over the whole model of each donor, majority over all elements."""
    taus = merging.task_vectors(operands)
    models = list(dict.fromkeys(name for slot in taus.values() for name in slot))
    for name in models:
        slots = [slot for slot in taus if name in taus[slot]]
        (flat,) = flat_trim([np.concatenate([taus[slot][name].ravel() for slot in slots])], density)
        for slot in slots:
            size = taus[slot][name].size
            taus[slot][name], flat = flat[:size].reshape(taus[slot][name].shape), flat[size:]
    totals = [sum(slot.values()).ravel() for slot in taus.values()]
    majority = majority_of([np.concatenate(totals)])
    expected = {}
    for slot, vectors in taus.items():
        shares = merging.shares_of(recipe, vectors)
        merged = disjoint(list(vectors.values()), [shares[n] for n in vectors], majority, combine)
        expected[slot] = operands[slot]["ancestor"] + scaling * merged
    return expected


def mergekit(recipe: object, operands: merging.Operands, density: float) -> dict[str, Array]:
    """Each tensor on its own; the vectors times their weights elect, zero being positive; normalised."""
    expected = {}
    for slot, vectors in merging.task_vectors(operands).items():
        shares = merging.shares_of(recipe, vectors)
        weighted = []
        for name, vector in vectors.items():
            k = max(1, int(vector.size * density))
            least = np.sort(np.abs(vector).ravel())[-k]
            weighted.append(shares[name] * np.where(np.abs(vector) >= least, vector, 0))
        sign = np.where(np.sum(weighted, axis=0) >= 0, 1, -1)
        agree = [np.sign(vector) == sign for vector in weighted]
        weight = sum(shares[name] * mask for name, mask in zip(vectors, agree, strict=True))
        merged = sum(vector * mask for vector, mask in zip(weighted, agree, strict=True))
        expected[slot] = operands[slot]["ancestor"] + merged / np.where(weight == 0, 1, weight)
    return expected


@pytest.mark.parametrize("density", [0.01, 0.2, 0.5, 0.9, 1.0])
def test_over_the_model_it_is_the_authors_scripts(case: merging.Merge, density: float) -> None:
    make, operands = case
    recipe = make(configured("merge/ties", density=density))
    merging.assert_merged(recipe, authors(recipe, operands, density, 2.0))


@pytest.mark.parametrize("density", [0.01, 0.2, 0.5, 0.9, 1.0])
def test_selections_are_bitwise_among_equal_magnitudes(
    cases: dict[str, merging.Merge], density: float
) -> None:
    make, operands = cases["two_donors"]
    recipe = make(configured("merge/ties", density=density))
    merging.assert_merged(recipe, authors(recipe, operands, density, 2.0), bitwise=True)


def test_the_mean_is_over_the_shares_that_agree(case: merging.Merge) -> None:
    make, operands = case
    recipe = make(configured("merge/ties", density=0.4, scaling=1.0, combine="mean"), 0.3)
    merging.assert_merged(recipe, authors(recipe, operands, 0.4, 1.0, "mean"))


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("density", [0.05, 0.5, 1.0])
def test_per_tensor_it_is_mergekit(case: merging.Merge, density: float, alpha: float) -> None:
    make, operands = case
    method = configured(
        "merge/ties", density=density, scaling=1.0, scope="tensor", combine="mean", election="weighted"
    )
    recipe = make(method, alpha)
    assert recipe.statistics is None
    merging.assert_merged(recipe, mergekit(recipe, operands, density))


def test_per_tensor_the_majority_is_the_tensors_own(cases: dict[str, merging.Merge]) -> None:
    make, operands = cases["two_donors"]
    recipe = make(configured("merge/ties", density=0.3, scope="tensor"))
    expected = {}
    for slot, taus in merging.task_vectors(operands).items():
        vectors = []
        for tau in taus.values():
            least = np.sort(np.abs(tau).ravel())[-max(1, int(tau.size * 0.3))]
            vectors.append(np.where(np.abs(tau) >= least, tau, 0))
        shares = list(merging.shares_of(recipe, taus).values())
        merged = disjoint(vectors, shares, majority_of(vectors), "sum")
        expected[slot] = operands[slot]["ancestor"] + 2 * merged
    merging.assert_merged(recipe, expected, bitwise=True)


def test_where_vectors_cancel_the_majority_decides(cases: dict[str, merging.Merge]) -> None:
    """The case has such elements, or the bitwise tests above would say less than they seem to."""
    make, operands = cases["two_donors"]
    taus = merging.task_vectors(operands)
    cancelled = sum(
        int(((sum(slot.values()) == 0) & np.any([v != 0 for v in slot.values()], axis=0)).sum())
        for slot in taus.values()
    )
    assert cancelled > 20
    found = make(configured("merge/ties", density=1.0)).statistics
    assert isinstance(found, Majority)
    assert found.sign == majority_of([np.concatenate([sum(s.values()).ravel() for s in taus.values()])])
    assert found.sign != 0


def test_candidates_share_what_was_measured(cases: dict[str, merging.Merge]) -> None:
    make, _ = cases["two_donors"]
    found = [make(configured("merge/ties", density=0.3), alpha).statistics for alpha in (0.0, 0.4, 1.0)]
    assert found[0] == found[1] == found[2]
    assert isinstance(found[0], Majority)
    assert isinstance(found[0].before, Thresholds)
    assert set(found[0].before.of) == {"target", "a", "b"}
