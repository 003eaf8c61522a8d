"""Experts are the same to every method, however files hold them."""

from dataclasses import replace
from pathlib import Path

import expert_layouts
import pytest
import torch
from command import CONF
from configured import configured
from expert_layouts import LAYOUTS, laid_out, state
from live_bytes import LiveBytes
from tiny import State, assert_same_bits
from tiny_merges import make

from adamms.errors import AdammsError
from adamms.mapping.expression import Read, Transpose
from adamms.merge.method import Method
from adamms.merge.methods.linear import Linear
from adamms.merge.nonfinite import NonFiniteInputs
from adamms.merge.recipe import Recipe
from adamms.merge.schedule import scheduled
from adamms.merge.sources import Sources

METHODS = sorted(file.stem for file in (CONF / "merge").glob("*.yaml"))
ALPHA = 0.3
# What is measured over the model differs in the last bits where tensors have other parts.
SETTINGS: dict[str, dict[str, object]] = {"ties": {"scope": "tensor"}, "wudi2": {"steps": 3}}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """(model, layout) -> folder, of a target, a donor and their ancestor."""
    root = tmp_path_factory.mktemp("experts")
    return {
        (model, layout): expert_layouts.write(root / model / layout, state(seed), layout)
        for seed, model in enumerate(("target", "donor", "ancestor"))
        for layout in LAYOUTS
    }


def recipe(folders: dict[tuple[str, str], Path], method: Method, *layouts: str) -> Recipe:
    """The merge of a target and a donor (and an ancestor) in these layouts."""
    target, donor, ancestor = layouts
    base = folders["ancestor", ancestor] if method.needs_ancestor else None
    return make(method, folders["target", target], {"a": folders["donor", donor]}, base, ALPHA)


def weights(found: Recipe) -> State:
    return {name: tensor.clone() for name, tensor in found.tensors()}


@pytest.mark.parametrize("target", LAYOUTS)
@pytest.mark.parametrize("donor", LAYOUTS)
def test_any_layout_takes_from_any_other_bit_by_bit(
    folders: dict[tuple[str, str], Path], target: str, donor: str
) -> None:
    own, others = (state(seed) for seed in (0, 1))
    mix = {n: ((1 - ALPHA) * own[n].double() + ALPHA * others[n].double()).bfloat16() for n in own}
    found = weights(recipe(folders, Linear(), target, donor, "fused"))
    for name, expected in laid_out(mix, target).items():
        assert_same_bits(found.pop(name), expected)
    assert not found


def test_the_same_layout_is_read_as_it_is_and_another_turned(folders: dict[tuple[str, str], Path]) -> None:
    name = "model.layers.1.mlp.experts.gate_up_proj"
    for donor, expected in (("fused", Read(name)), ("transposed", Transpose(Read(name)))):
        slot = recipe(folders, Linear(), "fused", donor, "fused").slots[name]
        assert slot.donors == {"a": expected}
        assert slot.role == "layers.1.moe.expert.gate.weight + layers.1.moe.expert.up.weight"


@pytest.mark.parametrize("target", ["fused", "transposed"])
def test_only_the_wanted_experts_are_merged(folders: dict[tuple[str, str], Path], target: str) -> None:
    made, name = (
        recipe(folders, Linear(), target, "per_expert", "fused"),
        "model.layers.1.mlp.experts.down_proj",
    )
    part = made.tensor(name, Sources(torch.device("cpu"), wanted={name: [range(1, 2)]}))
    assert part.shape == made.tensor(name).shape
    assert_same_bits(part[1], made.tensor(name)[1])


@pytest.mark.parametrize("method", METHODS)
def test_every_method_merges_an_expert_alike_in_every_layout(
    folders: dict[tuple[str, str], Path], method: str
) -> None:
    made = configured(f"merge/{method}", **SETTINGS.get(method, {}))
    expected = weights(recipe(folders, made, "per_expert", "per_expert", "per_expert"))
    for layouts in (("fused", "per_expert", "transposed"), ("transposed", "fused", "per_expert")):
        found = weights(recipe(folders, made, *layouts))
        for name, tensor in laid_out(expected, layouts[0]).items():
            assert_same_bits(found[name], tensor)


