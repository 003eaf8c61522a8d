"""The examples in docstrings are true."""

import doctest
from importlib import import_module
from pathlib import Path

import tiny
import tiny_merges
from command import ROOT

from adamms.merge.methods.linear import Linear


def test_the_examples_are_true(tmp_path: Path) -> None:
    folders = [tiny.write_model(tmp_path / name, tiny.llama_state(1)) for name in ("target", "donor")]
    pair = tiny_merges.interpolated(*folders, alpha=0.3)
    names = {"target": pair.target, "donor": pair.donors["a"], "plan": pair.plan, "Linear": Linear}
    files = [file for file in sorted((ROOT / "adamms").rglob("*.py")) if ">>> " in file.read_text()]
    assert len(files) > 15
    for file in files:
        module = import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
        found = doctest.testmod(module, extraglobs=names)
        assert found.attempted, file
        assert not found.failed, file
