"""Every method of conf/merge merges a tensor by the shares that a schedule gives to it."""

from dataclasses import replace

import pytest
import tiny
from command import CONF
from configured import configured
from slots import Pair
from tiny_merges import measured

from adamms.merge.schedule import scheduled

METHODS = sorted(file.stem for file in (CONF / "merge").glob("*.yaml"))
FIRST, LAST = (f"model.layers.{layer}.mlp.language_mlp.down_proj.weight" for layer in (0, 1))


@pytest.mark.parametrize("schedule", ["lines", "norms"])
@pytest.mark.parametrize("option", METHODS)
def test_a_tensors_shares_are_those_of_the_schedule(heterogeneous: Pair, option: str, schedule: str) -> None:
    method = configured(f"merge/{option}", **({"steps": 3} if option == "wudi2" else {}))
    recipe = measured(heterogeneous.recipe(method, {"a": 0.5}))
    made = configured(f"merge/schedule/{schedule}")
    survey = made.survey()
    found = None if survey is None else recipe.surveyed(survey)
    shares, exceptions = scheduled(made, recipe.plan.slots, {"a": 0.5}, {}, found)
    by_schedule = replace(recipe, coefficients=shares, exceptions=exceptions)
    own = {name: exceptions.get(name, shares)["a"] for name in (FIRST, LAST)}
    assert own != {FIRST: 0.5, LAST: 0.5}
    for name, share in own.items():
        tiny.assert_same_bits(
            by_schedule.tensor(name), replace(recipe, coefficients={"a": share}).tensor(name)
        )
