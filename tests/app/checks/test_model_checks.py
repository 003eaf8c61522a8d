"""Models held against each other before anything is merged: what a user is told, refused, and lets pass."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_types
import torch
from command import start_run
from page_text import Page
from safetensors.torch import load_file, save_file

from adamms.errors import AdammsError
from adamms.mapping.content.orders import RowOrder

Files = dict[str, Path]


@pytest.fixture
def merge(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Merge (or plan) a pair with these overrides; plan.json of it. Nothing is let pass unless asked for."""

    def call(target: Path, donor: Path, *overrides: str, ancestor: Path | None = None) -> dict[str, Any]:
        models = [f"model.target.path={target}", f"model.donors.a.path={donor}"]
        models += [f"model.ancestor.path={ancestor}"] if ancestor else []
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        given = ("mode=merge", "merge.alpha=0.3", f"output={out}", f"cache={tmp_path}", "plan.force=false")
        start_run("model=custom", *given, *models, *overrides)
        plan: dict[str, Any] = json.loads((out / "plan.json").read_text())
        return plan

    return call


def with_config(model: Path, folder: Path, **changes: Any) -> Path:
    """A copy of a model whose config.json says something else of its language model."""
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    config.get("text_config", config).update(changes)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def rows(plan: dict[str, Any], model: str) -> dict[str, tuple[str, str]]:
    return {
        row["what"]: (row["target"], row["other"]) for row in plan["differences"] if row["model"] == model
    }


