"""Where a slot stands in the model, and what the checks of a role come down to."""

import json

import pytest

from adamms.mapping.checks.distance import Distances, TensorDistance, distances_of_discovery, role_and_layer
from adamms.mapping.expression import Read
from adamms.mapping.finding import Finding
from adamms.mapping.plan import Plan, Slot


def test_a_slot_has_a_role_and_a_layer_also_without_a_spec() -> None:
    for name, role, expected in [
        ("model.layers.3.mlp.up_proj.weight", "layers.3.mlp.up.weight", ("mlp.up.weight", 3)),
        ("lm_head.weight", "head.weight", ("head.weight", None)),
        (
            "model.layers.12.qkv.weight",
            "layers.12.attn.q.weight@text + layers.12.attn.k.weight@text",
            ("attn.q.weight@text + attn.k.weight@text", 12),
        ),
        ("model.layers.7.mlp.up_proj.weight", "", ("model.layers.{i}.mlp.up_proj.weight", 7)),
        ("h.2.experts.5.w1", "language model", ("h.{i}.experts.{i}.w1", 2)),
        ("t00017", "", ("t00017", None)),
    ]:
        assert role_and_layer(Slot(name, (2, 2), "F32", role)) == expected


def check(layer: int, cosine: float | None, problem: str = "", source: str = "a") -> TensorDistance:
    return TensorDistance(f"l.{layer}", source, "mlp.up.weight", layer, cosine, 0.1 * layer, problem=problem)


def test_roles_are_summed_up_per_model() -> None:
    checks = (check(0, 0.9), check(1, 0.5, "odd"), check(2, None), check(3, 0.8), check(0, 0.99, source="b"))
    found = Distances(checks, {"b": "b is a stranger"})
    first, second = found.roles()
    assert (first.source, first.tensors, first.cosine, first.least, first.problems) == ("a", 4, 0.8, 0.5, 1)
    assert first.distance == pytest.approx(0.15)
    assert first.target_moved is None
    assert (second.source, second.tensors) == ("b", 1)
    assert found.problems == ["b is a stranger", "odd"]
    assert found.donors == ("a", "b")
    written = json.loads(json.dumps(found.to_json()))
    assert Distances.from_json(written) == found
    assert [record["cosine"] for record in written["tensors"]] == [0.9, 0.5, None, 0.8, 0.99]


def test_a_discovered_plan_has_its_cosines_already() -> None:
    slots = (
        Slot("x.0.w", (2, 2), "F32", "", {"a": Read("y")}),
        Slot("x.1.w", (2, 2), "F32", "", reason="no tensor of a resembles it"),
    )
    finding = {
        "x.0.w": {"a": Finding("sure", 0.97, "y", distance=0.2)},
        "x.1.w": {"a": Finding("none", 0.1, "z")},
    }
    plan = Plan("t", {"a": "d"}, slots, findings=finding)
    assert distances_of_discovery(plan) == Distances((TensorDistance("x.0.w", "a", "x.{i}.w", 0, 0.97, 0.2),))
    assert distances_of_discovery(Plan("t", {"a": "d"}, slots)) == Distances(())
