"""tsv against its formula, with NumPy's decompositions."""

from collections.abc import Mapping

import numpy as np
import pytest
from configured import configured
from slots import Array, Pair, Reference, assert_close, merged, of_vocabulary, shares_of, values

from adamms.merge.methods.tsv import Tsv


def polar(matrix: Array) -> Array:
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    return left @ right


def formula(method: Tsv) -> Reference:
    def reference(
        slot: str, models: Mapping[str, Array], ancestor: Array, shares: Mapping[str, float]
    ) -> Array:
        tau = [shares[name] * (model - ancestor) for name, model in models.items()]
        if ancestor.ndim != 2 or len(ancestor) >= method.vocabulary_rows or of_vocabulary(slot):
            return ancestor + method.scaling * sum(tau)
        least = min(ancestor.shape)
        count = max(1, least // len(tau) if method.rank is None else int(method.rank * least))
        parts = [np.linalg.svd(vector, full_matrices=False) for vector in tau]
        left = polar(np.concatenate([u[:, :count] for u, _, _ in parts], axis=1))
        right = polar(np.concatenate([v[:count] for _, _, v in parts]))
        values = np.concatenate([s[:count] for _, s, _ in parts])
        return ancestor + method.scaling * left @ np.diag(values) @ right

    return reference


METHODS = {
    "defaults": configured("merge/tsv"),
    "half": configured("merge/tsv", rank=0.5, scaling=2.0),
    "all": configured("merge/tsv", rank=1),
}
ALPHAS = {"donor0": 0.3, "donor1": 0.2}


@pytest.mark.parametrize("shape", [(7,), (9, 11), (12, 5), (3, 4, 2), (2, 9)])
@pytest.mark.parametrize("case", METHODS)
def test_is_the_formula(case: str, shape: tuple[int, ...]) -> None:
    models, ancestor = values(shape, donors=2)
    found = merged(METHODS[case], models, ancestor, ALPHAS)
    assert_close(found, formula(METHODS[case])("", models, ancestor, shares_of(ALPHAS)))


def test_parts_do_not_interfere() -> None:
    """Of a model whose vectors are orthogonal to the other's, the leading part is there as it was."""
    left, right = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0], np.eye(8)
    one = left[:, :4] @ np.diag([4.0, 3, 2, 1]) @ right[:4]
    other = left[:, 4:] @ np.diag([8.0, 6, 4, 2]) @ right[4:]
    models, ancestor = {"target": one, "donor0": other}, np.zeros((8, 8))
    assert_close(merged(configured("merge/tsv", scaling=2), models, ancestor, {"donor0": 0.5}), one + other)


def test_what_a_library_leaves_open_does_not_matter() -> None:
    """Changes of rank 1: no arbitrary vectors come in, and other signs in the same change are the same."""
    generator = np.random.default_rng(2)
    ancestor = generator.normal(size=(6, 7))
    first, second = (np.outer(generator.normal(size=6), generator.normal(size=7)) for _ in range(2))
    found = merged(
        configured("merge/tsv"),
        {"target": ancestor + first, "donor0": ancestor + second},
        ancestor,
        {"donor0": 0.5},
    )
    assert np.linalg.matrix_rank(found - ancestor, tol=1e-9) == 2
    left, right = np.linalg.svd(first)[0][:, :1], np.linalg.svd(first)[2][:1]
    others = np.linalg.svd(second)[0][:, :1], np.linalg.svd(second)[2][:1]
    values_ = np.diag([np.linalg.norm(first), np.linalg.norm(second)]) / 2
    expected = polar(np.hstack([left, others[0]])) @ values_ @ polar(np.vstack([right, others[1]]))
    assert_close(found - ancestor, expected)


def test_ends_and_equal_models() -> None:
    models, ancestor = values((6, 5))
    assert configured("merge/tsv").keeps_target({"a": 0.0})
    assert not configured("merge/tsv").keeps_target({"a": 0.1})
    assert not configured("merge/tsv", rank=0.5).keeps_target({"a": 0.0})
    assert_close(merged(configured("merge/tsv"), models, ancestor, {"donor0": 1.0}), models["donor0"])
    models["donor0"] = models["target"]
    # Both have the same vectors, each half of their strength: together once, of the leading half.
    left, strengths, right = np.linalg.svd(models["target"] - ancestor)
    leading = left[:, :2] @ np.diag(strengths[:2]) @ right[:2]
    assert_close(
        merged(configured("merge/tsv", scaling=2), models, ancestor, {"donor0": 0.3}), ancestor + leading
    )


def test_models_that_did_not_move() -> None:
    models, ancestor = values((6, 5))
    nothing = dict.fromkeys(models, ancestor)
    np.testing.assert_array_equal(
        merged(configured("merge/tsv"), nothing, ancestor, {"donor0": 0.5}), ancestor
    )
    models["donor0"] = ancestor
    left, strengths, right = np.linalg.svd(models["target"] - ancestor)
    leading = left[:, :2] @ np.diag(strengths[:2]) @ right[:2]
    assert_close(
        merged(configured("merge/tsv", scaling=2), models, ancestor, {"donor0": 0.5}), ancestor + leading
    )


def test_order_of_the_donors_does_not_matter() -> None:
    models, ancestor = values((8, 9), donors=2)
    shuffled = {name: models[name] for name in ["target", "donor1", "donor0"]}
    found = merged(configured("merge/tsv"), shuffled, ancestor, {"donor1": 0.2, "donor0": 0.3})
    assert_close(found, merged(configured("merge/tsv"), models, ancestor, ALPHAS))


def test_vocabularies_are_averaged() -> None:
    models, ancestor = values((9, 4))
    average = (models["target"] + models["donor0"]) / 2
    assert_close(
        merged(configured("merge/tsv", vocabulary_rows=9), models, ancestor, {"donor0": 0.5}), average
    )
    assert not np.allclose(
        merged(configured("merge/tsv", vocabulary_rows=10), models, ancestor, {"donor0": 0.5}), average
    )


@pytest.mark.parametrize("case", METHODS)
def test_heterogeneous_pair(heterogeneous: Pair, case: str) -> None:
    heterogeneous.check(METHODS[case], formula(METHODS[case]), {"a": 0.4})
    heterogeneous.check(METHODS[case], formula(METHODS[case]), {"a": 0.2, "b": 0.5})
