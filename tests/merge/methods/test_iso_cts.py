"""iso_cts against its formula, with NumPy's decompositions."""

from collections.abc import Mapping

import numpy as np
import pytest
from configured import configured
from slots import Array, Pair, Reference, assert_close, merged, of_vocabulary, shares_of, values

from adamms.merge.methods.iso_cts import IsoCts


def polar(matrix: Array) -> Array:
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    return left @ right


def formula(method: IsoCts) -> Reference:
    def reference(
        slot: str, models: Mapping[str, Array], ancestor: Array, shares: Mapping[str, float]
    ) -> Array:
        tau = [shares[name] * (model - ancestor) for name, model in models.items()]
        if ancestor.ndim != 2 or len(ancestor) >= method.vocabulary_rows or of_vocabulary(slot):
            return ancestor + method.scaling * sum(tau)
        size = min(ancestor.shape)
        each = round((size - int(size * method.common)) / len(tau))
        common = size - each * len(tau)
        u, s, v = np.linalg.svd(sum(tau), full_matrices=False)
        parts = [(u[:, :common], s[:common], v[:common])]
        outside = np.eye(len(u)) - u[:, :common] @ u[:, :common].T
        for vector in tau:
            u, s, v = np.linalg.svd(outside @ vector, full_matrices=False)
            parts.append((u[:, :each], s[:each], v[:each]))
        left = polar(np.concatenate([u for u, _, _ in parts], axis=1))
        right = polar(np.concatenate([v for _, _, v in parts]))
        mean = np.concatenate([s for _, s, _ in parts]).mean()
        return ancestor + method.scaling * mean * left @ right

    return reference


METHODS = {
    "defaults": configured("merge/iso_cts"),
    "half": configured("merge/iso_cts", common=0.5, scaling=2.0),
    "all common": configured("merge/iso_cts", common=1.0),
}
ALPHAS = {"donor0": 0.3, "donor1": 0.2}


@pytest.mark.parametrize("shape", [(7,), (9, 11), (12, 5), (3, 4, 2), (1, 9)])
@pytest.mark.parametrize("case", METHODS)
def test_is_the_formula(case: str, shape: tuple[int, ...]) -> None:
    models, ancestor = values(shape, donors=2)
    found = merged(METHODS[case], models, ancestor, ALPHAS)
    assert_close(found, formula(METHODS[case])("", models, ancestor, shares_of(ALPHAS)))


def test_all_in_common_is_iso_c() -> None:
    models, ancestor = values((9, 7), donors=2)
    flat = merged(configured("merge/iso_c"), models, ancestor, ALPHAS)
    assert_close(merged(METHODS["all common"], models, ancestor, ALPHAS), flat)


def test_a_rest_that_is_rounding_has_no_directions() -> None:
    """Changes of rank 1 lie in the common subspace; beside it nothing is left but noise."""
    generator = np.random.default_rng(2)
    ancestor = generator.normal(size=(8, 10))
    changes = [np.outer(generator.normal(size=8), generator.normal(size=10)) for _ in range(2)]
    models = {"target": ancestor + changes[0], "donor0": ancestor + changes[1]}
    found = merged(configured("merge/iso_cts"), models, ancestor, {"donor0": 0.5}) - ancestor
    left, strengths, right = np.linalg.svd(sum(changes) / 2)
    assert_close(found, strengths[:2].mean() * left[:, :2] @ right[:2])
    nothing = merged(configured("merge/iso_cts"), dict.fromkeys(models, ancestor), ancestor, {"donor0": 0.5})
    np.testing.assert_array_equal(nothing, ancestor)


def test_more_models_than_directions() -> None:
    models, ancestor = values((2, 9), donors=4)
    alphas = {f"donor{i}": 0.2 for i in range(4)}
    own = merged(configured("merge/iso_cts", common=0.0), models, ancestor, alphas)
    assert np.isfinite(own).all()


def test_order_of_the_donors_does_not_matter() -> None:
    models, ancestor = values((8, 9), donors=2)
    shuffled = {name: models[name] for name in ["target", "donor1", "donor0"]}
    found = merged(METHODS["half"], shuffled, ancestor, {"donor1": 0.2, "donor0": 0.3})
    assert_close(found, merged(METHODS["half"], models, ancestor, ALPHAS))


@pytest.mark.parametrize("case", METHODS)
def test_heterogeneous_pair(heterogeneous: Pair, case: str) -> None:
    heterogeneous.check(METHODS[case], formula(METHODS[case]), {"a": 0.4})
    heterogeneous.check(METHODS[case], formula(METHODS[case]), {"a": 0.2, "b": 0.5})
