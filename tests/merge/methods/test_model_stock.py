"""model_stock against its formula."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pytest
from configured import configured
from hypothesis import given
from hypothesis import strategies as st
from slots import Array, Pair, assert_close, merged, shares_of, values

from adamms.merge.methods.model_stock import ModelStockBounded


def reference(slot: str, models: Mapping[str, Array], ancestor: Array, shares: Mapping[str, float]) -> Array:
    return stock(models, ancestor, shares, limit=True)


def stock(
    models: Mapping[str, Array], ancestor: Array, shares: Mapping[str, float], limit: bool, least: float = 0.0
) -> Array:
    """Section 4 of the paper, with the mean over the pairs' cosines; `least` is of the product of norms."""
    vectors = [model - ancestor for model in models.values()]
    cosines = [
        (one * other).sum() / max(np.linalg.norm(one) * np.linalg.norm(other), least)
        for one, other in combinations(vectors, 2)
    ]
    cosine, count = np.mean(cosines), len(vectors)
    if limit:
        cosine = max(0.0, cosine)
    t = count * cosine / (1 + (count - 1) * cosine)
    mean = sum(shares[name] * model for name, model in models.items())
    return t * mean + (1 - t) * ancestor


def by_row(slot: str, models: Mapping[str, Array], ancestor: Array, shares: Mapping[str, float]) -> Array:
    if ancestor.ndim == 1:
        return reference(slot, models, ancestor, shares)
    rows = [
        reference(slot, {name: model[i] for name, model in models.items()}, ancestor[i], shares)
        for i in range(len(ancestor))
    ]
    return np.stack(rows)


def alike(shape: tuple[int, ...], donors: int) -> tuple[dict[str, Array], Array]:
    """Models that moved in similar directions, so that cosines are positive."""
    models, ancestor = values(shape, donors)
    common = values(shape, seed=5)[1]
    return {name: model + 0.4 * common for name, model in models.items()}, ancestor


@pytest.mark.parametrize("shape", [(17,), (5, 8), (3, 4, 2)])
@pytest.mark.parametrize("donors", [1, 3])
def test_is_the_formula(shape: tuple[int, ...], donors: int) -> None:
    models, ancestor = alike(shape, donors)
    alphas = {f"donor{i}": 0.15 * (i + 1) for i in range(donors)}
    for rows in (1, 2, None):
        found = merged(configured("merge/model_stock"), models, ancestor, alphas, rows)
        assert_close(found, reference("", models, ancestor, shares_of(alphas)))
        found = merged(configured("merge/model_stock", per="row"), models, ancestor, alphas, rows)
        assert_close(found, by_row("", models, ancestor, shares_of(alphas)))


def test_two_models_at_equal_shares_are_the_papers() -> None:
    models, ancestor = alike((6, 6), 1)
    one, other = (model - ancestor for model in models.values())
    cosine = (one * other).sum() / np.linalg.norm(one) / np.linalg.norm(other)
    t = 2 * cosine / (1 + cosine)
    expected = t * (models["target"] + models["donor0"]) / 2 + (1 - t) * ancestor
    assert_close(merged(configured("merge/model_stock"), models, ancestor, {"donor0": 0.5}), expected)


@pytest.mark.parametrize("per", ["tensor", "row"])
def test_models_that_disagree_give_the_ancestor_unless_extrapolated(per: str) -> None:
    models, ancestor = values((5, 6))
    models["donor0"] = ancestor - 0.4 * (models["target"] - ancestor) + 0.01 * models["donor0"]
    limited = merged(configured("merge/model_stock", per=per), models, ancestor, {"donor0": 0.5})
    assert_close(limited, ancestor)
    free = merged(configured("merge/model_stock", per=per, limit=False), models, ancestor, {"donor0": 0.5})
    if per == "tensor":
        assert_close(free, stock(models, ancestor, {"target": 0.5, "donor0": 0.5}, limit=False))
    assert np.abs(free - ancestor).max() > 0.1


@given(st.permutations(["donor0", "donor1", "donor2"]))
def test_order_of_the_donors_does_not_matter(order: list[str]) -> None:
    models, ancestor = alike((4, 5), 3)
    alphas = {"donor0": 0.2, "donor1": 0.3, "donor2": 0.1}
    shuffled = {name: models[name] for name in ["target", *order]}
    found = merged(
        configured("merge/model_stock"), shuffled, ancestor, {name: alphas[name] for name in order}
    )
    assert_close(found, merged(configured("merge/model_stock"), models, ancestor, alphas))


@pytest.mark.parametrize("per", ["tensor", "row"])
def test_ends_and_equal_models(per: str) -> None:
    models, ancestor = values((4, 5))
    method = configured("merge/model_stock", per=per)
    assert method.keeps_target({"a": 0.0})
    assert not method.keeps_target({"a": 0.5})
    assert_close(merged(method, models, ancestor, {"donor0": 1.0}), models["donor0"])
    models["donor0"] = models["target"]
    assert_close(merged(method, models, ancestor, {"donor0": 0.3}), models["target"])


@pytest.mark.parametrize("per", ["tensor", "row"])
def test_a_model_that_did_not_move_agrees_with_none(per: str) -> None:
    models, ancestor = values((4, 5))
    models["donor0"] = ancestor
    assert_close(
        merged(configured("merge/model_stock", per=per), models, ancestor, {"donor0": 0.5}), ancestor
    )


@pytest.mark.parametrize("per", ["tensor", "row"])
@pytest.mark.parametrize("size", [1.0, 1e-4])
def test_with_mergekits_bound_small_changes_stay_near_the_ancestor(per: str, size: float) -> None:
    models, ancestor = alike((5, 6), 1)
    models = {name: ancestor + size * (model - ancestor) for name, model in models.items()}
    shares = {"target": 0.5, "donor0": 0.5}
    found = merged(ModelStockBounded(per=per, limit=False), models, ancestor, {"donor0": 0.5})
    parts = [slice(None)] if per == "tensor" else [slice(row, row + 1) for row in range(5)]
    expected = [
        stock({name: m[at] for name, m in models.items()}, ancestor[at], shares, limit=False, least=1e-6)
        for at in parts
    ]
    np.testing.assert_allclose(found - ancestor, np.concatenate(expected) - ancestor, rtol=1e-6, atol=1e-14)
    unbounded = merged(
        configured("merge/model_stock", per=per, limit=False), models, ancestor, {"donor0": 0.5}
    )
    assert (size == 1.0) == np.allclose(found - ancestor, unbounded - ancestor, rtol=1e-3, atol=0)


def test_chunks_do_not_change_a_bit() -> None:
    models, ancestor = alike((50, 33), 2)
    alphas = {"donor0": 0.3, "donor1": 0.2}
    expected = merged(configured("merge/model_stock"), models, ancestor, alphas)
    for rows in (1, 7, 49):
        np.testing.assert_array_equal(
            merged(configured("merge/model_stock"), models, ancestor, alphas, rows), expected
        )


@pytest.mark.parametrize("per", ["tensor", "row"])
def test_heterogeneous_pair(heterogeneous: Pair, per: str) -> None:
    method = configured("merge/model_stock", per=per)
    expected = reference if per == "tensor" else by_row
    heterogeneous.check(method, expected, {"a": 0.4})
    heterogeneous.check(method, expected, {"a": 0.2, "b": 0.5})
