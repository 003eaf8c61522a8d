"""Quantised models on the command line: the bytes and the choices of the models that are read from them."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import lora
import pytest
import quantisers
import tiny
from command import write_jsonl
from safetensors.torch import load_file
from tiny import assert_same_bits

from adamms.checkpoint.reader import open_checkpoint


@dataclass(frozen=True)
class Folders:
    """The demo's untrained pair, quantised, and the same written out in 16 bits."""

    quantised: Path
    written: Path


@pytest.fixture(scope="module")
def pair(talkative: Path, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """The target in block FP8 over three files, the donor in four bits."""
    root = tmp_path_factory.mktemp("quantised")
    found = Folders(root / "quantised", root / "written")
    values = {
        "target": quantisers.fp8_copy(talkative / "target", found.quantised / "target", shards=3),
        "donor": quantisers.compressed_copy(
            talkative / "donor", found.quantised / "donor", "W4A16_ASYM", group_size=32
        ),
    }
    for name, state in values.items():
        folder = found.written / name
        shutil.copytree(talkative / name, folder)
        quantised = {key for key, tensor in state.items() if quantisers.quantisable(key, tensor)}
        tiny.write_state(
            {key: tensor.bfloat16() if key in quantised else tensor for key, tensor in state.items()}, folder
        )
    return found


def models(folder: Path, *more: str) -> list[str]:
    return [
        *(
            "model=custom",
            f"model.target.path={folder / 'target'}",
            f"model.donors.a.path={folder / 'donor'}",
        ),
        *more,
    ]


def weights(folder: Path) -> bytes:
    return (folder / "model/model.safetensors").read_bytes()


def test_a_merge_is_that_of_the_models_in_16_bits(run, pair: Folders, tmp_path: Path) -> None:
    for name, folder in vars(pair).items():
        done = run("mode=merge", *models(folder), "merge.alpha=0.4", f"output={tmp_path / name}")
        assert done.status == 0, done.err
        assert ("dequantised from" in done.out) == (name == "quantised")
        if name == "quantised":
            assert "target: dequantised from fp8: " in done.out
            assert "a: dequantised from compressed-tensors: " in done.out
    assert weights(tmp_path / "quantised") == weights(tmp_path / "written")
    out = tmp_path / "quantised/model"
    assert (out / "config.json").exists()
    assert "quantization_config" not in json.loads((out / "config.json").read_text())
    assert "Quantised models went in (target: dequantised from fp8: " in (out / "README.md").read_text()
    assert set(json.loads((out / "adamms_recipe.json").read_text())["dequantised"]) == {"target", "a"}
    assert "; dequantised from fp8: " in json.loads((tmp_path / "quantised/plan.json").read_text())["target"]
    assert "uantised" not in (tmp_path / "written/model/README.md").read_text()
    # The same command again finds the model as it left it.
    done = run("mode=merge", *models(pair.quantised), "merge.alpha=0.4", f"output={tmp_path / 'quantised'}")
    assert "was written by this run before" in done.out


def test_at_alpha_0_everything_is_dequantised(run, pair: Folders, tmp_path: Path) -> None:
    """Also what the plan keeps: the vision tower."""
    done = run("mode=merge", *models(pair.quantised), "merge.alpha=0", f"output={tmp_path / 'out'}")
    assert done.status == 0, done.err
    merged = load_file(tmp_path / "out/model/model.safetensors")
    for name, tensor in load_file(pair.written / "target/model.safetensors").items():
        assert_same_bits(merged[name], tensor)
    checkpoint = open_checkpoint(pair.quantised / "target")
    assert any(name.startswith("visual.") and checkpoint.computes(name) for name in checkpoint.tensors)


def test_what_corresponds_is_discovered_by_the_dequantised_weights(
    run, pair: Folders, tmp_path: Path
) -> None:
    """Without relatives nothing is found, so the donor is the target itself, by other codes."""
    scheme = {"group_size": 32}
    quantisers.compressed_copy(pair.written / "target", tmp_path / "donor", "W8A16", **scheme)
    done = run(
        *("mode=plan", "mapper=discover", "model=custom", f"model.target.path={pair.quantised / 'target'}"),
        *(f"model.donors.a.path={tmp_path / 'donor'}", f"output={tmp_path / 'out'}"),
    )
    assert done.status == 0, done.err
    plan = json.loads((tmp_path / "out/plan.json").read_text())
    assert "by content; dequantised from fp8" in plan["target"]
    merged = {slot["name"]: slot["donors"]["a"] for slot in plan["tensors"] if slot["action"] == "merge"}
    assert len(merged) > 20
    assert all(name in json.dumps(read) for name, read in merged.items())


def test_a_search_chooses_as_with_the_models_in_16_bits(run, pair: Folders, tmp_path: Path) -> None:
    """Each engine starts from a copy in the cache, made once for all runs."""
    data = write_jsonl(tmp_path)
    chosen = {}
    for name, folder in vars(pair).items():
        done = run(
            *("mode=search", *models(folder), "data=jsonl", f"data.path={data}", "search.grid=[0,0.3,0.6]"),
            *("engine.accelerator=cpu", "engine.max_new_tokens=4", "store=null", f"output={tmp_path / name}"),
        )
        assert done.status == 0, done.err
        files = ("answers.jsonl", "selection.json", "evaluation.json")
        chosen[name] = [(tmp_path / name / file).read_bytes() for file in files]
        if name == "quantised":
            assert f"{pair.quantised / 'target'} runs in 16 bits, from {tmp_path / 'cache'}" in done.out
            assert re.search(r" \(\d+(\.\d+)? [kM]B\); remove that when", " ".join(done.out.split()))
    assert chosen["quantised"] == chosen["written"]
    assert weights(tmp_path / "quantised") == weights(tmp_path / "written")
    copies = [folder for folder in (tmp_path / "cache/dequantised").iterdir() if folder.is_dir()]
    assert len(copies) == 2


@pytest.mark.vllm
def test_vllm_takes_candidates_of_a_quantised_target(run, pair: Folders, tmp_path: Path) -> None:
    """The first swap is proven at once: every merged tensor comes in, and goes again."""
    done = run(
        *("mode=respond", "candidate=0.3", *models(pair.quantised), "data.per_task=1", "evaluate=none"),
        *(f"data.folder={tmp_path / 'images'}", "engine=vllm", "engine.max_model_len=512"),
        *("engine.max_new_tokens=2", f"output={tmp_path / 'out'}"),
    )
    assert done.status == 0, done.err
    assert json.loads((tmp_path / "out/respond.json").read_text())["generated"] > 0


def test_an_adapter_on_a_quantised_base(run, pair: Folders, tmp_path: Path) -> None:
    """As QLoRA's are: what the adapter changes is computed from the dequantised values."""
    lora.save_adapter(pair.written / "target", tmp_path / "adapter", 0, 0.2, r=4, target_modules=["q_proj"])
    found = {}
    for name, folder in vars(pair).items():
        adapted = f"model.target.adapter={tmp_path / 'adapter'}"
        done = run("mode=merge", *models(folder, adapted), "merge.alpha=0.4", f"output={tmp_path / name}")
        assert done.status == 0, done.err
        found[name] = weights(tmp_path / name)
    assert found["quantised"] == found["written"]
