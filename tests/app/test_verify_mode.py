"""mapper=discover and plan.verify=true as a user meets them: what is printed, written, drawn and refused."""

import io
import json
from pathlib import Path

import pytest
import torch
from command import read_run, start_run
from page_text import Page
from planted_faults import FAULTS, swap_gate_and_up, with_donor
from relayout import hide, language
from safetensors.torch import load_file

from adamms.errors import AdammsError


def configured(tmp_path: Path, *overrides: str) -> list[str]:
    return [f"output={tmp_path / 'out'}", f"cache={tmp_path / 'cache'}", *overrides]


def pair(target: Path, donor: Path, ancestor: Path | None = None) -> list[str]:
    found = ["model=custom", f"model.target.path={target}", f"model.donors.a.path={donor}"]
    return found + ([f"model.ancestor.path={ancestor}"] if ancestor else [])


def test_a_plan_is_discovered_without_any_spec(
    kin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("target", "donor", "ancestor"):
        hide(language(kin / name), tmp_path / name)
    folders = [tmp_path / name for name in ("target", "donor", "ancestor")]
    start_run(*configured(tmp_path, "mode=plan", "mapper=discover", *pair(*folders)))
    said = capsys.readouterr().out
    assert "sketch target: " in said
    assert "sketch a: " in said
    assert "match: " in said
    assert "What the weights say of the target's tensors" in said
    plan = json.loads((tmp_path / "out/plan.json").read_text())
    assert {record["action"] for record in plan["tensors"]} == {"merge"}
    evidence = plan["tensors"][0]["evidence"]
    assert set(evidence) == {"a", "ancestor"}
    assert evidence["a"]["grade"] == "sure"
    assert set(evidence["a"]) >= {"cosine", "runner_up", "distance", "nearest", "rival"}
    page = Page(tmp_path / "out/report.html")
    assert "donor a: relative distance from the target" in page.tables
    assert "What the weights say of the target's tensors" in page.tables
    assert all(len(line) <= 80 for line in said.splitlines() if "/" not in line)


def test_a_discovered_pair_merges_as_the_specs_would(kin: Path, tmp_path: Path) -> None:
    for mapper in ("spec", "discover"):
        merge = [f"mapper={mapper}", "merge.alpha=0.3", f"output={tmp_path / mapper}"]
        start_run(*configured(tmp_path, "mode=merge", *pair(kin / "target", kin / "donor"), *merge))
    one, other = (load_file(tmp_path / mapper / "model/model.safetensors") for mapper in ("spec", "discover"))
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name
    record = json.loads((tmp_path / "discover/model/adamms_recipe.json").read_text())
    assert record["architectures"] == {"target": None, "a": None}


def test_the_control_is_discovered_from_the_same_reading(
    kin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adamms.app.merges import CONTROL
    from adamms.app.modes.common import map_models
    from adamms.mapping.content import discover
    from adamms.report.console import Console

    read: list[str] = []
    sketch = discover.sketch_model

    def counted(checkpoint, *rest):  # type: ignore[no-untyped-def]
        read.append(checkpoint.folder.name)
        return sketch(checkpoint, *rest)

    monkeypatch.setattr(discover, "sketch_model", counted)
    folders = pair(kin / "target", kin / "donor", kin / "ancestor")
    config = configured(tmp_path, "mapper=discover", *folders, "evaluate.control=true")
    merges = map_models(read_run(*config), Console(file=io.StringIO()))
    assert sorted(read) == ["ancestor", "donor", "target"]
    assert merges.control_plan is not None
    assert sum(CONTROL in slot.donors for slot in merges.control_plan.slots) == len(language(kin / "target"))


def test_all_paths_are_looked_at_before_anything_is_read(kin: Path, tmp_path: Path) -> None:
    with pytest.raises(AdammsError, match=r"model\.donors\.a: .*no such folder"):
        start_run(
            *configured(tmp_path, "mode=plan", "mapper=discover", *pair(kin / "target", tmp_path / "none"))
        )
    assert not (tmp_path / "out").exists()


def test_unrelated_models_are_refused(kin: Path, strangers: Path, tmp_path: Path) -> None:
    folders = pair(kin / "ancestor", strangers / "ancestor")
    with pytest.raises(AdammsError, match="no ancestor in common"):
        start_run(*configured(tmp_path, "mode=plan", "mapper=discover", *folders))
    assert not (tmp_path / "out").exists()


def test_a_right_mapping_is_verified(kin: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = pair(kin / "target", kin / "donor", kin / "ancestor")
    start_run(*configured(tmp_path, "mode=plan", "plan.verify=true", *folders))
    said = capsys.readouterr().out
    assert "How far the merged tensors are from the target's" in said
    assert "verify: every merged tensor resembles the target's" in said
    found = json.loads((tmp_path / "out/plan_verify.json").read_text())
    assert found["problems"] == []
    assert len(found["tensors"]) == 2 * len(language(kin / "target"))
    (up,) = [r for r in found["roles"] if (r["source"], r["role"]) == ("a", "mlp.up.weight")]
    assert up["tensors"] == 4
    assert 0.5 < up["least"] <= up["cosine"] < 1
    assert 0 < up["distance"] < 1
    assert 0 < up["target_moved"] < 1
    page = Page(tmp_path / "out/report.html")
    assert "donor a: relative distance from the target" in page.tables
    assert "the ancestor: relative distance from the target" in page.tables


@pytest.mark.parametrize("mode", ["plan", "merge"])
def test_a_wrong_mapping_stops_the_run_and_is_named(kin: Path, tmp_path: Path, mode: str) -> None:
    donor = with_donor(kin, tmp_path / "donor", swap_gate_and_up)["donor"]
    with pytest.raises(AdammsError) as caught:
        start_run(*configured(tmp_path, f"mode={mode}", "plan.verify=true", *pair(kin / "target", donor)))
    message = str(caught.value)
    assert message.startswith("plan.verify: the mapping does not hold, 2 findings:\n")
    gate = "model.layers.2.mlp.gate_proj.weight"
    up = "language_model.model.layers.2.mlp.up_proj.weight"
    assert f"  - {gate} resembles donor a's {up} (0.9" in message
    assert str(tmp_path / "out/report.html") in message
    found = json.loads((tmp_path / "out/plan_verify.json").read_text())
    assert len(found["problems"]) == 2
    page = Page(tmp_path / "out/report.html")
    assert all(problem in page.text for problem in found["problems"])
    assert not (tmp_path / "out/model").exists()


@pytest.mark.parametrize("name", FAULTS)
def test_every_planted_tensor_is_named_and_no_other(kin: Path, tmp_path: Path, name: str) -> None:
    plant = FAULTS[name]
    folders = with_donor(kin, tmp_path / "donor", plant.change)
    with pytest.raises(AdammsError, match=r"plan\.verify: the mapping does not hold"):
        start_run(*configured(tmp_path, "mode=plan", "plan.verify=true", *pair(**folders)))
    found = json.loads((tmp_path / "out/plan_verify.json").read_text())
    assert {record["name"] for record in found["tensors"] if record.get("problem")} == plant.tensors
    assert len(found["problems"]) == len(plant.tensors)


def test_a_donor_of_another_ancestor_stops_the_run(kin: Path, strangers: Path, tmp_path: Path) -> None:
    folders = pair(kin / "target", strangers / "donor")
    with pytest.raises(AdammsError, match=r"donor a has another ancestor than the target"):
        start_run(*configured(tmp_path, "mode=plan", "plan.verify=true", *folders))


def test_verify_is_true_or_false(kin: Path, tmp_path: Path) -> None:
    folders = pair(kin / "target", kin / "donor")
    with pytest.raises(AdammsError, match=r"plan\.verify is 'maybe'; expected true or false"):
        start_run(*configured(tmp_path, "mode=plan", "plan.verify=maybe", *folders))
    assert not (tmp_path / "out").exists()


def test_without_verify_the_same_pair_merges(kin: Path, tmp_path: Path) -> None:
    donor = with_donor(kin, tmp_path / "donor", swap_gate_and_up)["donor"]
    start_run(*configured(tmp_path, "mode=merge", *pair(kin / "target", donor)))
    assert (tmp_path / "out/model").is_dir()
    assert not (tmp_path / "out/plan_verify.json").exists()
