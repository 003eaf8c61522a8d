"""della against its formula, and its random selection against probabilities."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from configured import configured
from slots import SLOT, Array, Pair, Reference, assert_close, merged, shares_of, values

from adamms.errors import AdammsError
from adamms.merge.methods.della import Della
from adamms.merge.randomness import uniform


def keep(method: Della, tau: Array) -> Array:
    """Probability by mean rank in the row; tensors of one dimension are one row."""
    rows = np.abs(tau).reshape(1, -1) if tau.ndim == 1 else np.abs(tau).reshape(len(tau), -1)
    smaller = (rows[:, None, :] < rows[:, :, None]).sum(axis=2)
    equal = (rows[:, None, :] == rows[:, :, None]).sum(axis=2) - 1
    width = rows.shape[1]
    share = (smaller + equal / 2) / (width - 1) if width > 1 else np.full(rows.shape, 0.5)
    return (method.density - method.epsilon + 2 * method.epsilon * share).reshape(tau.shape)


def formula(method: Della) -> Reference:
    def reference(
        slot: str, models: Mapping[str, Array], ancestor: Array, shares: Mapping[str, float]
    ) -> Array:
        pruned = {}
        for name, model in models.items():
            tau = model - ancestor
            if method.density < 1:
                drawn = uniform(method.seed, slot, name, 0, torch.from_numpy(tau)).numpy()
                inside, probability = drawn < keep(method, tau), keep(method, tau)
                tau = tau * inside / (probability if method.rescale else 1)
            pruned[name] = shares[name] * tau
        total = sum(pruned.values())
        if method.elect:
            agree = {n: (t != 0) & ((t > 0) == (total >= 0)) for n, t in pruned.items()}
            weight = sum(shares[name] * agree[name] for name in pruned)
            total = sum(pruned[name] * agree[name] for name in pruned)
            if method.combine == "mean":
                total = total / np.where(weight == 0, 1, weight)
        return ancestor + method.scaling * total

    return reference


METHODS = {
    "defaults": configured("merge/della"),
    "sparse": configured("merge/della", density=0.2, epsilon=0.1, scaling=1.5, seed=3),
    "linear": configured("merge/della", elect=False),
    "sum": configured("merge/della", combine="sum"),
    "not rescaled": configured("merge/della", rescale=False),
    "all": configured("merge/della", density=1),
}


@pytest.mark.parametrize("shape", [(40,), (9, 11), (3, 4, 7), (6, 1)])
@pytest.mark.parametrize("case", METHODS)
def test_is_the_formula(case: str, shape: tuple[int, ...]) -> None:
    models, ancestor = values(shape, donors=2)
    models["donor0"].flat[::3] = ancestor.flat[::3]  # equal magnitudes
    alphas = {"donor0": 0.3, "donor1": 0.2}
    expected = formula(METHODS[case])(SLOT, models, ancestor, shares_of(alphas))
    for rows in (1, 2, None):
        assert_close(merged(METHODS[case], models, ancestor, alphas, rows), expected)


@pytest.mark.parametrize("shape", [(150,), (50, 33)])
@pytest.mark.parametrize("case", METHODS)
def test_chunks_do_not_change_a_bit(case: str, shape: tuple[int, ...]) -> None:
    models, ancestor = values(shape, donors=2)
    alphas = {"donor0": 0.3, "donor1": 0.2}
    expected = merged(METHODS[case], models, ancestor, alphas)
    for rows in (1, 7, 49):
        np.testing.assert_array_equal(merged(METHODS[case], models, ancestor, alphas, rows), expected)


@pytest.mark.parametrize(("density", "epsilon"), [(0.7, 0.15), (0.3, 0.29), (0.5, 0.0)])
def test_keeps_each_rank_with_its_probability(density: float, epsilon: float) -> None:
    """20,000 rows of 11: each rank's rate within 5 standard deviations of its probability."""
    generator = np.random.default_rng(1)
    tau = np.stack([generator.permutation(np.arange(1.0, 12.0)) for _ in range(20_000)])
    tau *= generator.choice([-1, 1], size=tau.shape)
    ancestor = np.zeros_like(tau)
    method = configured("merge/della", density=density, epsilon=epsilon, rescale=False)
    found = merged(method, {"target": ancestor, "donor0": tau}, ancestor, {"donor0": 1.0})
    assert np.isin(found, [0]).any()
    np.testing.assert_array_equal(found[found != 0], tau[found != 0])
    for rank in range(11):
        probability = density - epsilon + 2 * epsilon * rank / 10
        rate = (found[np.abs(tau) == rank + 1] != 0).mean()
        assert abs(rate - probability) <= 5 * np.sqrt(probability * (1 - probability) / 20_000)


