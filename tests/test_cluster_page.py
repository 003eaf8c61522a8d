"""The blocks of docs/slurm.md against a real SLURM cluster; modules, conda and containers are stand-ins.

The arrays of the page's beginning are those of tests/app/test_slurm.py.
`/shared` becomes a folder of the test, and a node of GPUs this machine. Nothing else of a block is changed.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from venv import EnvBuilder

import pytest
import yaml
from cluster import ready_partition
from command import ROOT, write_jsonl
from documented import blocks

pytestmark = pytest.mark.slurm
PATIENCE = 240  # seconds
PAGE = (ROOT / "docs/slurm.md").read_text()
# What this machine has not: GPUs of a kind, another partition's name, so many processors.
SMALL = "hydra.launcher.{partition=debug,gres=null,cpus_per_task=1,mem_gb=2}"
STANDINS = {
    "adamms": f'PYTHONPATH={ROOT} exec {sys.executable} {ROOT}/run.py "$@" plan.force=true',
    "apptainer": 'echo "container $*"\nshift 5; exec "$@"',  # exec --nv --bind PLACE IMAGE
    "hf": 'echo "hf $* in $HF_HOME" >>hf.log',
}
PROFILE = {
    "modules.sh": 'module() { echo "module $*"; }',
    "conda.sh": 'conda() { echo "conda $*"; }',
}


def fenced(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def command(beginning: str) -> str:
    """The one command of the page that begins so, on one line."""
    [found] = {line for line in blocks(PAGE).splitlines() if line.startswith(beginning)}
    return found


@pytest.fixture
def cluster(talkative: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder that is /shared and where one works; it has models, questions and the stand-ins."""
    ready_partition("debug")
    (tmp_path / "A").symlink_to(talkative / "target")
    (tmp_path / "B").symlink_to(talkative / "donor")
    write_jsonl(tmp_path, per_task=1).rename(tmp_path / "questions.jsonl")
    for name, text in STANDINS.items():
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    for name, text in PROFILE.items():
        (tmp_path / name).write_text(text)
    yield tmp_path
    jobs = subprocess.run(["squeue", "--noheader", "--format=%A %Z"], capture_output=True, text=True).stdout
    for job, place in (line.split() for line in jobs.splitlines()):
        if place.startswith(str(tmp_path)):
            subprocess.run(["scancel", job], check=False)


def here(text: str, folder: Path) -> str:
    """With the places of the page as those of the test."""
    places = {
        "/etc/profile.d/modules.sh": f"{folder}/modules.sh",
        "/shared/miniforge3/etc/profile.d/conda.sh": f"{folder}/conda.sh",
        "engine=vllm": "engine=transformers engine.max_new_tokens=2 engine.accelerator=cpu",
    }
    for place, own in places.items():
        text = text.replace(place, own)
    return text.replace("/shared", str(folder))


def shell(line: str, folder: Path) -> str:
    """What a line prints in bash, once it has ended well."""
    environment = os.environ | {
        "PATH": f"{folder}/bin:{os.environ['PATH']}",
        "ADAMMS_CACHE": f"{folder}/cache",
    }
    done = subprocess.run(
        ["bash", "-ec", line], cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def launcher(text: str, folder: Path) -> None:
    file = folder / "my_conf/hydra/launcher/mine.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(here(text, folder))


def logs(folder: Path) -> str:
    return "".join(file.read_text() for file in folder.glob("multirun/*/*/.submitit/*/*_log.out"))


def models(folder: Path) -> list[Path]:
    return sorted(folder.glob("multirun/*/*/*/model/model.safetensors"))


def test_a_file_of_ones_own(cluster: Path) -> None:
    """Account, qos and limits reach sbatch; modules and conda reach the jobs."""
    own, conda = map(yaml.safe_load, fenced("yaml"))
    assert own["defaults"] == conda["defaults"]
    (venv,) = re.findall(r"`(source /shared/venv/bin/activate)`", PAGE)
    EnvBuilder(symlinks=True).create(cluster / "venv")
    setup = own["setup"] + conda["setup"] + [venv, "echo venv $VIRTUAL_ENV, hub $HF_HUB_OFFLINE in $HF_HOME"]
    launcher(yaml.safe_dump(own | {"setup": setup}), cluster)
    shell(here(command("adamms -cd my_conf"), cluster) + f" {SMALL}", cluster)
    assert len(models(cluster)) == 2
    told = {"module load cuda/12.8", "conda activate adamms", f"venv {cluster}/venv, hub 1 in {cluster}/hf"}
    assert told <= set(logs(cluster).splitlines())
    [script] = cluster.glob("multirun/*/*/.submitit/*/*_submission.sh")
    options = script.read_text()
    for option in ("account=project123", "qos=normal", "array=0-1%2", "time=240"):
        assert f"#SBATCH --{option}" in options


def test_an_array_of_containers_and_the_search_after_it(cluster: Path) -> None:
    (cluster / "respond.sh").write_text(here(fenced("bash")[0], cluster))
    small = "--array=0-6:3 --gres=none --cpus-per-task=1 --mem=2G"
    shell(f"sbatch --wait {small} respond.sh", cluster)
    told = "".join(file.read_text() for file in cluster.glob("*_*.log"))
    assert f"container exec --nv --bind {cluster} {cluster}/adamms.sif adamms mode=respond" in told
    search = here(command("adamms mode=search engine=vllm"), cluster)
    found = shell(f"{search} search.grid=[0.0,0.3,0.6] search.samples=null evaluate=none", cluster)
    assert re.search(r"store: \d+ answers were there, 0 were generated", found)


def test_what_is_done_once_on_the_login_node(cluster: Path) -> None:
    lines = [command("export HF_HOME=/shared/hf"), command("hf download")]
    shell("\n".join(here(line, cluster) for line in lines), cluster)
    assert (cluster / "hf.log").read_text() == f"hf download Qwen/Qwen2-VL-7B-Instruct in {cluster}/hf\n"


def test_the_script_of_two_nodes_is_one_that_sbatch_takes(cluster: Path) -> None:
    """Not run: this machine is one node. Its options are read, and its size is what lacks."""
    [script] = re.findall(r"^    (#!/bin/bash\n(?:    .*\n)+)", PAGE, re.MULTILINE)
    (cluster / "two.sh").write_text(re.sub("^    ", "", script, flags=re.MULTILINE))
    shell("sbatch --test-only --nodes=1 --gres=none --cpus-per-task=1 two.sh", cluster)
    whole = subprocess.run(["sbatch", "--test-only", cluster / "two.sh"], capture_output=True, text=True)
    assert "Requested node configuration is not available" in whole.stderr


@pytest.mark.skipif(shutil.which("tmux") is None, reason="there is no tmux")
def test_in_tmux_the_command_goes_on_without_a_terminal(cluster: Path) -> None:
    (cluster / "bin/adamms").write_text("#!/bin/bash\nsleep 1; echo done\n")
    (cluster / "sweep.log").touch()
    line = here(command("tmux new-session -d -s sweep"), cluster)
    server = f"tmux -S {cluster}/tmux -f /dev/null "
    try:
        shell(line.replace("tmux ", server), cluster)
        shell(f"{server} has-session -t sweep", cluster)
        until = time.monotonic() + PATIENCE
        while "done" not in (cluster / "sweep.log").read_text() and time.monotonic() < until:
            time.sleep(0.2)
        assert (cluster / "sweep.log").read_text() == "done\n"
    finally:
        subprocess.run(["tmux", "-S", str(cluster / "tmux"), "kill-server"], check=False)
