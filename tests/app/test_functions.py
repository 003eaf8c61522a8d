"""adamms.plan, merge, search and evaluate: the command line's modes in a process that has other work, too."""

import gc
import importlib
import logging
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest
import torch
from command import ROOT, STRANGERS, pair, write_jsonl
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from safetensors.torch import load_file, save_file

import adamms
from adamms.errors import AdammsError
from adamms.mapping.plan import Plan
from adamms.merge.candidate import Candidate
from adamms.merge.recipe import Recipe
from adamms.report.notebook import html
from adamms.report.result import Result
from adamms.search.choice import Choice

UNMERGED = Candidate(0.0)


@pytest.fixture
def page(talkative: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what docs/python.md speaks of: A, B, which is A with other weights, and questions."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADAMMS_CACHE", str(tmp_path / "cache"))
    shutil.copytree(talkative / "target", "A")
    shutil.copytree("A", "B")
    weights, draw = load_file("A/model.safetensors"), torch.Generator().manual_seed(0)
    other = {name: w + 0.05 * torch.randn(w.shape, generator=draw) for name, w in weights.items()}
    save_file(other, "B/model.safetensors", metadata={"format": "pt"})
    write_jsonl(tmp_path, per_task=1).rename("questions.jsonl")
    return tmp_path


def test_the_page_runs_as_it_is_printed(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Twice, and nothing of it stays in the process."""
    blocks = re.findall(r"^```python\n(.+?)^```", (ROOT / "docs/python.md").read_text(), re.M | re.DOTALL)
    before = gc.get_threshold(), logging.getLogger().handlers[:], logging.getLogger("lightning").level
    environment = dict(os.environ)
    known: dict[str, object] = {}
    exec("".join(blocks), known)
    assert isinstance(known["plan"], Plan)
    assert isinstance(known["result"], Result)
    assert known["folder"] == Path("OUT/model")
    said = capsys.readouterr().out
    assert re.search(r"^\d+ of \d+ tensors are merged$", said, re.MULTILINE)
    assert "unknown key 'merge.alhpa'" in said
    exec(blocks[0].replace("OUT", "AGAIN").replace("FOUND", "FOUND2"), known)
    after = gc.get_threshold(), logging.getLogger().handlers[:], logging.getLogger("lightning").level
    assert after == before
    assert os.environ.get("TRANSFORMERS_VERBOSITY") == environment.get("TRANSFORMERS_VERBOSITY")


def test_hydra_of_the_caller_stays(talkative: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/own.yaml").write_text("number: 7\n")
    with initialize_config_dir(str(tmp_path / "conf"), version_base="1.2"):
        for _ in range(2):  # each into a folder of its own, within a second
            adamms.plan(*pair(talkative), STRANGERS)
        with pytest.raises(AdammsError, match=r"unknown key 'merge.alhpa'; .*Nearest: alpha"):
            adamms.plan(*pair(talkative), "merge.alhpa=1")
        with pytest.raises(AdammsError, match=r"is no text; .* adamms\.plan\(\*words\)"):
            adamms.plan(pair(talkative))  # type: ignore[arg-type]
        with pytest.raises(AdammsError, match=r"mode=merge: adamms[.]plan is mode=plan"):
            adamms.plan(*pair(talkative), "mode=merge")
        with pytest.raises(AdammsError, match=r"3\. From Python, many runs are a loop"):
            adamms.plan(*pair(talkative), "merge=linear,ties")
        assert compose("own").number == 7
        assert not HydraConfig.initialized()
    assert not GlobalHydra.instance().is_initialized()
    assert len(list(tmp_path.glob("outputs/*/*/plan.json"))) == 2


def test_classes_beside_ones_own_configuration_are_found(
    talkative: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And forgotten: another folder's module of the same name is another one."""
    (tmp_path / "one").mkdir()
    (tmp_path / "one/beside_before.py").touch()
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path / "one")
        importlib.import_module("beside_before")
    before = sys.path[:]
    for folder, kind in (("one", "linear.Linear"), ("two", "slerp.Slerp")):
        module, name = kind.split(".")
        (tmp_path / folder / "merge").mkdir(parents=True)
        option = f"defaults: [{module}]\n_target_: beside_own_conf.Mine\n"
        (tmp_path / folder / "merge/mine.yaml").write_text(option)
        (tmp_path / folder / "beside_own_conf.py").write_text(
            f"from adamms.merge.methods.{module} import {name}\n\nclass Mine({name}):\n    pass\n"
        )
        environment = tmp_path / folder / ".venv/lib"  # what is in it stays, imported before or in the run
        environment.mkdir(parents=True)
        (environment / f"in_{folder}.py").touch()
        monkeypatch.syspath_prepend(environment)
        before.insert(0, str(environment))
        with (tmp_path / folder / "beside_own_conf.py").open("a") as file:
            file.write(f"\nimport in_{folder}\n")
        own, out = f"hydra.searchpath=[file://{tmp_path}/{folder}]", tmp_path / f"out {folder}"
        merged = adamms.merge(*pair(talkative), STRANGERS, own, "merge=mine", f"output={out}")
        assert "beside_own_conf.Mine" in (out / ".hydra/config.yaml").read_text()
        assert f'"{module}"' in (merged / "adamms_recipe.json").read_text()
        assert sys.path == before
        assert {"beside_before", f"in_{folder}"} <= sys.modules.keys()
        assert "beside_own_conf" not in sys.modules


def test_packages_that_are_functions_too_stay_packages() -> None:
    """And importing adamms costs nothing."""
    code = "import sys, adamms; assert not {'torch', 'hydra', 'numpy', 'pydantic'} & set(sys.modules)\n"
    code += "import adamms.merge.recipe as recipe, adamms.evaluate; from adamms.search import strategy\n"
    code += "assert callable(adamms.merge) and callable(adamms.search) and callable(adamms.evaluate)\n"
    code += "assert adamms.merge.recipe is recipe and adamms.search.strategy is strategy"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert pickle.loads(pickle.dumps(Recipe)) is Recipe
    with pytest.raises(AttributeError, match="'adamms' has no attribute 'mrege'"):
        adamms.mrege  # noqa: B018


def test_the_notebook_runs(page: Path) -> None:
    """With other models than those that it is printed with; what it shows are tables and bars."""
    notebook = nbformat.read(ROOT / "docs/python.ipynb", as_version=4)
    printed = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert 'words = ["model=demo"]' in printed[0]
    [first] = [cell for cell in notebook.cells if cell.source == printed[0]]
    paths = ["model=custom", "model.target.path=A", "model.donors.a.path=B"]
    first.source = f"import adamms\nwords = {[*paths, 'data=jsonl', 'data.path=questions.jsonl']}"
    client = nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(page)}})
    client.execute()
    shown = [
        output.data["text/html"]
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "execute_result"
    ]
    assert len(shown) == 2
    assert all("<table>" in found for found in shown)
    bars = [o for cell in notebook.cells for o in cell.get("outputs", []) if o.output_type == "display_data"]
    assert not any("progress" in bar.data["text/html"] for bar in bars)  # gone when their stages end


def test_markup_in_what_is_shown_is_text() -> None:
    choice = Choice(UNMERGED, {UNMERGED: 0.0}, (UNMERGED,), 1.0, {UNMERGED: 1.0}, 5, because="5 < 6")
    shown = html(choice)
    assert "alpha = 0 was chosen: 5 &lt; 6" in shown
    assert "<td" in shown
    plan = html(Plan("a<b>", {"c&d": "e"}, ()))
    assert "target: a&lt;b&gt;</p><p>donor c&amp;d: e" in plan
