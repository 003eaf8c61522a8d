"""karcher against gradient descent on the sphere, run on the tensors themselves."""

from collections.abc import Mapping

import numpy as np
import pytest
from configured import configured
from hypothesis import given
from hypothesis import strategies as st
from slots import Array, Pair, assert_close, merged, shares_of, values


def reference(slot: str, models: Mapping[str, Array], ancestor: Array, shares: Mapping[str, float]) -> Array:
    norms = {name: np.linalg.norm(model) for name, model in models.items()}
    units = {name: model / norms[name] for name, model in models.items()}
    mean = sum(shares[name] * unit for name, unit in units.items())
    mean = mean / np.linalg.norm(mean)
    for _ in range(1000):
        tangent = np.zeros_like(mean)
        for name, unit in units.items():
            across = unit - (unit * mean).sum() * mean
            length = np.linalg.norm(across)
            angle = np.arctan2(length, (unit * mean).sum())
            tangent = tangent + shares[name] * (angle / length * across if length else across)
        length = np.linalg.norm(tangent)
        if length < 1e-15:
            break
        mean = np.cos(length) * mean + np.sin(length) * tangent / length
        mean = mean / np.linalg.norm(mean)
    return sum(shares[name] * norm for name, norm in norms.items()) * mean


@pytest.mark.parametrize("shape", [(7,), (5, 8), (3, 4, 2)])
@pytest.mark.parametrize("apart", [0.001, 0.3, 2.0])
def test_is_the_mean_on_the_sphere(shape: tuple[int, ...], apart: float) -> None:
    models, ancestor = values(shape, donors=3, apart=apart)
    alphas = {"donor0": 0.1, "donor1": 0.3, "donor2": 0.2}
    expected = reference("", models, ancestor, shares_of(alphas))
    for rows in (1, 2, None):
        assert_close(merged(configured("merge/karcher"), models, ancestor, alphas, rows), expected)


def test_of_two_models_is_a_point_of_the_arc() -> None:
    """The angle to the target is alpha times the whole, and so is the part of the way to the donor's norm."""
    models, ancestor = values((6, 6), apart=1.0)
    target, donor = models.values()
    found = merged(configured("merge/karcher"), models, ancestor, {"donor0": 0.3})

    def angle(one: Array, other: Array) -> float:
        return float(np.arccos((one * other).sum() / np.linalg.norm(one) / np.linalg.norm(other)))

    assert angle(found, target) == pytest.approx(0.3 * angle(donor, target), rel=1e-9)
    assert angle(found, donor) == pytest.approx(0.7 * angle(donor, target), rel=1e-9)
    norms = [np.linalg.norm(tensor) for tensor in (found, target, donor)]
    assert norms[0] == pytest.approx(0.7 * norms[1] + 0.3 * norms[2], rel=1e-12)


def test_chunks_do_not_change_a_bit() -> None:
    models, ancestor = values((50, 33), donors=2)
    alphas = {"donor0": 0.3, "donor1": 0.2}
    expected = merged(configured("merge/karcher"), models, ancestor, alphas)
    for rows in (1, 7, 49):
        np.testing.assert_array_equal(
            merged(configured("merge/karcher"), models, ancestor, alphas, rows), expected
        )


@given(st.permutations(["donor0", "donor1", "donor2"]), st.floats(0.05, 0.3), st.floats(0.05, 0.3))
def test_order_of_the_donors_does_not_matter(order: list[str], first: float, second: float) -> None:
    models, ancestor = values((4, 5), donors=3)
    alphas = {"donor0": first, "donor1": second, "donor2": 0.1}
    expected = merged(configured("merge/karcher"), models, ancestor, alphas)
    shuffled = {name: models[name] for name in ["target", *order]}
    assert_close(
        merged(configured("merge/karcher"), shuffled, ancestor, {name: alphas[name] for name in order}),
        expected,
    )


def test_ends_and_equal_models() -> None:
    models, ancestor = values((4, 5))
    assert configured("merge/karcher").keeps_target({"a": 0.0})
    assert not configured("merge/karcher").keeps_target({"a": 1.0})
    assert_close(merged(configured("merge/karcher"), models, ancestor, {"donor0": 1.0}), models["donor0"])
    models["donor0"] = models["target"]
    assert_close(merged(configured("merge/karcher"), models, ancestor, {"donor0": 0.3}), models["target"])


def test_zeros_count_in_the_norm_alone() -> None:
    models, ancestor = values((4, 5), donors=2)
    models["donor0"] = np.zeros((4, 5))
    found = merged(configured("merge/karcher"), models, ancestor, {"donor0": 0.5, "donor1": 0.25})
    rest = {name: models[name] for name in ("target", "donor1")}
    alone = reference("", rest, ancestor, {"target": 0.5, "donor1": 0.5})
    assert_close(found, alone / 2)
    nothing = dict.fromkeys(models, np.zeros((4, 5)))
    assert not merged(configured("merge/karcher"), nothing, ancestor, {"donor0": 0.5, "donor1": 0.25}).any()


def test_opposite_models_give_something_finite() -> None:
    models, ancestor = values((4, 5))
    models["donor0"] = -models["target"]
    found = merged(configured("merge/karcher"), models, ancestor, {"donor0": 0.5})
    assert_close(np.abs(found), np.abs(models["target"]))


def test_one_step_is_one_step() -> None:
    models, ancestor = values((4, 5), donors=2, apart=2.0)
    alphas = {"donor0": 0.2, "donor1": 0.3}
    once = merged(configured("merge/karcher", steps=1), models, ancestor, alphas)
    mean = reference("", models, ancestor, shares_of(alphas))
    assert 1e-6 < np.abs(once - mean).max() < 0.1


def mergekits(models: Mapping[str, Array], steps: int, tolerance: float) -> Array:
    """Its loop in float64, of models of one weight."""
    norms = [np.linalg.norm(model) for model in models.values()]
    units = [model / norm for model, norm in zip(models.values(), norms, strict=True)]
    mean = sum(units) / np.linalg.norm(sum(units))
    for _ in range(steps):
        tangent = np.zeros_like(mean)
        for unit in units:
            dot = np.clip((mean * unit).sum(), -1, 1)
            angle = np.arccos(dot)
            if angle >= tolerance:
                tangent += angle / np.sin(angle) * (unit - dot * mean) / len(units)
        length = np.linalg.norm(tangent)
        if length < tolerance:
            break
        mean = np.cos(length) * mean + np.sin(length) / length * tangent
    return np.mean(norms) * mean


@pytest.mark.parametrize(("steps", "tolerance"), [(10, 1e-5), (10, 1e-2), (3, 1e-9), (9, 0.9)])
@pytest.mark.parametrize("apart", [0.01, 0.4, 2.0])
def test_it_ends_where_mergekit_does(apart: float, steps: int, tolerance: float) -> None:
    models, ancestor = values((4, 5), donors=2, apart=apart)
    method = configured("merge/karcher", steps=steps, tolerance=tolerance)
    found = merged(method, models, ancestor, {"donor0": 1 / 3, "donor1": 1 / 3})
    np.testing.assert_allclose(found, mergekits(models, steps, tolerance), rtol=1e-9, atol=1e-10)


def test_heterogeneous_pair(heterogeneous: Pair) -> None:
    heterogeneous.check(configured("merge/karcher"), reference, {"a": 0.4})
    heterogeneous.check(configured("merge/karcher"), reference, {"a": 0.2, "b": 0.5})
