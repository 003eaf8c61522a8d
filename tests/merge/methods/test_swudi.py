"""swudi and aswudi against the formula with every column's direction, and against gradient descent."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from configured import configured
from slots import Array, Pair, Reference, assert_close, merged, of_vocabulary, shares_of, values

from adamms.merge.methods.swudi import Swudi


def quadratic(tau: list[Array], shares: list[float]) -> tuple[Array, Array]:
    """A and B of the module, of all columns."""
    scales = [len(tau) * share / np.linalg.norm(t) ** 2 for t, share in zip(tau, shares, strict=True)]
    squares = [scale * t.T @ t for t, scale in zip(tau, scales, strict=True)]
    return sum(squares), sum(t @ square for t, square in zip(tau, squares, strict=True))


def formula(method: Swudi) -> Reference:
    def reference(
        slot: str, models: Mapping[str, Array], ancestor: Array, shares: Mapping[str, float]
    ) -> Array:
        tau = {name: model - ancestor for name, model in models.items()}
        start = sum(shares[name] * vector for name, vector in tau.items())
        if ancestor.ndim != 2 or len(ancestor) >= method.vocabulary_rows or of_vocabulary(slot):
            return ancestor + method.scaling * start
        start = start * (len(tau) if method.start == "sum" else 1)
        a, b = quadratic(list(tau.values()), [shares[name] for name in tau])
        found, vectors = np.linalg.eigh(a)
        found, vectors = found[::-1].clip(min=0), vectors[:, ::-1]
        if method.rank is None:
            kept = math.ceil(np.sqrt(found).sum() ** 2 / found.sum())
        else:
            kept = math.ceil(method.rank * len(found))
        kept = min(kept, int((found > 1e-10).sum()))
        factors = np.zeros(len(found))
        factors[:kept] = 1 if method.time is None else 1 - np.exp(-method.time * found[:kept])
        inverse = np.divide(factors, found, out=np.zeros(len(found)), where=factors > 0)
        return ancestor + method.scaling * (start + (b - start @ a) @ vectors @ np.diag(inverse) @ vectors.T)

    return reference


METHODS = {
    "defaults": configured("merge/swudi"),
    "soft": configured("merge/swudi", time=3.0, rank=1.0, start="mean", scaling=0.5),
    "hard": configured("merge/swudi", time=None, rank=0.3),
    "adaptive": configured("merge/aswudi"),
}
ALPHAS = {"donor0": 0.3, "donor1": 0.2}


@pytest.mark.parametrize("shape", [(7,), (9, 11), (12, 5), (3, 30), (3, 4, 2)])
@pytest.mark.parametrize("case", METHODS)
def test_is_the_formula(case: str, shape: tuple[int, ...]) -> None:
    models, ancestor = values(shape, donors=2)
    found = merged(METHODS[case], models, ancestor, ALPHAS)
    expected = formula(METHODS[case])("", models, ancestor, shares_of(ALPHAS))
    # A squares the condition of the task vectors, at most 1e5 here.
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("start", ["sum", "mean"])
def test_time_is_that_of_gradient_descent(start: str) -> None:
    """Of half the gradient of WUDI's objective, in steps so small that they are a flow."""
    models, ancestor = values((6, 4), donors=1)
    tau = [model - ancestor for model in models.values()]
    a, b = quadratic(tau, [0.5, 0.5])
    at = sum(tau) / (1 if start == "sum" else 2)
    for _ in range(20_000):
        at = at - 1e-4 * (at @ a - b)
    method = configured("merge/swudi", time=2.0, rank=1.0, start=start)
    np.testing.assert_allclose(merged(method, models, ancestor, {"donor0": 0.5}) - ancestor, at, rtol=2e-3)


def test_after_all_time_in_all_directions_it_is_wudi() -> None:
    models, ancestor = values((6, 8), donors=2)
    endless = configured("merge/swudi", time=None, rank=1.0)
    assert_close(
        merged(endless, models, ancestor, ALPHAS), merged(configured("merge/wudi"), models, ancestor, ALPHAS)
    )


def test_the_adaptive_rank_counts_equal_directions() -> None:
    """Changes of one strength over k different inputs each: all 2 k directions are kept, and no noise."""
    left, right = (np.linalg.qr(np.random.default_rng(seed).normal(size=(9, 9)))[0] for seed in (1, 2))
    changes = [left[:, at : at + 3] @ right[at : at + 3] for at in (0, 3)]
    models = {"target": changes[0], "donor0": changes[1]}
    found = merged(configured("merge/aswudi"), models, np.zeros((9, 9)), {"donor0": 0.5})
    assert_close(found, sum(changes))
    spectrum = torch.tensor([0.0, 0.0, 0.0] + [1 / 3] * 6, dtype=torch.float64)
    assert configured("merge/aswudi").directions(spectrum, 9) == 6
    assert configured("merge/swudi", rank=0.5).directions(spectrum, 9) == 5


def test_ends_and_models_that_did_not_move() -> None:
    models, ancestor = values((6, 5))
    for case in ("defaults", "adaptive"):
        assert METHODS[case].keeps_target({"a": 0.0})
        assert_close(merged(METHODS[case], models, ancestor, {"donor0": 1.0}), models["donor0"])
        nothing = dict.fromkeys(models, ancestor)
        np.testing.assert_array_equal(merged(METHODS[case], nothing, ancestor, {"donor0": 0.5}), ancestor)
        still = models | {"donor0": ancestor}
        assert_close(merged(METHODS[case], still, ancestor, {"donor0": 0.5}), models["target"])


@pytest.mark.parametrize("case", METHODS)
def test_order_of_the_donors_does_not_matter(case: str) -> None:
    models, ancestor = values((8, 9), donors=2)
    shuffled = {name: models[name] for name in ["target", "donor1", "donor0"]}
    found = merged(METHODS[case], shuffled, ancestor, {"donor1": 0.2, "donor0": 0.3})
    np.testing.assert_allclose(found, merged(METHODS[case], models, ancestor, ALPHAS), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("case", METHODS)
def test_heterogeneous_pair(heterogeneous: Pair, case: str) -> None:
    heterogeneous.check(METHODS[case], formula(METHODS[case]), {"a": 0.4})
    heterogeneous.check(METHODS[case], formula(METHODS[case]), {"a": 0.2, "b": 0.5})
