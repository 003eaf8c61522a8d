"""arcee_fusion against its formula on whole tensors."""

from collections.abc import Mapping

import numpy as np
import pytest
from configured import configured
from slots import Array, Pair, assert_close, merged, shares_of, values


def softmax(values: Array) -> Array:
    powers = np.exp(values - values.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def importance(donor: Array, target: Array) -> Array:
    p, q = softmax(donor) + 1e-8, softmax(target) + 1e-8
    return np.asarray(np.abs(donor - target) * (p * np.log(p / q)).sum(-1, keepdims=True))


def reference(_: str, models: Mapping[str, Array], ancestor: Array, shares: Mapping[str, float]) -> Array:
    target, *donors = models.values()
    found = target.copy()
    for share, donor in zip(list(shares.values())[1:], donors, strict=True):
        scores = importance(donor, target)
        ordered = np.sort(scores.ravel())
        q1, median, q3 = (ordered[int(q * (len(ordered) - 1))] for q in (0.25, 0.5, 0.75))
        found += share * np.where(scores >= median + 1.5 * (q3 - q1), donor - target, 0)
    return found


@pytest.mark.parametrize("shape", [(1,), (70,), (25, 8), (6, 4, 10)])
def test_is_the_formula_in_chunks_of_any_size(shape: tuple[int, ...]) -> None:
    models, ancestor = values(shape, donors=2)
    method, alphas = configured("merge/arcee_fusion"), {"donor0": 0.5, "donor1": 0.25}
    found = merged(method, models, ancestor, alphas)
    assert_close(found, reference("", models, ancestor, shares_of(alphas)))
    for rows in (1, 2, 7):
        np.testing.assert_array_equal(merged(method, models, ancestor, alphas, rows), found)


def test_what_stands_out_is_the_donors_and_the_rest_the_targets() -> None:
    models, ancestor = values((40, 50))
    found = merged(configured("merge/arcee_fusion"), models, ancestor, {"donor0": 1.0})
    taken = found != models["target"]
    assert 0.01 < taken.mean() < 0.2
    assert_close(found[taken], models["donor0"][taken])
    changes = np.abs(models["donor0"] - models["target"])
    assert changes[taken].mean() > 1.5 * changes.mean()


def test_equal_models_and_ends() -> None:
    models, ancestor = values((4, 5))
    method = configured("merge/arcee_fusion")
    assert method.keeps_target({"a": 0.0})
    assert not method.keeps_target({"a": 1.0})
    same = dict.fromkeys(models, models["target"])
    np.testing.assert_array_equal(merged(method, same, ancestor, {"donor0": 1.0}), models["target"])


def test_heterogeneous_pair(heterogeneous: Pair) -> None:
    heterogeneous.check(configured("merge/arcee_fusion"), reference, {"a": 1.0})
    heterogeneous.check(configured("merge/arcee_fusion"), reference, {"a": 0.2, "b": 0.5})
