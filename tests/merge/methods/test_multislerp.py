"""multislerp against mergekit's steps on the tensors themselves: tangent space, mean, and back."""

from collections.abc import Mapping

import numpy as np
import pytest
from configured import configured
from slots import Array, Pair, assert_close, merged, shares_of, values

OPTIONS = ("multislerp", "multislerp_task")


def reference(models: Mapping[str, Array], ancestor: Array, shares: Mapping[str, float], task: bool) -> Array:
    base = ancestor if task else np.zeros_like(ancestor)
    vectors = {name: models[name] - base for name, share in shares.items() if share > 0}
    norms = {name: np.linalg.norm(v) for name, v in vectors.items()}
    units = {name: v / (norms[name] + 1e-8) for name, v in vectors.items()}
    mean = sum(shares[name] * unit for name, unit in units.items())
    if np.linalg.norm(mean) < 1e-8:
        return base + sum(shares[name] * vector for name, vector in vectors.items())
    mean = mean / np.linalg.norm(mean)
    tangent = sum(shares[name] * (u - (u * mean).sum() * mean) for name, u in units.items())
    length = np.linalg.norm(tangent) + 1e-8
    point = mean * np.cos(length) + tangent * (np.sin(length) / length)
    return base + sum(shares[name] * norm for name, norm in norms.items()) * point


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("shape", [(7,), (5, 8), (3, 4, 2)])
def test_is_mergekits_computation_in_chunks_of_any_size(option: str, shape: tuple[int, ...]) -> None:
    models, ancestor = values(shape, donors=3)
    method = configured(f"merge/{option}")
    for alphas in (
        {"donor0": 0.1, "donor1": 0.3, "donor2": 0.2},
        {"donor0": 0.6, "donor1": 0.0, "donor2": 0.4},
    ):
        found = merged(method, models, ancestor, alphas)
        assert_close(found, reference(models, ancestor, shares_of(alphas), option.endswith("task")))
        for rows in (1, 2):
            np.testing.assert_array_equal(merged(method, models, ancestor, alphas, rows), found)


@pytest.mark.parametrize("option", OPTIONS)
def test_ends_zeros_and_opposites(option: str) -> None:
    models, ancestor = values((4, 5))
    method, zeros = configured(f"merge/{option}"), np.zeros((4, 5))
    assert method.keeps_target({"a": 0.0})
    assert_close(merged(method, models, ancestor, {"donor0": 1.0}), models["donor0"])
    opposite = {"target": models["target"], "donor0": -models["target"]}
    assert_close(merged(method, opposite, zeros, {"donor0": 0.5}), zeros)
    assert_close(merged(method, dict.fromkeys(models, zeros), zeros, {"donor0": 0.5}), zeros)


@pytest.mark.parametrize("option", OPTIONS)
def test_heterogeneous_pair(heterogeneous: Pair, option: str) -> None:
    def expected(_: str, models: Mapping[str, Array], base: Array, shares: Mapping[str, float]) -> Array:
        return reference(models, base, shares, option.endswith("task"))

    heterogeneous.check(configured(f"merge/{option}"), expected, {"a": 0.4})
    heterogeneous.check(configured(f"merge/{option}"), expected, {"a": 0.2, "b": 0.5})


def test_it_is_the_first_point_of_karcher() -> None:
    models, ancestor = values((6, 6), donors=2)
    alphas = {"donor0": 0.2, "donor1": 0.3}
    near = merged(configured("merge/multislerp"), models, ancestor, alphas)
    mean = merged(configured("merge/karcher"), models, ancestor, alphas)
    assert 0 < np.abs(near - mean).max() < 0.02 * np.abs(mean).max()
