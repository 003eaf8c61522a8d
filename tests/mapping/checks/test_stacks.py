"""Experts in one tensor are sampled, compared and explained as those in many are."""

from collections.abc import Callable
from pathlib import Path

import expert_layouts
import pytest
import torch
from expert_layouts import LAYOUTS, state
from mappers import spec_mapper
from tiny import State
from tiny_merges import described

from adamms.mapping.checks.kinship import sample_distances
from adamms.mapping.checks.mapped_models import MappedModels
from adamms.mapping.checks.measure import measure_distances
from adamms.mapping.checks.verify import verify_plan
from adamms.mapping.plan import Plan

HIDDEN, WIDTH, EXPERTS = 64, 48, 6
SIZES = {"hidden_size": HIDDEN, "moe_intermediate_size": WIDTH, "num_experts": EXPERTS}
DOWN = "model.layers.1.mlp.experts.down_proj"


def weights(seed: int) -> State:
    return state(seed, hidden=HIDDEN, width=WIDTH, experts=EXPERTS, dtype=torch.float32)


def models(
    folder: Path, target: str, donor: str, change: Callable[[State], None] = lambda _: None
) -> tuple[Plan, MappedModels]:
    states = [weights(0), weights(1)]
    change(states[1])
    layouts = zip("td", states, (target, donor), strict=True)
    folders = [expert_layouts.write(folder / name, each, layout, **SIZES) for name, each, layout in layouts]
    mine, theirs = map(described, folders)
    plan = spec_mapper().plan(mine, {"a": theirs})
    return plan, MappedModels(mine.checkpoint, {"a": theirs.checkpoint})


@pytest.mark.parametrize("target", ["fused", "transposed"])
@pytest.mark.parametrize("donor", LAYOUTS)
def test_the_layout_does_not_change_what_is_measured(tmp_path: Path, target: str, donor: str) -> None:
    plan, opened = models(tmp_path, target, donor)
    (found,) = [t for t in measure_distances(plan, opened, rows=EXPERTS * 8).tensors if t.name == DOWN]
    places = [(2 * index + 1) * HIDDEN // 16 for index in range(8)]
    mine, other = (
        torch.cat([each[f"model.layers.1.mlp.experts.{e}.down_proj.weight"][places] for e in range(EXPERTS)])
        for each in (weights(0), weights(1))
    )
    assert found.distance == pytest.approx(float((mine - other).norm() / mine.norm()), abs=1e-5)
    assert found.role == "moe.expert.down.weight"
    assert sample_distances(plan, opened) is not None
    assert verify_plan(plan, opened).problems == []


def test_experts_of_their_own_are_one_role(tmp_path: Path) -> None:
    plan, opened = models(tmp_path, "per_expert", "transposed")
    found = {role.role: role.tensors for role in measure_distances(plan, opened).roles()}
    assert found["moe.expert.up.weight"] == 2 * EXPERTS
    assert found["moe.router.weight"] == 2


@pytest.mark.parametrize("target", LAYOUTS)
def test_experts_in_another_order_are_named(tmp_path: Path, target: str) -> None:
    def swapped(given: State) -> None:
        for part in ("gate", "up", "down"):
            one, other = (f"model.layers.1.mlp.experts.{e}.{part}_proj.weight" for e in (2, 5))
            given[one], given[other] = given[other], given[one]

    plan, opened = models(tmp_path, target, "per_expert", swapped)
    problems = verify_plan(plan, opened).problems
    if target == "per_expert":
        assert len(problems) == 6
        assert "experts.2.down_proj.weight resembles donor a's model.layers.1.mlp.experts.5." in problems[0]
    else:
        expected = "e=0:6) holds its experts in another order (2 <- 5, 5 <- 2)"
        assert len([problem for problem in problems if problem.endswith(expected)]) == len(problems) == 2