def test_what_is_infinite_is_told_once_with_the_name_in_the_file(tmp_path: Path) -> None:
    own, other = state(0), state(1)
    own["model.layers.0.mlp.experts.2.up_proj.weight"][1, 3] = float("inf")
    other["model.layers.0.mlp.experts.1.down_proj.weight"][0] = float("nan")
    target = expert_layouts.write(tmp_path / "t", own, "transposed")
    donor = expert_layouts.write(tmp_path / "d", other)
    found, seen = make(Linear(), target, {"a": donor}, None), NonFiniteInputs()
    for slot in found.plan.slots:
        list(found.pieces(slot.name, inputs=seen))
    assert list(seen.lines()) == [
        "donor a: model.layers.0.mlp.experts.1.down_proj.weight has 6 infinite or NaN values",
        "target: model.layers.0.mlp.experts.gate_up_proj has 1 infinite or NaN value",
    ]


def test_what_a_merge_makes_infinite_names_the_expert(tmp_path: Path) -> None:
    own = state(0, dtype=torch.float16)
    own["model.layers.1.mlp.experts.3.down_proj.weight"][2, 2] = 60000.0
    target = expert_layouts.write(tmp_path / "t", own, "fused")
    ancestor = expert_layouts.write(tmp_path / "b", state(1))
    found = make(configured("merge/task_arithmetic"), target, {"a": target}, ancestor, 3.0)
    message = r"merging model\.layers\.1\.mlp\.experts\.down_proj \(layers\.1\.moe\.expert\.3\.down\.weight\)"
    with pytest.raises(AdammsError, match=message):
        list(found.tensors())


@pytest.mark.parametrize("schedule", ["lines", "norms"])
def test_a_schedule_merges_an_expert_alike_in_every_layout(
    folders: dict[tuple[str, str], Path], schedule: str
) -> None:
    made, found = configured(f"merge/schedule/{schedule}"), []
    for layouts in (("per_expert",) * 3, ("fused", "per_expert", "transposed")):
        plain = recipe(folders, Linear(), *layouts)
        survey = made.survey()
        statistics = None if survey is None else plain.surveyed(survey)
        shares, exceptions = scheduled(made, plain.plan.slots, {"a": ALPHA}, {}, statistics)
        found.append(weights(replace(plain, coefficients=shares, exceptions=exceptions)))
    for name, tensor in laid_out(found[0], "fused").items():
        assert_same_bits(found[1][name], tensor)
    plain = weights(recipe(folders, Linear(), "fused", "fused", "fused"))
    expert = "model.layers.0.mlp.experts.down_proj"
    assert not torch.equal(found[1][expert], plain[expert])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layout", ["fused", "transposed"])
def test_memory_does_not_grow_with_the_number_of_experts(tmp_path: Path, method: str, layout: str) -> None:
    peaks: dict[tuple[int, str], int] = {}
    made = configured(f"merge/{method}", **SETTINGS.get(method, {}))
    for experts in (4, 16):
        sizes = {"hidden": 32, "width": 24, "experts": experts, "layers": 1}
        config = {"hidden_size": 32, "num_experts": experts, "num_hidden_layers": 1}
        folders = [
            expert_layouts.write(tmp_path / f"{experts}{seed}", state(seed, **sizes), each, **config)
            for seed, each in enumerate((layout, "per_expert", "fused"))
        ]
        base = folders[2] if made.needs_ancestor else None
        found = make(made, folders[0], {"a": folders[1]}, base)
        for name in ("gate_up_proj", "down_proj"):
            with LiveBytes() as live:
                for _ in found.pieces(f"model.layers.0.mlp.experts.{name}"):
                    pass
            peaks[experts, name] = live.peak
    for name in ("gate_up_proj", "down_proj"):
        # What of an expert's values is equal, of which some methods hold a list, differs from one to another.
        assert 0 < peaks[16, name] <= 1.1 * peaks[4, name]
