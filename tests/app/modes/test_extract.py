"""mode=extract: adapters that give back the merge, in our reading and in PEFT's."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import expert_layouts
import lora
import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from tiny import assert_same_bits

from adamms.app.adapter_parts import EXPERTS
from adamms.checkpoint.adapters.adapter import open_adapter
from adamms.checkpoint.reader import open_checkpoint
from adamms.engines.child import ChildProcess
from adamms.report.result import Result

LAYERS = ["q_proj", "v_proj", "up_proj", "down_proj"]


def pair(folder: Path, *more: str) -> list[str]:
    return [
        *(
            "model=custom",
            f"model.target.path={folder / 'target'}",
            f"model.donors.a.path={folder / 'donor'}",
        ),
        *more,
    ]


def truncated(difference: np.ndarray[Any, Any], rank: int) -> np.ndarray[Any, Any]:
    u, s, v = np.linalg.svd(difference, full_matrices=False)
    return (u[:, :rank] * s[:rank]) @ v[:rank]


@pytest.fixture(scope="module")
def half(talkative: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's untrained pair in bfloat16."""
    folder = shutil.copytree(talkative, tmp_path_factory.mktemp("half") / "models")
    for name in ("target", "donor"):
        file = folder / name / "model.safetensors"
        state = {key: tensor.bfloat16() for key, tensor in load_file(file).items()}
        save_file(state, file, metadata={"format": "pt"})
    return folder


def test_the_adapter_on_the_target_is_the_merge_by_truncated_singular_values(
    run, half: Path, tmp_path: Path
) -> None:
    settings = pair(half, "merge.alpha=0.4")
    done = run("mode=extract", *settings, "mode.rank=8", "mode.holds=matrices", f"output={tmp_path / 'out'}")
    assert done.status == 0, done.err
    assert run("mode=merge", *settings, f"output={tmp_path / 'merged'}").status == 0
    base = load_file(half / "target/model.safetensors")
    merged = load_file(tmp_path / "merged/model/model.safetensors")
    adapted = open_adapter(open_checkpoint(half / "target"), tmp_path / "out/adapter")
    record = json.loads((tmp_path / "out/extract.json").read_text())
    rows = {row["name"]: row for row in record["tensors"]}
    assert {name for name in base if not torch.equal(base[name], merged[name])} == rows.keys()
    others = 0
    for name, tensor in base.items():
        difference = merged[name].double().numpy() - tensor.double().numpy()
        if tensor.dim() != 2 or not difference.any():
            assert_same_bits(adapted.read(name), tensor)
            assert name not in rows or rows[name]["reason"] == "vectors (norms, biases)"
            continue
        expected = tensor.double().numpy() + truncated(difference, 8)
        found = adapted.read(name)
        # Factors in float32 may tip a value that lies on the border of two of bfloat16.
        others += int((found != torch.from_numpy(expected).bfloat16()).sum())
        np.testing.assert_allclose(found.double().numpy(), expected, rtol=2**-8, atol=1e-6)
        rest = np.linalg.norm(difference - truncated(difference, 8))
        assert rows[name]["norm"] == pytest.approx(np.linalg.norm(difference), rel=1e-9)
        assert rows[name]["left"] == pytest.approx(rest, rel=1e-5)
    assert others < 20
    assert "left in %" in done.out
    assert "not in the adapter: vectors (norms, biases), " in done.out
    assert "stays as the target has it: mode.holds=all takes norms" in done.out
    result = Result.from_json(json.loads((tmp_path / "out/result.json").read_text()))
    assert result.extracted is not None
    assert result.extracted.total.share == pytest.approx(record["all"]["share_left"])
    assert "What the adapter leaves of the difference" in (tmp_path / "out/report.html").read_text()


