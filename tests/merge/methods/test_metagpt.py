"""MetaGPT against its formula in NumPy, float64, norms over one flat vector per model."""

import numpy as np
import pytest
import tiny
import tiny_merges as merging
from configured import configured

from adamms.merge.surveys.sums import Sums


def norms(operands: merging.Operands) -> dict[str, float]:
    taus = merging.task_vectors(operands)
    models = dict.fromkeys(name for slot in taus.values() for name in slot)
    return {
        name: float(np.concatenate([s[name].ravel() ** 2 for s in taus.values() if name in s]).sum())
        for name in models
    }


@pytest.mark.parametrize("alpha", [0.5, 0.2, 1.0])
def test_over_the_model_it_is_the_formula(case: merging.Merge, alpha: float) -> None:
    make, operands = case
    recipe = make(configured("merge/metagpt"), alpha)
    squares = norms(operands)
    assert isinstance(recipe.statistics, Sums)
    for name, square in recipe.statistics.of.items():
        assert square == pytest.approx(squares[name], rel=1e-12)  # two ways to sum 10**5 float64 numbers
    expected = {}
    for slot, taus in merging.task_vectors(operands).items():
        shares = merging.shares_of(recipe, taus)
        weights = {name: shares[name] * squares[name] for name in taus}
        total = sum(weights.values())
        summed = sum(weights[name] / total * tau for name, tau in taus.items())
        expected[slot] = operands[slot]["ancestor"] + summed
    merging.assert_merged(recipe, expected)


def test_per_tensor_the_norms_are_its_own(case: merging.Merge) -> None:
    make, operands = case
    recipe = make(configured("merge/metagpt", scaling=0.9, scope="tensor"), 0.4)
    assert recipe.statistics is None
    expected = {}
    for slot, taus in merging.task_vectors(operands).items():
        shares = merging.shares_of(recipe, taus)
        weights = {name: shares[name] * (tau**2).sum() for name, tau in taus.items()}
        total = sum(weights.values())
        summed = sum(weights[name] / total * tau for name, tau in taus.items())
        expected[slot] = operands[slot]["ancestor"] + 0.9 * summed
    merging.assert_merged(recipe, expected)


def test_alpha_0_is_the_target(case: merging.Merge) -> None:
    make, _ = case
    recipe = make(configured("merge/metagpt"), 0.0)
    for name, tensor in recipe.tensors():
        tiny.assert_same_bits(tensor, recipe.target.read(name))
