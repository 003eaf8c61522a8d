"""slerp against its formula."""

from collections.abc import Mapping

import numpy as np
import pytest
from configured import configured
from slots import Array, Pair, assert_close, merged, shares_of, values

from adamms.errors import AdammsError


def reference(slot: str, models: Mapping[str, Array], ancestor: Array, shares: Mapping[str, float]) -> Array:
    return slerp(models, shares, 0.9995)


def slerp(models: Mapping[str, Array], shares: Mapping[str, float], parallel: float) -> Array:
    (target, donor), t = models.values(), list(shares.values())[1]
    cosine = (target * donor).sum() / np.linalg.norm(target) / np.linalg.norm(donor)
    if abs(cosine) > parallel:
        return (1 - t) * target + t * donor
    omega = np.arccos(cosine)
    return (np.sin((1 - t) * omega) * target + np.sin(t * omega) * donor) / np.sin(omega)


@pytest.mark.parametrize("shape", [(7,), (5, 8), (3, 4, 2)])
@pytest.mark.parametrize("parallel", [0.5, 0.9995])
def test_is_the_formula(shape: tuple[int, ...], parallel: float) -> None:
    models, ancestor = values(shape)
    for t in (0.1, 0.5, 0.9):
        expected = slerp(models, shares_of({"donor0": t}), parallel)
        for rows in (1, 2, None):
            assert_close(
                merged(configured("merge/slerp", parallel=parallel), models, ancestor, {"donor0": t}, rows),
                expected,
            )


def test_chunks_do_not_change_a_bit() -> None:
    models, ancestor = values((50, 33))
    expected = merged(configured("merge/slerp"), models, ancestor, {"donor0": 0.3})
    for rows in (1, 7, 49):
        np.testing.assert_array_equal(
            merged(configured("merge/slerp"), models, ancestor, {"donor0": 0.3}, rows), expected, strict=True
        )


def test_ends_are_the_models() -> None:
    models, ancestor = values((4, 5))
    assert configured("merge/slerp").keeps_target({"a": 0.0})
    assert not configured("merge/slerp").keeps_target({"a": 0.1})
    np.testing.assert_array_equal(
        merged(configured("merge/slerp"), models, ancestor, {"donor0": 1.0}), models["donor0"]
    )


@pytest.mark.parametrize("cosine", [0.9994, 0.9996, -0.9994, -0.9996])
def test_nearly_parallel_tensors_are_interpolated_linearly(cosine: float) -> None:
    target, across = np.eye(2)
    donor = 3 * (cosine * target + np.sqrt(1 - cosine**2) * across)
    found = merged(configured("merge/slerp"), {"target": target, "donor0": donor}, target, {"donor0": 0.5})
    linear = (target + donor) / 2
    assert np.allclose(found, linear, rtol=1e-12) == (abs(cosine) > 0.9995)
    assert_close(found, slerp({"t": target, "d": donor}, {"t": 0.5, "d": 0.5}, 0.9995))


@pytest.mark.parametrize("zero", ["target", "donor0"])
def test_a_tensor_of_zeros_is_interpolated_linearly(zero: str) -> None:
    models, ancestor = values((3, 3))
    models[zero] = np.zeros((3, 3))
    other = next(name for name in models if name != zero)
    assert_close(merged(configured("merge/slerp"), models, ancestor, {"donor0": 0.5}), models[other] / 2)


def test_equal_models_give_the_model_back() -> None:
    models, ancestor = values((3, 3))
    models["donor0"] = models["target"]
    assert_close(merged(configured("merge/slerp"), models, ancestor, {"donor0": 0.3}), models["target"])


def test_heterogeneous_pair(heterogeneous: Pair) -> None:
    heterogeneous.check(configured("merge/slerp"), reference, {"a": 0.4})


def test_several_donors_are_refused(heterogeneous: Pair) -> None:
    recipe = heterogeneous.recipe(configured("merge/slerp"), {"a": 0.2, "b": 0.3})
    with pytest.raises(AdammsError, match=r"one donor, and there are 2: a, b\. For several: merge=karcher"):
        next(recipe.tensors())
