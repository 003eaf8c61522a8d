"""sce against its formula, with the selection by sorting."""

from collections.abc import Mapping

import numpy as np
import pytest
from configured import configured
from hypothesis import given
from hypothesis import strategies as st
from slots import Array, Pair, Reference, assert_close, merged, shares_of, values

from adamms.merge.methods.sce import Sce, SceOfDonors


def formula(method: Sce) -> Reference:
    def reference(
        slot: str, models: Mapping[str, Array], ancestor: Array, shares: Mapping[str, float]
    ) -> Array:
        tau = {name: model - ancestor for name, model in models.items()}
        if method.density < 1:
            variance = np.var(list(tau.values()), axis=0)
            ordered = np.sort(variance[variance > 1e-18])[::-1]
            least = ordered[max(1, round(method.density * ordered.size)) - 1] if ordered.size else np.inf
            # NumPy's variance differs in the last bits; ties are the same to more bits than that.
            tau = {name: vector * (variance >= least * (1 - 1e-12)) for name, vector in tau.items()}
        squares = {name: shares[name] * (vector**2).sum() for name, vector in tau.items()}
        whole = sum(squares.values())
        if not whole:
            return ancestor
        total = sum(shares[name] * vector for name, vector in tau.items())
        agree = {n: (t != 0) & ((t > 0) == (total >= 0)) for n, t in tau.items()}
        delta = sum(squares[name] / whole * tau[name] * agree[name] for name in tau)
        if method.combine == "mean":
            weight = sum(squares[name] / whole * agree[name] for name in tau)
            delta = delta / np.where(weight == 0, 1, weight)
        return ancestor + method.scaling * delta

    return reference


METHODS = {
    "defaults": configured("merge/sce"),
    "selected": configured("merge/sce", density=0.4, scaling=1.5),
    "one element": configured("merge/sce", density=1e-9),
    "sum": configured("merge/sce", density=0.4, combine="sum"),
}


@pytest.mark.parametrize("shape", [(40,), (9, 11), (3, 4, 7)])
@pytest.mark.parametrize("case", METHODS)
def test_is_the_formula(case: str, shape: tuple[int, ...]) -> None:
    models, ancestor = values(shape, donors=2)
    alphas = {"donor0": 0.3, "donor1": 0.2}
    expected = formula(METHODS[case])("", models, ancestor, shares_of(alphas))
    for rows in (1, 2, None):
        assert_close(merged(METHODS[case], models, ancestor, alphas, rows), expected)


@pytest.mark.parametrize("density", [0.1, 0.5, 0.75])
def test_selects_the_share_that_differs_most(density: float) -> None:
    """Of the elements that differ at all: half of these are equal in both models."""
    models, ancestor = values((20, 20))
    models["donor0"][:10] = models["target"][:10]
    found = merged(configured("merge/sce", density=density), models, ancestor, {"donor0": 0.5})
    changed = found != ancestor
    assert changed.sum() == round(density * 200)
    assert not changed[:10].any()
    apart = np.abs(models["target"] - models["donor0"])
    assert apart[changed].min() > apart[10:][~changed[10:]].max()


def test_equal_variances_are_selected_together() -> None:
    ancestor = np.zeros(6)
    models = {"target": ancestor, "donor0": np.array([2.0, -2, 2, 1, 1, 0])}
    found = merged(configured("merge/sce", density=0.3), models, ancestor, {"donor0": 0.5})
    np.testing.assert_array_equal(found, [2, -2, 2, 0, 0, 0])


@pytest.mark.parametrize("case", METHODS)
def test_chunks_do_not_change_a_bit(case: str) -> None:
    models, ancestor = values((50, 33), donors=2)
    alphas = {"donor0": 0.3, "donor1": 0.2}
    expected = merged(METHODS[case], models, ancestor, alphas)
    for rows in (1, 7, 49):
        np.testing.assert_array_equal(merged(METHODS[case], models, ancestor, alphas, rows), expected)


def test_ends_and_equal_models() -> None:
    models, ancestor = values((4, 5))
    assert configured("merge/sce").keeps_target({"a": 0.0})
    assert not configured("merge/sce").keeps_target({"a": 0.1})
    assert not configured("merge/sce", scaling=2.0).keeps_target({"a": 0.0})
    for method in (configured("merge/sce"), configured("merge/sce", density=0.3)):
        assert_close(merged(method, models, ancestor, {"donor0": 1.0}), models["donor0"])
    models["donor0"] = models["target"]
    assert_close(merged(configured("merge/sce"), models, ancestor, {"donor0": 0.3}), models["target"])
    assert_close(merged(configured("merge/sce", density=0.3), models, ancestor, {"donor0": 0.3}), ancestor)


@given(st.permutations(["donor0", "donor1", "donor2"]))
def test_order_of_the_donors_does_not_matter(order: list[str]) -> None:
    models, ancestor = values((4, 5), donors=3)
    alphas = {"donor0": 0.2, "donor1": 0.3, "donor2": 0.1}
    shuffled = {name: models[name] for name in ["target", *order]}
    found = merged(
        configured("merge/sce", density=0.5), shuffled, ancestor, {name: alphas[name] for name in order}
    )
    assert_close(found, merged(configured("merge/sce", density=0.5), models, ancestor, alphas))


@pytest.mark.parametrize("case", METHODS)
def test_heterogeneous_pair(heterogeneous: Pair, case: str) -> None:
    heterogeneous.check(METHODS[case], formula(METHODS[case]), {"a": 0.4})
    heterogeneous.check(METHODS[case], formula(METHODS[case]), {"a": 0.2, "b": 0.5})


def test_mergekits_coefficients_are_equal_where_models_hardly_changed() -> None:
    """And it selects nothing of a model alone."""
    models, ancestor = values((30, 30), donors=2)
    near = {
        name: ancestor + (models[name] - ancestor) * scale
        for name, scale in (("donor0", 1e-4), ("donor1", 3e-4))
    }
    tau = {name: model - ancestor for name, model in near.items()}
    agree = (tau["donor0"] > 0) == (tau["donor1"] > 0)
    method = SceOfDonors(density=1.0, combine="mean", scaling=1.0)
    found = merged(method, {"target": ancestor, **near}, ancestor, {"donor0": 0.5, "donor1": 0.5})
    np.testing.assert_allclose(
        found[agree], ((near["donor0"] + near["donor1"]) / 2)[agree], rtol=0, atol=1e-12
    )
    alone = {"target": ancestor, "donor0": models["donor0"]}
    assert_close(merged(method, alone, ancestor, {"donor0": 1.0}), models["donor0"])
    half = SceOfDonors(density=0.5, combine="mean", scaling=1.0)
    np.testing.assert_array_equal(merged(half, alone, ancestor, {"donor0": 1.0}), ancestor)
