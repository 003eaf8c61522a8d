"""nuslerp against its formula, of values and of task vectors, per tensor and per row."""

from collections.abc import Mapping

import numpy as np
import pytest
from configured import configured
from slots import Array, Pair, assert_close, merged, shares_of, values

from adamms.errors import AdammsError


def arc(one: Array, other: Array, t: float) -> Array:
    """Along the last dimension, as mergekit; its rows are those of dimension 0 of a matrix."""
    norms = [np.linalg.norm(v, axis=-1, keepdims=True) for v in (one, other)]
    scale = norms[0] * norms[1]
    cosine = np.clip((one * other).sum(-1, keepdims=True) / np.where(scale == 0, 1, scale), -1, 1)
    omega = np.arccos(np.where(np.abs(cosine) == 1, 0, cosine))
    with np.errstate(invalid="ignore"):
        found = (np.sin((1 - t) * omega) * one + np.sin(t * omega) * other) / np.sin(omega)
    return np.where(np.abs(cosine) == 1, (1 - t) * one + t * other, found)


def reference(
    models: Mapping[str, Array], ancestor: Array, shares: Mapping[str, float], per: str, task: bool
) -> Array:
    base = ancestor if task else np.zeros_like(ancestor)
    (one, first), (other, second) = [
        (models[n] - base, share) for n, share in shares.items() if share > 1e-12
    ]
    flat = per == "tensor" or ancestor.ndim == 1
    shape = (1, -1) if flat else (len(ancestor), -1)
    found = arc(one.reshape(shape), other.reshape(shape), second / (first + second))
    return base + found.reshape(ancestor.shape)


@pytest.mark.parametrize("option", ["nuslerp", "nuslerp_task"])
@pytest.mark.parametrize("per", ["tensor", "row"])
@pytest.mark.parametrize("shape", [(7,), (5, 8), (3, 4, 2)])
def test_is_the_formula_in_chunks_of_any_size(option: str, per: str, shape: tuple[int, ...]) -> None:
    models, ancestor = values(shape, donors=2)
    method = configured(f"merge/{option}", per=per)
    for alphas in ({"donor0": 0.3}, {"donor0": 0.25, "donor1": 0.75}, {"donor0": 0.0, "donor1": 0.4}):
        used = {name: models[name] for name in ("target", *alphas)}
        expected = reference(used, ancestor, shares_of(alphas), per, option.endswith("task"))
        found = merged(method, used, ancestor, alphas)
        assert_close(found, expected)
        for rows in (1, 2):
            np.testing.assert_array_equal(merged(method, used, ancestor, alphas, rows), found)


@pytest.mark.parametrize("option", ["nuslerp", "nuslerp_task"])
def test_ends_equal_models_and_zeros(option: str) -> None:
    models, ancestor = values((4, 5))
    method, zeros = configured(f"merge/{option}"), np.zeros((4, 5))
    assert method.keeps_target({"a": 0.0})
    assert not method.keeps_target({"a": 0.1})
    assert_close(merged(method, models, ancestor, {"donor0": 1.0}), models["donor0"])
    same = dict.fromkeys(models, models["target"])
    assert_close(merged(method, same, ancestor, {"donor0": 0.3}), models["target"])
    found = merged(method, models | {"target": zeros}, zeros, {"donor0": 1 / 3})
    assert_close(found, models["donor0"] / 2)  # the sine of 30 degrees


@pytest.mark.parametrize("per", ["tensor", "row"])
@pytest.mark.parametrize("option", ["nuslerp", "nuslerp_task"])
def test_heterogeneous_pair(heterogeneous: Pair, option: str, per: str) -> None:
    def expected(_: str, models: Mapping[str, Array], base: Array, shares: Mapping[str, float]) -> Array:
        return reference(models, base, shares, per, option.endswith("task"))

    method = configured(f"merge/{option}", per=per)
    heterogeneous.check(method, expected, {"a": 0.4})
    heterogeneous.check(method, expected, {"a": 0.3, "b": 0.7})


@pytest.mark.parametrize("option", ["nuslerp", "nuslerp_task"])
def test_three_models_are_refused(option: str) -> None:
    message = (
        rf"merge={option} is between two models.*: a, b\. For several: merge={option.replace('nu', 'multi')}"
    )
    with pytest.raises(AdammsError, match=message):
        configured(f"merge/{option}").keeps_target({"a": 0.2, "b": 0.3})