@pytest.mark.parametrize("layout", ["per_expert", "fused"])
def test_that_experts_are_left_out_is_told_with_their_part(run, tmp_path: Path, layout: str) -> None:
    states = [expert_layouts.state(seed) for seed in (0, 1)]
    for name, state in zip(("target", "donor"), states, strict=True):
        expert_layouts.write(tmp_path / name, state, layout)
    done = run("mode=extract", *pair(tmp_path), "mode.rank=8", f"output={tmp_path / 'out'}")
    assert done.status == 0, done.err
    share = json.loads((tmp_path / "out/extract.json").read_text())["not_in_the_adapter"][EXPERTS]
    merged = load_file(run_merge(run, tmp_path) / "model.safetensors")
    base = load_file(tmp_path / "target/model.safetensors")
    squares = {key: float((merged[key].double() - base[key].double()).square().sum()) for key in base}
    experts = sum(each for key, each in squares.items() if ".experts." in key)
    assert share == pytest.approx(experts / sum(squares.values()), rel=1e-6)
    said = " ".join(done.out.split())
    assert "not in the adapter: experts (of a layer they are one parameter" in said
    assert "stays as the target has it: " in said
    assert "mapper.exclude=[moe.expert] merges without experts" in said
    without = run(
        *("mode=extract", *pair(tmp_path), "mapper.exclude=[moe.expert]"), f"output={tmp_path / 'without'}"
    )
    assert without.status == 0, without.err
    assert "experts (of" not in without.out
    whole = run("mode=extract", *pair(tmp_path), "mode.holds=all", f"output={tmp_path / 'whole'}")
    assert whole.status == 0, whole.err
    assert [*json.loads((tmp_path / "whole/extract.json").read_text())["not_in_the_adapter"]] == [EXPERTS]


def run_merge(run, folder: Path) -> Path:
    done = run("mode=merge", *pair(folder), f"output={folder / 'merged'}")
    assert done.status == 0, done.err
    return folder / "merged/model"


def test_it_is_of_the_merge_in_the_dtype_that_is_asked_for(run, half: Path, tmp_path: Path) -> None:
    """In F32 nothing of the difference is rounded to the target's BF16."""
    settings = pair(half, "merge.alpha=0.4", "mode.rank=64", "mode.holds=all")
    done = run("mode=extract", *settings, "merge.dtype=F32", f"output={tmp_path / 'out'}")
    assert done.status == 0, done.err
    states = [load_file(half / f"{name}/model.safetensors") for name in ("target", "donor")]
    rows = {row["name"]: row for row in json.loads((tmp_path / "out/extract.json").read_text())["tensors"]}
    end = "layers.0.self_attn.q_proj.weight"
    base, other = (next(state[name].double() for name in state if name.endswith(end)) for state in states)
    norm = next(row["norm"] for name, row in rows.items() if name.endswith(end))
    assert norm == pytest.approx(float((0.4 * (other - base)).norm()), rel=1e-6)


def test_peft_loads_it_and_computes_the_same(run, talkative: Path, tmp_path: Path) -> None:
    """In float32; with whole norms and biases nothing but rounding is left at full rank."""
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    settings = pair(talkative, "merge.alpha=0.4")
    done = run("mode=extract", *settings, "mode.rank=512", "mode.holds=all", f"output={tmp_path / 'out'}")
    assert done.status == 0, done.err
    assert run("mode=merge", *settings, f"output={tmp_path / 'merged'}").status == 0
    merged = load_file(tmp_path / "merged/model/model.safetensors")
    model = AutoModelForImageTextToText.from_pretrained(talkative / "target")
    theirs = PeftModel.from_pretrained(model, tmp_path / "out/adapter").merge_and_unload().state_dict()
    ours = open_adapter(open_checkpoint(talkative / "target"), tmp_path / "out/adapter")
    names = {lora.qwen2_vl_names(name): tensor for name, tensor in theirs.items()}
    assert names.keys() == merged.keys()
    for name, tensor in merged.items():
        torch.testing.assert_close(names[name], tensor, rtol=0, atol=2e-6, msg=name)
        torch.testing.assert_close(ours.read(name), tensor, rtol=0, atol=2e-6, msg=name)
    assert not json.loads((tmp_path / "out/extract.json").read_text())["not_in_the_adapter"]


