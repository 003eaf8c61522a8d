"""Models with infinite or NaN values: told by console and report, an error with plan.strict=true."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Outcome, pair
from page_text import Page
from safetensors.torch import load_file, save_file

NAME = "language_model.model.norm.weight"


@pytest.fixture
def damaged(kin: Path, tmp_path: Path) -> Path:
    """The pair with two NaN values in a tensor of the donor."""
    folder = tmp_path / "damaged"
    shutil.copytree(kin, folder)
    state = load_file(folder / "donor/model.safetensors")
    assert NAME in state, sorted(state)
    state[NAME][:2] = float("nan")
    save_file(state, folder / "donor/model.safetensors", {"format": "pt"})
    return folder


def test_they_are_told_or_an_error(damaged: Path, tmp_path: Path, run: Callable[..., Outcome]) -> None:
    line = f"donor a: {NAME} has 2 infinite or NaN values"
    merge = ["mode=merge", *pair(damaged), "merge.alpha=0.3", "max_shard_gb=1"]
    ended = run(*merge, f"output={tmp_path / 'out'}")
    assert ended.status == 0, ended.err
    assert f"warning: {line}" in ended.out
    assert line in Page(tmp_path / "out/report.html").text
    strict = run(*merge, "plan.strict=true", f"output={tmp_path / 'strict'}")
    assert strict.status == 2
    assert f"{line}. plan.strict=false merges them all the same" in strict.err
    assert not (tmp_path / "strict/model").exists()
