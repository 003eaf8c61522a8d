"""wudi against NumPy's least squares on the objective as written, and descent against torch's optimisers."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from configured import configured
from slots import Array, Pair, Reference, assert_close, merged, of_vocabulary, shares_of, values

from adamms.merge.methods.wudi import Wudi


def terms(
    method: Wudi, tau: list[Array], shares: list[float]
) -> tuple[Array, list[tuple[Array, Array, float]]]:
    """The start, and (target, directions, weight) of each term of the objective."""
    count, mean = len(tau), sum(share * vector for share, vector in zip(shares, tau, strict=True))
    weights = [count * s / np.linalg.norm(v) ** method.power for s, v in zip(shares, tau, strict=True)]
    start = count * mean if method.start == "sum" else mean
    if method.variant == "wudi":
        return start, [(v, v, w) for v, w in zip(tau, weights, strict=True)]

    def leading(matrix: Array) -> Array:
        left, strengths, right = np.linalg.svd(matrix, full_matrices=False)
        rank = max(1, min(matrix.shape) // count)
        return (left[:, :rank] * strengths[:rank]) @ right[:rank]

    away = mean if method.variant == "optmerge" else 0 * mean
    return start, [(leading(v - away) + away, leading(v), w) for v, w in zip(tau, weights, strict=True)]


def exact(start: Array, objective: list[tuple[Array, Array, float]]) -> Array:
    """The minimum nearest to the start: least squares of the steps' residuals, all terms below each other."""
    left = np.concatenate([np.sqrt(w) * directions for _, directions, w in objective])
    right = np.concatenate([np.sqrt(w) * directions @ (t - start).T for t, directions, w in objective])
    return start + np.linalg.lstsq(left, right, rcond=1e-7)[0].T


def descent(method: Wudi, start: Array, objective: list[tuple[Array, Array, float]]) -> Array:
    """torch's optimisers, the gradients from the objective by automatic differentiation."""
    at = torch.nn.Parameter(torch.from_numpy(start.copy()))
    if method.solver == "adam":
        optimiser: torch.optim.Optimizer = torch.optim.Adam([at], lr=method.rate)
    else:
        optimiser = torch.optim.SGD([at], lr=method.rate, momentum=0.9)
    tensors = [(torch.from_numpy(t), torch.from_numpy(d), w) for t, d, w in objective]
    for _ in range(method.steps):
        optimiser.zero_grad()
        loss = sum(w * ((at - t) @ d.T).square().sum() for t, d, w in tensors)
        loss.backward()
        optimiser.step()
    return at.detach().numpy()


def formula(method: Wudi) -> Reference:
    def reference(
        slot: str, models: Mapping[str, Array], ancestor: Array, shares: Mapping[str, float]
    ) -> Array:
        tau = {name: model - ancestor for name, model in models.items()}
        if ancestor.ndim != 2 or len(ancestor) >= method.vocabulary_rows or of_vocabulary(slot):
            return ancestor + method.scaling * sum(shares[name] * vector for name, vector in tau.items())
        start, objective = terms(method, list(tau.values()), [shares[name] for name in tau])
        found = exact(start, objective) if method.solver == "exact" else descent(method, start, objective)
        return ancestor + method.scaling * found

    return reference


METHODS = {
    "defaults": configured("merge/wudi"),
    "norm": configured("merge/wudi", power=1, scaling=0.5),
    "optmerge": configured("merge/wudi", variant="optmerge"),
    "optmerge, mean": configured("merge/wudi", variant="optmerge", start="mean"),
    "adam": configured("merge/wudi", solver="adam", steps=20, rate=1e-3),
    "optmerge, adam": configured("merge/wudi2", start="mean", steps=20, rate=1e-3),
    "adapters": configured(
        "merge/wudi", variant="optmerge_adapters", solver="sgd", start="mean", steps=20, rate=1e-2
    ),
    "adapters, exact": configured("merge/wudi", variant="optmerge_adapters", start="mean"),
}
ALPHAS = {"donor0": 0.3, "donor1": 0.2}


