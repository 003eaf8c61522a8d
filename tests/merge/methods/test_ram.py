"""ram against its formula, element by element, and the counts of RAM+."""

from collections.abc import Mapping

import numpy as np
import pytest
from configured import configured
from slots import Array, Pair, Reference, assert_close, merged, shares_of, values

from adamms.merge.methods.ram import Ram, RamInFloat32


def formula(method: Ram, counted: Mapping[str, tuple[int, int]] | None = None) -> Reference:
    """Element by element, from the definition; `counted` is (alone, shared) of each model in all slots."""

    def reference(
        slot: str, models: Mapping[str, Array], ancestor: Array, shares: Mapping[str, float]
    ) -> Array:
        tau = {name: model - ancestor for name, model in models.items()}
        changed = {name: np.abs(vector) > method.epsilon for name, vector in tau.items()}
        count = sum(mask.astype(int) for mask in changed.values())
        here = {n: (int((m & (count == 1)).sum()), int((m & (count > 1)).sum())) for n, m in changed.items()}
        ratios = {n: shared / alone if alone else np.inf for n, (alone, shared) in (counted or here).items()}
        found = np.zeros_like(ancestor)
        for place in np.ndindex(ancestor.shape):
            parts = {n: shares[n] / max(shares.values()) for n, mask in changed.items() if mask[place]}
            if len(parts) == 1:
                ((name, part),) = parts.items()
                boost = 1 + method.boost * min(method.bound, ratios[name])
                if isinstance(method, RamInFloat32):
                    boost = float(1 + np.float32(method.boost) * np.float32(min(method.bound, ratios[name])))
                found[place] = boost * part * tau[name][place]
            elif sum(parts.values()):
                found[place] = sum(p * tau[n][place] for n, p in parts.items()) / sum(parts.values())
        return ancestor + method.scaling * found

    return reference


METHODS = {
    "ram": configured("merge/ram", epsilon=0.2),
    "scaled": configured("merge/ram", epsilon=0.1, scaling=1.5),
    "plus, tensor": configured("merge/ram", epsilon=0.25, boost=0.5, bound=0.9, scope="tensor"),
    "plus, float32": RamInFloat32(epsilon=0.25, boost=0.7, bound=0.9, scope="tensor", scaling=1.0),
    "plus, model": configured("merge/ram", epsilon=0.2, boost=0.2, bound=1.0),
}
ALPHAS = {"donor0": 0.3, "donor1": 0.2}


@pytest.mark.parametrize("alphas", [ALPHAS, {"donor0": 0.0, "donor1": 0.4}, {"donor0": 0.25, "donor1": 0.75}])
@pytest.mark.parametrize("shape", [(7,), (9, 11), (3, 4, 2)])
@pytest.mark.parametrize("case", METHODS)
def test_is_the_formula(case: str, shape: tuple[int, ...], alphas: Mapping[str, float]) -> None:
    models, ancestor = values(shape, donors=2)
    expected = formula(METHODS[case])("", models, ancestor, shares_of(alphas))
    assert_close(merged(METHODS[case], models, ancestor, alphas, rows=2), expected)


def test_of_changes_that_do_not_meet_both_are_there_in_full() -> None:
    models, ancestor = values((8, 6))
    models["target"][:4], models["donor0"][4:] = ancestor[:4], ancestor[4:]
    expected = models["target"] + models["donor0"] - ancestor
    assert_close(merged(configured("merge/ram"), models, ancestor, {"donor0": 0.5}), expected)


def test_where_all_changed_everything_it_is_task_arithmetic() -> None:
    models, ancestor = values((5, 6), donors=2)
    found = merged(configured("merge/ram", epsilon=0.0, boost=1.0), models, ancestor, ALPHAS)
    assert_close(found, merged(configured("merge/task_arithmetic"), models, ancestor, ALPHAS))


def test_ends() -> None:
    models, ancestor = values((6, 5))
    exact = configured("merge/ram", epsilon=0.0)
    assert exact.keeps_target({"a": 0.0})
    assert not configured("merge/ram").keeps_target({"a": 0.0})
    assert not configured("merge/ram", epsilon=0.0, boost=0.1).keeps_target({"a": 0.0})
    for alpha, model in ((0.0, "target"), (1.0, "donor0")):
        assert_close(merged(exact, models, ancestor, {"donor0": alpha}), models[model])


@pytest.mark.parametrize("case", ["ram", "plus, tensor", "plus, float32"])
def test_heterogeneous_pair(heterogeneous: Pair, case: str) -> None:
    heterogeneous.check(METHODS[case], formula(METHODS[case]), {"a": 0.4})
    heterogeneous.check(METHODS[case], formula(METHODS[case]), {"a": 0.2, "b": 0.5})