def test_rescaling_keeps_the_expected_value() -> None:
    """The mean over seeds of each element, within 5 standard deviations of the element."""
    models, ancestor = values((4, 6))
    tau, runs = models["donor0"] - ancestor, 1000
    method = configured("merge/della", elect=False)
    total = sum(
        merged(replace(method, seed=seed), models, ancestor, {"donor0": 1.0}) - ancestor
        for seed in range(runs)
    )
    probability = keep(configured("merge/della"), tau)
    deviation = np.abs(tau) * np.sqrt((1 - probability) / probability / runs)
    assert (np.abs(total / runs - tau) <= 5 * deviation).all()


def test_seed_tensor_and_model_have_their_own_randomness() -> None:
    models, ancestor = values((30, 30))
    models["donor0"] = models["target"]
    runs = [
        merged(configured("merge/della", elect=False), models, ancestor, {"donor0": 1.0}),
        merged(configured("merge/della", elect=False, seed=1), models, ancestor, {"donor0": 1.0}),
        merged(configured("merge/della", elect=False), models, ancestor, {"donor0": 1.0}, slot="another"),
        merged(configured("merge/della", elect=False), models, ancestor, {"donor0": 0.0}),
    ]
    kept = [run != ancestor for run in runs]
    for other in kept[1:]:
        assert 0.2 < (kept[0] != other).mean() < 0.6
    np.testing.assert_array_equal(
        merged(configured("merge/della", elect=False), models, ancestor, {"donor0": 1.0}), runs[0]
    )


def test_without_dropping_it_is_a_weighted_sum() -> None:
    models, ancestor = values((4, 5))
    everything = configured("merge/della", density=1, elect=False)
    assert everything.keeps_target({"a": 0.0})
    assert not everything.keeps_target({"a": 0.1})
    assert not configured("merge/della").keeps_target({"a": 0.0})
    assert_close(merged(everything, models, ancestor, {"donor0": 1.0}), models["donor0"])
    models["donor0"] = models["target"]
    assert_close(merged(everything, models, ancestor, {"donor0": 0.3}), models["target"])


def test_order_of_the_donors_does_not_matter() -> None:
    models, ancestor = values((8, 9), donors=2)
    alphas = {"donor0": 0.2, "donor1": 0.3}
    shuffled = {name: models[name] for name in ["target", "donor1", "donor0"]}
    found = merged(configured("merge/della"), shuffled, ancestor, {"donor1": 0.3, "donor0": 0.2})
    assert_close(found, merged(configured("merge/della"), models, ancestor, alphas))


@pytest.mark.parametrize("case", METHODS)
def test_heterogeneous_pair(heterogeneous: Pair, case: str) -> None:
    heterogeneous.check(METHODS[case], formula(METHODS[case]), {"a": 0.4})
    heterogeneous.check(METHODS[case], formula(METHODS[case]), {"a": 0.2, "b": 0.5})


def test_probabilities_lie_within_0_and_1() -> None:
    with pytest.raises(AdammsError, match=r"epsilon is 0\.1; .* above 0 and .* merge\.density is 0\.1"):
        configured("merge/della", density=0.1, epsilon=0.1)
    with pytest.raises(AdammsError, match=r"merge\.epsilon is 0\.2; expected density - eps"):
        configured("merge/della", density=0.9, epsilon=0.2)
