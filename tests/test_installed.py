"""adamms as people install it: a wheel made of the sdist, in an environment that sees no checkout."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from browsing import browser
from command import CONF, ROOT, STRANGERS, pair, write_jsonl
from exploring import serving
from safetensors.torch import load_file

pytestmark = pytest.mark.long

# The dependencies are those of this environment; of its packages only adamms, from the checkout, is hidden.
SHARED = """import site, sys; site.addsitedir({!r}); \
sys.meta_path[:] = [f for f in sys.meta_path if not f.__module__.startswith("__editable__")]
"""
Installed = Callable[..., str]


def done(command: list[str | Path], folder: Path) -> str:
    """Standard output of a command that ends well, without this process' paths of modules."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"ADAMMS_CACHE": str(folder / "cache"), "COLUMNS": "80"}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment into which the wheel is installed that the sdist makes."""
    folder = tmp_path_factory.mktemp("installed")
    done([sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", ROOT], folder)
    [wheel], [_] = (folder / "dist").glob("*.whl"), (folder / "dist").glob("*.tar.gz")
    done([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], folder)
    [packages] = (folder / "venv/lib").glob("*/site-packages")
    (packages / "shared.pth").write_text(SHARED.format(sysconfig.get_path("purelib")))
    python = folder / "venv/bin/python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps"]
    done([*pip, wheel], folder)
    told = done([python, "-c", "import adamms; print(adamms.__file__)"], folder)
    assert told.strip() == str(packages / "adamms/__init__.py")
    yamls = {str(file.relative_to(CONF)) for file in CONF.rglob("*.yaml")}
    there = packages / "adamms/conf"
    assert {str(file.relative_to(there)) for file in there.rglob("*.yaml")} == yamls
    return python.parent


def test_a_merge_in_a_folder_of_ones_own(programs: Path, talkative: Path, tmp_path: Path) -> None:
    said = done([programs / "adamms", "mode=merge", *pair(talkative), STRANGERS, "output=OUT"], tmp_path)
    assert "The merged model is in OUT/model" in said
    assert (tmp_path / "OUT/model/model.safetensors").is_file()
    assert not list(tmp_path.glob("conf"))


def test_jobs_of_a_multirun_find_a_method_beside_a_configuration_of_ones_own(
    programs: Path, talkative: Path, tmp_path: Path
) -> None:
    """In processes of their own, as on a cluster, which get of this one what is pickled."""
    page = (ROOT / "docs/running.md").read_text()
    [line] = [line.split() for line in page.splitlines() if line.startswith("    adamms -cd my_conf ")]
    own = tmp_path / "my_conf"
    (own / "merge").mkdir(parents=True)
    (own / "mine.py").write_text(
        "from dataclasses import dataclass\nfrom adamms.merge.methods.linear import Linear\n"
        "@dataclass(frozen=True)\nclass Mine(Linear):\n    name = 'mine'\n"
    )
    content = {"defaults": ["linear", "_self_"], "_target_": "mine.Mine"}
    (own / "merge/mine.yaml").write_text(yaml.safe_dump(content))
    sweep = ["merge.alpha=1", "hydra/launcher=local", "hydra.sweep.dir=sweep", STRANGERS]
    done([programs / "adamms", "-m", *line[1:], *pair(talkative), *sweep], tmp_path)
    target = load_file(talkative / "target/model.safetensors")
    merged = load_file(tmp_path / "sweep/0/model/model.safetensors")
    assert [name for name, tensor in target.items() if not tensor.equal(merged[name])]
    assert "mine" in (tmp_path / "sweep/0/model/adamms_recipe.json").read_text()


@pytest.mark.browser
def test_its_explorer_answers(programs: Path, talkative: Path, tmp_path: Path) -> None:
    data = ["data=jsonl", f"data.path={write_jsonl(tmp_path, per_task=1)}", "engine.max_new_tokens=2"]
    command = [programs / "adamms", "mode=explore", *pair(talkative), STRANGERS, *data]
    with serving(tmp_path, *command) as (address, _), browser() as chromium:
        page = chromium.new_page()
        page.set_default_timeout(60_000)
        page.goto(address)
        for alpha in ("0.3", "1"):
            page.locator("#dial-alpha input[type=number]").fill(alpha)
            page.locator("#dial-alpha input[type=number]").press("Enter")
            page.locator(".said.merge h3", has_text=f"alpha {alpha}").first.wait_for()
            assert page.locator(".said.merge .text").first.inner_text()


def test_the_python_of_the_docs(programs: Path, talkative: Path, tmp_path: Path) -> None:
    """All blocks of its page, one after the other."""
    page = (ROOT / "docs/python.md").read_text()
    code = "".join(re.findall(r"^```python\n(.+?)^```", page, re.MULTILINE | re.DOTALL))
    shutil.copytree(talkative / "target", tmp_path / "A")
    shutil.copytree(talkative / "target", tmp_path / "B")
    write_jsonl(tmp_path, per_task=1).rename(tmp_path / "questions.jsonl")
    said = done([programs / "python", "-c", code], tmp_path)
    assert (tmp_path / "FOUND/model/model.safetensors").is_file()
    assert " tensors are merged\nalpha " in said
    assert "unknown key 'merge.alhpa'" in said


def test_its_hints_are_for_an_installation(programs: Path, tmp_path: Path) -> None:
    code = "from adamms.errors import install; print(install('xlsx'))"
    assert done([programs / "python", "-c", code], tmp_path) == "pip install 'adamms[xlsx]'\n"
    completion = done([programs / "adamms", "-sc", "install=bash"], tmp_path)
    assert "complete -o nospace -o default -F hydra_bash_completion adamms" in completion
