"""DARE against its formula in NumPy float64, with masks drawn for whole tensors."""

import hashlib

import numpy as np
import pytest
import tiny_merges as merging
from configured import configured

from adamms.merge.recipe import Recipe

Array = merging.Array


def mask(seed: int, slot: str, operand: str, shape: tuple[int, ...], density: float) -> Array:
    """Whole tensors at once, by NumPy's own way to 32-bit numbers."""
    key = hashlib.blake2b(f"{seed}\n{slot}\n{operand}".encode(), digest_size=16).digest()
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
    return generator.integers(0, 2**32, size=shape, dtype=np.uint32) / 2**32 < density


def thinned(operands: merging.Operands, density: float, seed: int) -> dict[str, dict[str, Array]]:
    return {
        slot: {name: tau * mask(seed, slot, name, tau.shape, density) / density for name, tau in taus.items()}
        for slot, taus in merging.task_vectors(operands).items()
    }


@pytest.mark.parametrize(("density", "seed"), [(0.1, 0), (0.5, 3), (1.0, 0)])
def test_linear_is_the_formula(case: merging.Merge, density: float, seed: int) -> None:
    make, operands = case
    recipe = make(configured("merge/dare_linear", density=density, scaling=0.8, seed=seed), 0.3)
    expected = {}
    for slot, vectors in thinned(operands, density, seed).items():
        shares = merging.shares_of(recipe, vectors)
        summed = sum(shares[name] * vector for name, vector in vectors.items())
        expected[slot] = operands[slot]["ancestor"] + 0.8 * summed
    merging.assert_merged(recipe, expected)


@pytest.mark.parametrize("combine", ["sum", "mean"])
@pytest.mark.parametrize("election", ["majority", "weighted"])
def test_ties_is_the_formula(case: merging.Merge, election: str, combine: str) -> None:
    make, operands = case
    recipe = make(
        configured(
            "merge/dare_ties",
            density=0.5,
            scaling=2.0,
            scope="model",
            combine=combine,
            election=election,
            seed=1,
        ),
        0.4,
    )
    vectors = thinned(operands, 0.5, 1)
    totals = np.concatenate([sum(slot.values()).ravel() for slot in vectors.values()])
    majority = 1 if election == "weighted" else np.sign(np.sign(totals).sum())
    expected = {}
    for slot, taus in vectors.items():
        shares = merging.shares_of(recipe, taus)
        factors = shares if election == "weighted" else dict.fromkeys(shares, 1.0)
        sign = np.sign(sum(factors[name] * tau for name, tau in taus.items()))
        sign = np.where(sign == 0, majority, sign)
        agree = {name: tau * sign > 0 for name, tau in taus.items()}
        merged = sum(shares[name] * tau * agree[name] for name, tau in taus.items())
        weight = sum(shares[name] * agree[name] for name in taus)
        if combine == "mean":
            merged = merged / np.where(weight == 0, 1, weight)
        expected[slot] = operands[slot]["ancestor"] + 2.0 * merged
    merging.assert_merged(recipe, expected, bitwise=False)


def kept_share(recipe: Recipe, operands: merging.Operands) -> tuple[int, int]:
    """Of the target's entries that differ from the ancestor's: how many are kept at alpha 0, of how many."""
    kept = count = 0
    for slot, values in operands.items():
        differs = values["target"] != values["ancestor"]
        kept += int((recipe.tensor(slot).double().numpy()[differs] != values["ancestor"][differs]).sum())
        count += int(differs.sum())
    return kept, count


@pytest.mark.parametrize("density", [0.05, 0.3, 0.5, 0.9])
def test_the_share_that_is_kept_is_density(cases: dict[str, merging.Merge], density: float) -> None:
    make, operands = cases["heterogeneous"]
    float32 = {slot: values for slot, values in operands.items() if values["target"].ndim == 2}
    kept, count = kept_share(make(configured("merge/dare_linear", density=density), 0.0), float32)
    assert count > 50_000
    # Four standard deviations, and those of 16-bit results that round back to the ancestor's value.
    assert abs(kept / count - density) < 4 * (density * (1 - density) / count) ** 0.5 + 0.002


def test_seeds_models_and_slots_draw_differently(cases: dict[str, merging.Merge]) -> None:
    _, operands = cases["heterogeneous"]
    slots = [slot for slot in operands if slot.endswith("mlp.up_proj.weight")]
    shape = operands[slots[0]]["target"].shape
    masks = [mask(s, slot, m, shape, 0.5) for s in (0, 1) for slot in slots for m in ("target", "a")]
    for i, one in enumerate(masks):
        for other in masks[:i]:
            assert abs((one == other).mean() - 0.5) < 4 * 0.5 / one.size**0.5


def test_alpha_0_is_the_target_only_where_the_formula_says_so(cases: dict[str, merging.Merge]) -> None:
    assert configured("merge/dare_linear", density=1.0).keeps_target({"a": 0.0})
    assert not configured("merge/dare_linear", density=0.5).keeps_target({"a": 0.0})
    assert not configured("merge/dare_linear", density=1.0, scaling=0.5).keeps_target({"a": 0.0})
    assert not configured("merge/dare_ties", density=1.0).keeps_target({"a": 0.0})
