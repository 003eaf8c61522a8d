"""Task arithmetic against its formula in NumPy, float64."""

import pytest
import tiny
import tiny_merges as merging
import torch
from configured import configured

from adamms.merge.methods.linear import Linear


@pytest.mark.parametrize(("alpha", "scaling"), [(0.5, 1.0), (0.3, 0.7), (1.0, 1.0), (0.0, 0.5)])
def test_it_is_the_formula(case: merging.Merge, alpha: float, scaling: float) -> None:
    make, operands = case
    recipe = make(configured("merge/task_arithmetic", scaling=scaling), alpha)
    expected = {}
    for slot, taus in merging.task_vectors(operands).items():
        shares = merging.shares_of(recipe, taus)
        summed = sum(shares[name] * tau for name, tau in taus.items())
        expected[slot] = operands[slot]["ancestor"] + scaling * summed
    merging.assert_merged(recipe, expected)


def test_with_scaling_1_it_is_linear_interpolation(case: merging.Merge) -> None:
    make, _ = case
    for (_, tensor), (_, other) in zip(
        make(configured("merge/task_arithmetic"), 0.3).tensors(), make(Linear(), 0.3).tensors(), strict=True
    ):
        merging.assert_within_a_unit(tensor, other.double().numpy())


def test_alpha_0_is_the_target_only_with_scaling_1(case: merging.Merge) -> None:
    make, operands = case
    recipe = make(configured("merge/task_arithmetic"), 0.0)
    for name, tensor in recipe.tensors():
        tiny.assert_same_bits(tensor, recipe.target.read(name))
    half = make(configured("merge/task_arithmetic", scaling=0.5), 0.0)
    slot = next(name for name in operands if name.endswith("up_proj.weight"))
    assert not torch.equal(half.tensor(slot), half.target.read(slot))