@pytest.mark.vllm
def test_vllm_loads_it_and_computes_as_peft_does(run, talkative: Path, tmp_path: Path) -> None:
    """What it holds by default, on the multimodal model itself."""
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    settings = pair(talkative, "merge.alpha=0.4", "mode.rank=16", f"output={tmp_path / 'out'}")
    assert run("mode=extract", *settings).status == 0
    target, adapter, ids = talkative / "target", tmp_path / "out/adapter", [5, 6, 7, 8, 9]
    child = ChildProcess("vLLM", "vllm_with_adapter", {"VLLM_CPU_KVCACHE_SPACE": "1"})
    try:
        child.send((str(target), str(adapter), ids))
        found = child.receive(300, "saying a token")
    finally:
        child.stop()
    model = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(target), adapter)
    with torch.inference_mode():
        expected = model(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)
    best = int(expected.argmax())
    assert found[best] == pytest.approx(float(expected[best]), abs=1e-4)


def test_two_folders_and_the_recipe_give_the_same_adapter(run, half: Path, tmp_path: Path) -> None:
    settings = pair(half, "merge.alpha=0.4")
    assert run("mode=merge", *settings, f"output={tmp_path / 'merged'}").status == 0
    for name, more in {
        "recipe": settings,
        "folders": [*settings[:2], f"model_folder={tmp_path / 'merged/model'}"],
    }.items():
        done = run("mode=extract", *more, "mode.rank=4", f"output={tmp_path / name}")
        assert done.status == 0, done.err
        assert "lacks" not in done.out
    files = [tmp_path / name / "adapter/adapter_model.safetensors" for name in ("recipe", "folders")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_tensors_that_a_folder_lacks_are_told_of(run, half: Path, tmp_path: Path) -> None:
    other = shutil.copytree(half / "target", tmp_path / "other")
    state = load_file(other / "model.safetensors")
    lacking = [name for name in state if "layers.0." in name]
    less = {name: tensor * 2 for name, tensor in state.items() if name not in lacking}
    save_file(less, other / "model.safetensors", metadata={"format": "pt"})
    done = run("mode=extract", *pair(half)[:2], f"model_folder={other}", f"output={tmp_path / 'out'}")
    assert done.status == 0, done.err
    assert f"lacks {len(lacking)} of the target's tensors, e.g. " in done.out


# ---------------------------------------------------------------- adapters of one base


@pytest.fixture(scope="module")
def adapters(qwen2_vl: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("adapters")
    shutil.copytree(qwen2_vl, root / "base")
    shutil.copyfile(qwen2_vl / "config.json", root / "base/config.json")
    kinds: dict[str, dict[str, Any]] = {
        "plain": {"r": 3, "lora_alpha": 6, "target_modules": LAYERS},
        "stable": {"r": 4, "lora_alpha": 5, "use_rslora": True, "target_modules": ["q_proj", "embed_tokens"]},
        "dora": {"r": 2, "use_dora": True, "target_modules": LAYERS},
        "whole": {"r": 2, "target_modules": LAYERS, "modules_to_save": ["norm"]},
    }
    for seed, (name, settings) in enumerate(kinds.items()):
        lora.save_adapter(root / "base", root / name, seed, 0.2, **settings)
    return root


def of(adapters: Path, *donors: str, **target: str) -> list[str]:
    words = ["model=custom", f"model.target.path={adapters / 'base'}"]
    words += [f"model.target.{key}={adapters / value}" for key, value in target.items()]
    for letter, name in zip("ab", donors, strict=False):
        words.append(f"{'+' if letter == 'b' else ''}model.donors.{letter}.path={adapters / name}")
    return words


def values(adapters: Path, name: str) -> dict[str, Any]:
    base = load_file(adapters / "base/model.safetensors")
    return lora.materialised(base, adapters / name, lora.qwen2_vl_names)


CASES: dict[str, tuple[list[str], dict[str, str], dict[str, float]]] = {
    "two, one of them rank-stabilised": (["merge.alpha={a: 0.3, b: 0.5}"], {}, {"plain": 0.3, "stable": 0.5}),
    "into a target with its own": (
        ["merge.alpha=0.25"],
        {"adapter": "stable"},
        {"plain": 0.25, "stable": 0.75},
    ),
    "each in full": (
        ["merge=task_arithmetic", "merge.scaling=2", "merge.alpha=1", "model.ancestor.path=BASE"],
        {},
        {"plain": 1.0, "stable": 1.0},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_adapters_add_up_exactly(run, adapters: Path, tmp_path: Path, case: str) -> None:
    settings, target, factors = CASES[case]
    donors = [name for name in factors if name not in target.values()]
    settings = [word.replace("BASE", str(adapters / "base")) for word in settings]
    done = run(
        *("mode=extract", *of(adapters, *donors, **target), *settings),
        *("mode.rank=null", "mode.holds=matrices", f"output={tmp_path / 'out'}"),
    )
    assert done.status == 0, done.err
    base = {k: v.double().numpy() for k, v in load_file(adapters / "base/model.safetensors").items()}
    models = {name: values(adapters, name) for name in factors}
    added = lora.materialised(
        load_file(adapters / "base/model.safetensors"), tmp_path / "out/adapter", lora.qwen2_vl_names
    )
    for name, own in base.items():
        expected = sum(factor * (models[m][name] - own) for m, factor in factors.items())
        np.testing.assert_allclose(added[name] - own, expected, rtol=0, atol=1e-6, err_msg=name)
    config = json.loads((tmp_path / "out/adapter/adapter_config.json").read_text())
    assert config["r"] == config["lora_alpha"] == 7
    assert json.loads((tmp_path / "out/extract.json").read_text())["all"]["left"] == 0


def test_compressed_it_goes_through_the_weights(run, adapters: Path, tmp_path: Path) -> None:
    """DoRA has no sum; the difference of the weights is that of the merge all the same."""
    done = run(
        *("mode=extract", *of(adapters, "plain", "dora"), "merge.alpha=0.8", "mode.rank=64"),
        f"output={tmp_path / 'out'}",
    )
    assert done.status == 0, done.err
    base = load_file(adapters / "base/model.safetensors")
    models = [values(adapters, name) for name in ("plain", "dora")]
    found = open_adapter(open_checkpoint(adapters / "base"), tmp_path / "out/adapter")
    for name in found.adapted:
        own = base[name].double().numpy()
        expected = own + sum(
            0.4 * (torch.from_numpy(m[name]).bfloat16().double().numpy() - own) for m in models
        )
        np.testing.assert_allclose(found.read(name).double().numpy(), expected, rtol=2**-7, atol=1e-3)


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            lambda a: [*of(a, "plain", "dora"), "merge.alpha=0.8"],
            "is DoRA, which gives rows norms: .*mode.rank=16",
        ),
        (lambda a: [*of(a, "plain"), "merge=slerp"], "merge=slerp is no weighted sum of models"),
        (
            lambda a: [*of(a, "whole"), "merge.alpha=1"],
            r"an adapter changes model\.\S*norm\.weight, which would be lost: mode\.holds=all",
        ),
        (lambda a: [*of(a, "other")], "has another base than the target"),
        (
            lambda a: [*of(a, "plain"), f"model_folder={a / 'base'}"],
            "model_folder names a model; give mode.rank",
        ),
        (lambda a: [*of(a, "plain"), "merge.alpha=0"], "the models do not differ: there is no adapter"),
    ],
)
def test_what_is_no_sum_of_adapters_is_refused_with_the_way_on(
    run, adapters: Path, tmp_path: Path, words: Callable[[Path], list[str]], message: str
) -> None:
    if not (adapters / "other").exists():
        tiny.save_qwen2_vl(adapters / "other", seed=9)
    done = run(
        "mode=extract", *words(adapters), "mode.rank=null", "plan.force=true", f"output={tmp_path / 'out'}"
    )
    assert done.status == 2
    assert re.search(message, " ".join(done.err.split())), done.err
    assert not (tmp_path / "out/adapter").exists()


def test_folders_that_do_not_correspond(run, adapters: Path, onevision_hub: Path, tmp_path: Path) -> None:
    other = f"model_folder={onevision_hub}"
    done = run("mode=extract", *of(adapters, "plain"), other, f"output={tmp_path / 'out'}")
    assert done.status == 2
    assert "model_folder=" in done.err
    assert "Other names can be mapped: model.donors.a.path=" in done.err