def test_models_of_one_ancestor_merge_and_their_distance_is_told(
    kin: Path, tmp_path: Path, merge: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    plan = merge(kin / "target", kin / "donor", ancestor=kin / "ancestor")
    for model in ("a", "ancestor"):
        (weights,) = [other for what, (_, other) in rows(plan, model).items() if what == "weights"]
        assert weights.startswith("distance 0.")
        assert ", cosine 0." in weights
    said = capsys.readouterr().out
    assert "How the models differ" in said
    assert "warning" not in said
    assert "How the models differ" in Page(tmp_path / "out/report.html").tables


def test_other_heads_are_refused_unless_forced(kin: Path, tmp_path: Path, merge: Callable[..., Any]) -> None:
    donor = with_config(
        kin / "donor", tmp_path / "donor", num_attention_heads=8, num_key_value_heads=4, head_dim=16
    )
    for mode in ("plan", "merge"):
        with pytest.raises(AdammsError) as caught:
            merge(kin / "target", donor, f"mode={mode}")
        message = str(caught.value)
        assert message.startswith(f"model.donors.a ({donor}): attention heads 8, the target has 4; ")
        assert "head_dim 16, the target has 32 (config.json)" in message
        assert message.endswith("plan.force=true")
        assert not (tmp_path / "out/model").exists()
    plan = merge(kin / "target", donor, "plan.force=true")
    assert rows(plan, "a")["attention heads"] == ("4", "8")
    ancestor = with_config(kin / "ancestor", tmp_path / "ancestor", hidden_act="gelu")
    with pytest.raises(AdammsError, match=r"model\.ancestor \(.*\): activation gelu, the target has silu"):
        merge(kin / "target", kin / "donor", ancestor=ancestor)


def test_a_donor_that_thinks_aloud_is_a_line_and_a_warning(
    kin: Path, tmp_path: Path, merge: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """By its chat template, in whichever file that is; not where the target thinks as well."""
    assert "thinks aloud" not in rows(merge(kin / "target", kin / "donor", "mode=plan"), "a")
    thinkers = {}
    for name in ("donor", "target"):
        thinkers[name] = shutil.copytree(kin / name, tmp_path / name)
        template = (thinkers[name] / "chat_template.jinja").read_text() + "{{- '<think>\\n' }}"
        (thinkers[name] / "chat_template.jinja").unlink()
        named = [{"name": "default", "template": template}]
        (thinkers[name] / "chat_template.json").write_text(json.dumps({"chat_template": named}))
    capsys.readouterr()
    plan = merge(kin / "target", thinkers["donor"], "mode=plan")
    assert rows(plan, "a")["thinks aloud"] == ("no", "<think> in its chat template")
    said = " ".join(capsys.readouterr().out.split())
    assert "warning: model.donors.a thinks aloud (<think> in its chat template), the target does not" in said
    assert "thinks aloud" in Page(tmp_path / "out/report.html").text
    assert "thinks aloud" not in rows(merge(thinkers["target"], thinkers["donor"], "mode=plan"), "a")


def test_another_rotary_base_is_a_line(kin: Path, tmp_path: Path, merge: Callable[..., Any]) -> None:
    rope = {"rope_type": "default", "rope_theta": 250000.0}
    donor = with_config(kin / "donor", tmp_path / "donor", rope_parameters=rope)
    found = rows(merge(kin / "target", donor), "a")
    assert found["rope_theta"][1] == "250000"
    assert "250000" in Page(tmp_path / "out/report.html").text


def test_strangers_are_refused_unless_forced(
    kin: Path,
    strangers: Path,
    tmp_path: Path,
    merge: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = (
        r"model\.donors\.a: donor a has another ancestor than the target: the median cosine of 12 matrices"
    )
    with pytest.raises(AdammsError, match=expected + r" is -?0\.0\d.*plan\.force=true"):
        merge(kin / "target", strangers / "donor")
    assert not (tmp_path / "out").exists()
    expected = r"model\.ancestor: the ancestor has another ancestor than the target"
    with pytest.raises(AdammsError, match=expected):
        merge(kin / "target", kin / "donor", "merge=ties", ancestor=strangers / "ancestor")
    merge(kin / "target", strangers / "donor", "plan.force=true")
    assert (tmp_path / "out/model").exists()
    merge(kin / "target", strangers / "donor", "mode=plan")  # which merges nothing
    assert "warning: model.donors.a: donor a has another ancestor" in capsys.readouterr().out


def test_rows_in_another_order_are_refused_unless_forced(
    kin: Path, tmp_path: Path, merge: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """As of PaddleOCR-VL and ERNIE-4.5: equal names and shapes, rotary halves against neighbours."""
    shutil.copytree(kin / "donor", tmp_path / "donor")
    state = load_file(tmp_path / "donor/model.safetensors")
    for name, tensor in state.items():
        if "language_model" in name and (".q_proj." in name or ".k_proj." in name):
            state[name] = RowOrder(32, 2).applied(tensor).contiguous()
    save_file(state, tmp_path / "donor/model.safetensors")
    with pytest.raises(AdammsError) as caught:
        merge(kin / "target", tmp_path / "donor")
    message = str(caught.value)
    assert message.startswith(
        "model.donors.a: its queries and keys have rotary neighbours in heads of 32 rows"
    )
    assert "mapper=discover brings them into the target's order" in message
    assert message.endswith("plan.force=true")
    merge(kin / "target", tmp_path / "donor", "mode=plan")
    assert "warning: model.donors.a: its queries and keys have rotary" in capsys.readouterr().out
    merge(kin / "target", tmp_path / "donor", "plan.force=true")


def test_a_distant_donor_is_a_warning_with_the_number(
    kin: Path, tmp_path: Path, merge: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(kin / "donor", tmp_path / "donor")
    generator = torch.Generator().manual_seed(1)
    state = {
        name: t + 0.7 * t.std().nan_to_num() * torch.randn(t.shape, generator=generator)
        for name, t in load_file(tmp_path / "donor/model.safetensors").items()
    }
    save_file(state, tmp_path / "donor/model.safetensors")
    plan = merge(kin / "target", tmp_path / "donor")
    assert rows(plan, "a")["weights"][1].endswith("; models that merge well: below 0.5")
    said = capsys.readouterr().out
    assert "warning: model.donors.a: the median distance of its weights is 0." in said
    assert "models that are known to merge well lie below 0.5" in said


def test_a_donor_that_is_the_target_or_the_ancestor_is_told(kin: Path, merge: Callable[..., Any]) -> None:
    assert rows(merge(kin / "target", kin / "target"), "a")["weights"] == (
        "",
        "equal to the target's in 12 matrices",
    )
    plan = merge(kin / "target", kin / "ancestor", ancestor=kin / "ancestor")
    assert rows(plan, "a")["weights"] == ("", "equal to the ancestor's in 12 matrices")


def test_half_a_language_model_is_refused_unless_forced_or_left_out_on_purpose(
    tmp_path: Path, merge: Callable[..., Any]
) -> None:
    """Experts that one of the two learned anew: at the same place, of another origin."""
    target = tiny_types.save_tiny("qwen3_vl_moe", tmp_path / "target", noise=1)
    donor = tiny_types.save_tiny("qwen3_vl_moe", tmp_path / "donor", noise=2)
    state = load_file(donor / "model.safetensors")
    anew = {name: torch.randn(t.shape) if "experts." in name else t for name, t in state.items()}
    save_file(anew, donor / "model.safetensors", metadata={"format": "pt"})
    for mode in ("plan", "merge"):
        with pytest.raises(AdammsError) as caught:
            merge(target, donor, "mapper=discover", f"mode={mode}")
        message = str(caught.value)
        assert message.startswith(
            "the plan leaves out 41% of the language model: 6 tensors, 221 k parameters"
        )
        assert "layers.0.mlp.experts.gate_up_proj [4, 96, 128] resembles a's model.language_model." in message
        assert "mapper.exclude_match leaves them out on purpose" in message
        assert message.endswith("plan.force=true")
    plan = merge(target, donor, "mapper=discover", "plan.force=true")
    assert rows(plan, "a")["left out, 41.0% of the language model in all"] == ("", "6 tensors")
    merge(target, donor, "mapper=discover", "mapper.exclude_match=experts")


def test_whatever_resembles_a_donor_is_merged_or_named_in_an_error(
    kin: Path, tmp_path: Path, merge: Callable[..., Any]
) -> None:
    """However small: a bias that the donor has moved so far that it is not clearly the same."""
    shutil.copytree(kin / "donor", tmp_path / "donor")
    state = load_file(tmp_path / "donor/model.safetensors")
    name = "model.layers.1.self_attn.q_proj.bias"
    state[f"language_model.{name}"] *= 3
    save_file(state, tmp_path / "donor/model.safetensors")
    with pytest.raises(AdammsError) as caught:
        merge(kin / "target", tmp_path / "donor", "mapper=discover")
    assert str(caught.value).startswith(
        "the plan leaves out less than 1% of the language model: 1 tensors, 128 parameters, that the donors "
        f"have as well: {name} [128] resembles a's language_model.{name}. "
    )
    merge(
        kin / "target",
        tmp_path / "donor",
        "mapper=discover",
        r"mapper.exclude_match=layers\.1\..*q_proj\.bias",
    )


def test_a_plan_from_headers_alone_says_so(kin: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from planted_faults import planned

    from adamms.mapping.checks.kinship import sample_distances

    plan, models = planned({"target": kin / "target", "donor": kin / "donor"})
    assert sample_distances(plan, models) is not None
    entries = {
        name: replace(entry, file=tmp_path / "absent") for name, entry in models.target.tensors.items()
    }
    away = replace(models, target=replace(models.target, tensors=entries))
    assert sample_distances(plan, away) is None


def test_a_model_that_says_nothing_of_itself_is_not_compared(
    kin: Path, tmp_path: Path, merge: Callable[..., Any]
) -> None:
    (tmp_path / "donor").mkdir()
    save_file(load_file(kin / "ancestor/model.safetensors"), tmp_path / "donor/model.safetensors")
    plan = merge(kin / "target", tmp_path / "donor", "model.donors.a.architecture=llama")
    what = "attention heads, key/value heads, head_dim, activation: not compared"
    assert rows(plan, "a")[what] == ("said", "not said")