@pytest.mark.parametrize("shape", [(7,), (9, 11), (12, 5), (3, 30), (3, 4, 2)])
@pytest.mark.parametrize("case", METHODS)
def test_is_the_minimum(case: str, shape: tuple[int, ...]) -> None:
    models, ancestor = values(shape, donors=2)
    found = merged(METHODS[case], models, ancestor, ALPHAS)
    expected = formula(METHODS[case])("", models, ancestor, shares_of(ALPHAS))
    # The normal equations square the condition of the least squares problem, at most 1e5 here.
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("variant", ["wudi", "optmerge"])
def test_many_steps_of_descent_end_there(variant: str) -> None:
    """At equal shares: the papers' objective, gone down by gradient descent until it does not fall."""
    models, ancestor = values((6, 4), donors=1)
    method = configured("merge/wudi", variant=variant)
    start, objective = terms(method, [model - ancestor for model in models.values()], [0.5, 0.5])
    at = start
    for _ in range(20_000):
        at = at - 0.05 * sum(2 * w * (at - t) @ d.T @ d for t, d, w in objective)
    found = merged(method, models, ancestor, {"donor0": 0.5}) - ancestor
    np.testing.assert_allclose(found, at, rtol=1e-6, atol=1e-8)


def test_ends_and_equal_models() -> None:
    models, ancestor = values((6, 5))
    assert configured("merge/wudi").keeps_target({"a": 0.0})
    assert not configured("merge/wudi").keeps_target({"a": 0.1})
    assert configured("merge/wudi2").keeps_target({"a": 0.0})
    assert not configured("merge/wudi", variant="optmerge_adapters").keeps_target({"a": 0.0})
    assert_close(merged(configured("merge/wudi"), models, ancestor, {"donor0": 1.0}), models["donor0"])
    models["donor0"] = models["target"]
    assert_close(merged(configured("merge/wudi"), models, ancestor, {"donor0": 0.3}), models["target"])


def test_changes_over_different_inputs_do_not_interfere() -> None:
    """Each model changed what it makes of its own inputs: the merged one has both changes in full."""
    generator = np.random.default_rng(3)
    ancestor = generator.normal(size=(5, 8))
    changes = [np.zeros((5, 8)), np.zeros((5, 8))]
    changes[0][:, :4], changes[1][:, 4:] = generator.normal(size=(2, 5, 4))
    models = {"target": ancestor + changes[0], "donor0": ancestor + changes[1]}
    for alpha in (0.2, 0.5):
        assert_close(
            merged(configured("merge/wudi"), models, ancestor, {"donor0": alpha}) - ancestor, sum(changes)
        )


def test_models_that_did_not_move() -> None:
    models, ancestor = values((6, 5))
    nothing = dict.fromkeys(models, ancestor)
    np.testing.assert_array_equal(
        merged(configured("merge/wudi"), nothing, ancestor, {"donor0": 0.5}), ancestor
    )
    models["donor0"] = ancestor
    assert_close(merged(configured("merge/wudi"), models, ancestor, {"donor0": 0.5}), models["target"])


@pytest.mark.parametrize("case", METHODS)
def test_order_of_the_donors_does_not_matter(case: str) -> None:
    models, ancestor = values((8, 9), donors=2)
    shuffled = {name: models[name] for name in ["target", "donor1", "donor0"]}
    found = merged(METHODS[case], shuffled, ancestor, {"donor1": 0.2, "donor0": 0.3})
    np.testing.assert_allclose(found, merged(METHODS[case], models, ancestor, ALPHAS), rtol=1e-7, atol=1e-8)


def test_vocabularies_are_averaged() -> None:
    models, ancestor = values((9, 4))
    average = (models["target"] + models["donor0"]) / 2
    assert_close(
        merged(configured("merge/wudi", vocabulary_rows=9), models, ancestor, {"donor0": 0.5}), average
    )


@pytest.mark.parametrize("case", METHODS)
def test_heterogeneous_pair(heterogeneous: Pair, case: str) -> None:
    heterogeneous.check(METHODS[case], formula(METHODS[case]), {"a": 0.4})
    heterogeneous.check(METHODS[case], formula(METHODS[case]), {"a": 0.2, "b": 0.5})
