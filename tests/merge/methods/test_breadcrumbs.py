"""breadcrumbs against its formula, with the selection by sorting."""

from collections.abc import Mapping

import numpy as np
import pytest
from configured import configured
from hypothesis import given
from hypothesis import strategies as st
from slots import Array, Pair, Reference, assert_close, merged, shares_of, values

from adamms.errors import AdammsError
from adamms.merge.methods.breadcrumbs import Breadcrumbs


def kept(magnitudes: Array, density: float, gamma: float) -> Array:
    """1 where one of some magnitudes is kept, by its place among them; equal ones are treated alike."""
    ordered = np.sort(magnitudes.ravel())[::-1]
    above = min(round(gamma * ordered.size), ordered.size - 1)
    count = min(max(1, round(density * ordered.size)), ordered.size - above)
    return (magnitudes <= ordered[above]) * (magnitudes >= ordered[above + count - 1])


def formula(method: Breadcrumbs) -> Reference:
    def reference(
        slot: str, models: Mapping[str, Array], ancestor: Array, shares: Mapping[str, float]
    ) -> Array:
        trimmed = {}
        for name, model in models.items():
            tau = model - ancestor
            rows = (
                [tau] if method.scope == "tensor" or tau.ndim == 1 else list(tau.reshape(-1, tau.shape[-1]))
            )
            masks = [kept(np.abs(row), method.density, method.gamma) for row in rows]
            trimmed[name] = shares[name] * tau * np.stack(masks).reshape(tau.shape)
        total = sum(trimmed.values())
        if method.elect:
            agree = {n: (t != 0) & ((t > 0) == (total >= 0)) for n, t in trimmed.items()}
            weight = sum(shares[name] * agree[name] for name in trimmed)
            total = sum(trimmed[name] * agree[name] for name in trimmed)
            if method.combine == "mean":
                total = total / np.where(weight == 0, 1, weight)
        return ancestor + method.scaling * total

    return reference


METHODS = {
    "defaults": configured("merge/breadcrumbs"),
    "sparse": configured("merge/breadcrumbs", density=0.3, gamma=0.2, scaling=1.5),
    "rows": configured("merge/breadcrumbs", density=0.5, gamma=0.25, scope="row"),
    "elect": configured("merge/breadcrumbs", density=0.6, gamma=0.1, elect=True),
    "elect, mean": configured("merge/breadcrumbs", density=0.6, gamma=0.1, elect=True, combine="mean"),
    "all": configured("merge/breadcrumbs", density=1, gamma=0),
}


@pytest.mark.parametrize("shape", [(40,), (9, 11), (3, 4, 7)])
@pytest.mark.parametrize("case", METHODS)
def test_is_the_formula(case: str, shape: tuple[int, ...]) -> None:
    models, ancestor = values(shape, donors=2)
    alphas = {"donor0": 0.3, "donor1": 0.2}
    expected = formula(METHODS[case])("", models, ancestor, shares_of(alphas))
    for rows in (1, 2, None):
        assert_close(merged(METHODS[case], models, ancestor, alphas, rows), expected)


@pytest.mark.parametrize("scope", ["tensor", "row"])
@pytest.mark.parametrize(("density", "gamma"), [(0.85, 0.01), (0.3, 0.2), (0.01, 0.5), (0.9, 0.0)])
def test_keeps_the_share_in_the_middle(scope: str, density: float, gamma: float) -> None:
    """Without equal magnitudes the number is exact; what is left out is larger or smaller than all kept."""
    models, ancestor = values((10, 200))
    method = configured("merge/breadcrumbs", density=density, gamma=gamma, scope=scope)
    found = merged(method, models, ancestor, {"donor0": 1.0}) - ancestor
    tau = models["donor0"] - ancestor
    for row, of_all in [(found, tau)] if scope == "tensor" else zip(found, tau, strict=True):
        inside = row != 0
        assert inside.sum() == max(1, round(density * row.size))
        larger = (np.abs(of_all) > np.abs(of_all[inside]).max()).sum()
        assert larger == round(gamma * row.size)


def test_equal_magnitudes_are_kept_together() -> None:
    ancestor = np.zeros(8)
    models = {"target": ancestor, "donor0": np.array([3.0, -2, 2, 2, 1, -1, 1, 0])}
    found = merged(
        configured("merge/breadcrumbs", density=0.25, gamma=0.25), models, ancestor, {"donor0": 1.0}
    )
    np.testing.assert_array_equal(found, [0, -2, 2, 2, 0, 0, 0, 0])


@given(
    st.lists(st.sampled_from([0.0, 0.5, -0.5, 1.0, -2.0, 3.0]), min_size=2, max_size=30),
    st.floats(0.05, 1),
    st.floats(0, 0.9),
    st.integers(1, 30),
)
def test_any_values_in_any_chunks(tau: list[float], density: float, gamma: float, rows: int) -> None:
    density = min(density, 1 - gamma)
    ancestor = np.zeros(len(tau))
    models = {"target": ancestor, "donor0": np.array(tau)}
    found = merged(
        configured("merge/breadcrumbs", density=density, gamma=gamma), models, ancestor, {"donor0": 1.0}, rows
    )
    np.testing.assert_array_equal(found, models["donor0"] * kept(np.abs(models["donor0"]), density, gamma))


@pytest.mark.parametrize("case", METHODS)
def test_chunks_do_not_change_a_bit(case: str) -> None:
    models, ancestor = values((50, 33), donors=2)
    alphas = {"donor0": 0.3, "donor1": 0.2}
    expected = merged(METHODS[case], models, ancestor, alphas)
    for rows in (1, 7, 49):
        np.testing.assert_array_equal(merged(METHODS[case], models, ancestor, alphas, rows), expected)


def test_without_trimming_it_is_a_weighted_sum() -> None:
    models, ancestor = values((4, 5))
    everything = configured("merge/breadcrumbs", density=1, gamma=0)
    assert everything.keeps_target({"a": 0.0})
    assert not everything.keeps_target({"a": 0.1})
    assert not configured("merge/breadcrumbs").keeps_target({"a": 0.0})
    assert_close(merged(everything, models, ancestor, {"donor0": 1.0}), models["donor0"])
    models["donor0"] = models["target"]
    assert_close(merged(everything, models, ancestor, {"donor0": 0.3}), models["target"])


@pytest.mark.parametrize("order", [["donor1", "donor0"], ["donor0", "donor1"]])
def test_order_of_the_donors_does_not_matter(order: list[str]) -> None:
    models, ancestor = values((4, 5), donors=2)
    alphas = {"donor0": 0.2, "donor1": 0.3}
    shuffled = {name: models[name] for name in ["target", *order]}
    found = merged(
        configured("merge/breadcrumbs"), shuffled, ancestor, {name: alphas[name] for name in order}
    )
    assert_close(found, merged(configured("merge/breadcrumbs"), models, ancestor, alphas))


@pytest.mark.parametrize("case", METHODS)
def test_heterogeneous_pair(heterogeneous: Pair, case: str) -> None:
    heterogeneous.check(METHODS[case], formula(METHODS[case]), {"a": 0.4})
    heterogeneous.check(METHODS[case], formula(METHODS[case]), {"a": 0.2, "b": 0.5})


def test_density_and_gamma_are_of_the_same_elements() -> None:
    with pytest.raises(AdammsError, match=r"0\.9 and 0\.2; expected at most 1 together"):
        configured("merge/breadcrumbs", density=0.9, gamma=0.2)
