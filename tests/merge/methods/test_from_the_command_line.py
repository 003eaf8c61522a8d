"""Every YAML of conf/merge merges a pair of different architectures, and the folder loads."""

from pathlib import Path

import pytest
import torch
from command import CONF, pair
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

METHODS = sorted(file.stem for file in (CONF / "merge").glob("*.yaml"))
NAME, VISION = "model.layers.0.mlp.down_proj.weight", "visual.patch_embed.proj.weight"


@pytest.mark.parametrize("method", METHODS)
def test_the_merged_folder(run, talkative: Path, tmp_path: Path, method: str) -> None:
    ancestor = f"model.ancestor.path={talkative / 'ancestor'}"
    settings = ["merge.steps=3"] if method == "wudi2" else []
    words = ("mode=merge", *pair(talkative), ancestor, f"merge={method}", *settings)
    done = run(*words, f"output={tmp_path / 'out'}")
    assert done.status == 0, done.err
    merged = load_file(tmp_path / "out/model/model.safetensors")
    target = load_file(talkative / "target/model.safetensors")
    assert {name: t.shape for name, t in merged.items()} == {name: t.shape for name, t in target.items()}
    assert all(torch.isfinite(tensor).all() for tensor in merged.values())
    assert not torch.equal(merged[NAME], target[NAME])
    assert torch.equal(merged[VISION], target[VISION])


def test_it_loads_and_parameters_arrive(run, talkative: Path, tmp_path: Path) -> None:
    ancestor = f"model.ancestor.path={talkative / 'ancestor'}"
    words = ("mode=merge", *pair(talkative), ancestor, "merge=della")
    for setting in ("merge.seed=0", "merge.seed=1"):
        done = run(*words, setting, f"output={tmp_path / setting[-1]}")
        assert done.status == 0, done.err
    folders = [tmp_path / seed / "model" for seed in "01"]
    one, other = (load_file(folder / "model.safetensors")[NAME] for folder in folders)
    assert not torch.equal(one, other)
    _, loading = AutoModelForImageTextToText.from_pretrained(folders[0], output_loading_info=True)
    assert not any(loading.values())


def test_slerp_of_two_donors_writes_nothing(run, talkative: Path, tmp_path: Path) -> None:
    done = run(
        *("mode=merge", *pair(talkative), f"+model.donors.b.path={talkative / 'ancestor'}"),
        *("merge=slerp", f"output={tmp_path / 'out'}"),
    )
    assert done.status == 2
    assert "merge=slerp is between the target and one donor, and there are 2: a, b" in done.err
    assert not (tmp_path / "out/model").exists()
