"""iso_c against its formula, with NumPy's decomposition."""

from collections.abc import Mapping

import numpy as np
import pytest
from configured import configured
from slots import Array, Pair, Reference, assert_close, merged, of_vocabulary, shares_of, values

from adamms.merge.methods.iso_c import IsoC


def formula(method: IsoC) -> Reference:
    def reference(
        slot: str, models: Mapping[str, Array], ancestor: Array, shares: Mapping[str, float]
    ) -> Array:
        total = sum(shares[name] * (model - ancestor) for name, model in models.items())
        if ancestor.ndim == 2 and len(ancestor) < method.vocabulary_rows and not of_vocabulary(slot):
            left, strengths, right = np.linalg.svd(total, full_matrices=False)
            total = strengths.mean() * left @ right
        return ancestor + method.scaling * total

    return reference


ALPHAS = {"donor0": 0.3, "donor1": 0.2}


@pytest.mark.parametrize("shape", [(7,), (9, 11), (12, 5), (3, 4, 2), (1, 9)])
@pytest.mark.parametrize("scaling", [1.0, 2.5])
def test_is_the_formula(scaling: float, shape: tuple[int, ...]) -> None:
    models, ancestor = values(shape, donors=2)
    found = merged(configured("merge/iso_c", scaling=scaling), models, ancestor, ALPHAS)
    assert_close(
        found, formula(configured("merge/iso_c", scaling=scaling))("", models, ancestor, shares_of(ALPHAS))
    )


def test_singular_values_are_equal_and_their_sum_stays() -> None:
    models, ancestor = values((9, 6))
    total = 0.6 * (models["target"] - ancestor) + 0.4 * (models["donor0"] - ancestor)
    found = np.linalg.svd(merged(configured("merge/iso_c"), models, ancestor, {"donor0": 0.4}) - ancestor)[1]
    np.testing.assert_allclose(found, np.linalg.svd(total)[1].mean(), rtol=1e-12)


def test_what_was_nothing_stays_nothing() -> None:
    """A change of rank 2: two equal singular values, in its own row and column space."""
    generator = np.random.default_rng(2)
    ancestor = generator.normal(size=(6, 7))
    change = generator.normal(size=(6, 2)) @ generator.normal(size=(2, 7))
    found = merged(
        configured("merge/iso_c"),
        {"target": ancestor, "donor0": ancestor + change},
        ancestor,
        {"donor0": 0.5},
    )
    left, strengths, right = np.linalg.svd(change / 2)
    assert_close(found - ancestor, strengths[:2].mean() * left[:, :2] @ right[:2])
    nothing = merged(
        configured("merge/iso_c"), {"target": ancestor, "donor0": ancestor}, ancestor, {"donor0": 0.5}
    )
    np.testing.assert_array_equal(nothing, ancestor)


def test_ends_are_the_models_flattened() -> None:
    models, ancestor = values((6, 5))
    assert not configured("merge/iso_c").keeps_target({"a": 0.0})
    for alpha, model in ((0.0, "target"), (1.0, "donor0")):
        left, strengths, right = np.linalg.svd(models[model] - ancestor, full_matrices=False)
        expected = ancestor + strengths.mean() * left @ right
        assert_close(merged(configured("merge/iso_c"), models, ancestor, {"donor0": alpha}), expected)


def test_order_of_the_donors_does_not_matter() -> None:
    models, ancestor = values((8, 9), donors=2)
    shuffled = {name: models[name] for name in ["target", "donor1", "donor0"]}
    found = merged(configured("merge/iso_c"), shuffled, ancestor, {"donor1": 0.2, "donor0": 0.3})
    assert_close(found, merged(configured("merge/iso_c"), models, ancestor, ALPHAS))


def test_vocabularies_are_averaged() -> None:
    models, ancestor = values((9, 4))
    average = (models["target"] + models["donor0"]) / 2
    assert_close(
        merged(configured("merge/iso_c", vocabulary_rows=9), models, ancestor, {"donor0": 0.5}), average
    )


def test_heterogeneous_pair(heterogeneous: Pair) -> None:
    heterogeneous.check(configured("merge/iso_c"), formula(configured("merge/iso_c")), {"a": 0.4})
    heterogeneous.check(
        configured("merge/iso_c", scaling=2.0),
        formula(configured("merge/iso_c", scaling=2.0)),
        {"a": 0.2, "b": 0.5},
    )
