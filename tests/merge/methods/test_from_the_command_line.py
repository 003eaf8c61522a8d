"""Every YAML of conf/merge merges a pair of different architectures, and the folder loads."""

from pathlib import Path

import pytest
import torch
from command import ROOT, pair
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

METHODS = sorted(file.stem for file in (ROOT / "conf/merge").glob("*.yaml"))
# Several candidates' worth of one parameter of each method; a setting that must change the result.
OTHER = {
    "breadcrumbs": "merge.density=0.3",
    "della": "merge.seed=1",
    "iso_c": "merge.scaling=2",
    "karcher": "merge.alpha=0.4",
    "model_stock": "merge.per=row",
    "sce": "merge.density=0.3",
    "slerp": "merge.alpha=0.4",
    "tsv": "merge.rank=0.25",
    "wudi": "merge.variant=optmerge",
}


@pytest.mark.parametrize("method", METHODS)
def test_merged_folder_loads(run, talkative: Path, tmp_path: Path, method: str) -> None:
    ancestor = f"model.ancestor.path={talkative / 'ancestor'}"
    done = run("mode=merge", *pair(talkative), ancestor, f"merge={method}", f"output={tmp_path / 'out'}")
    assert done.status == 0, done.err
    model, loading = AutoModelForImageTextToText.from_pretrained(
        tmp_path / "out/model", output_loading_info=True
    )
    assert not any(loading.values())
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    merged = load_file(tmp_path / "out/model/model.safetensors")
    target = load_file(talkative / "target/model.safetensors")
    name = "model.layers.0.mlp.down_proj.weight"
    assert not torch.equal(merged[name], target[name])
    vision = "visual.patch_embed.proj.weight"
    assert torch.equal(merged[vision], target[vision])


@pytest.mark.parametrize("method", OTHER)
def test_parameters_arrive(run, talkative: Path, tmp_path: Path, method: str) -> None:
    ancestor = f"model.ancestor.path={talkative / 'ancestor'}"
    words = ("mode=merge", *pair(talkative), ancestor, f"merge={method}")
    for setting, folder in (("merge.alpha=0.5", "default"), (OTHER[method], "other")):
        done = run(*words, setting, f"output={tmp_path / folder}")
        assert done.status == 0, done.err
    name = "model.layers.0.mlp.down_proj.weight"
    one, other = (load_file(tmp_path / f / "model/model.safetensors")[name] for f in ("default", "other"))
    assert not torch.equal(one, other)


def test_slerp_of_two_donors_writes_nothing(run, talkative: Path, tmp_path: Path) -> None:
    done = run(
        *("mode=merge", *pair(talkative), f"+model.donors.b.path={talkative / 'ancestor'}"),
        *("merge=slerp", f"output={tmp_path / 'out'}"),
    )
    assert done.status == 2
    assert "merge=slerp is between the target and one donor, and there are 2: a, b" in done.err
    assert not (tmp_path / "out/model").exists()
