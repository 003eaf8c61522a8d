"""mode=doctor: what it finds on this machine, and that it says what is in a run's way."""

import importlib.metadata
import json
import re
import shutil
import sys
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Outcome, pair, start_run
from PIL import Image

from adamms.app.checks import environment, packages
from adamms.app.checks.environment import ABSENT, BAD, GOOD, Finding
from adamms.errors import AdammsError

REAL_VLLM = environment.vllm


def doctor(tmp_path: Path, *overrides: str) -> None:
    places = (f"output={tmp_path / 'out'}", f"store={tmp_path / 'store'}", f"cache={tmp_path / 'cache'}")
    start_run("mode=doctor", *places, *overrides)


@pytest.fixture(autouse=True)
def _no_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking a real vLLM takes half a minute; one test does."""
    monkeypatch.setattr(environment, "vllm", lambda: Finding("vLLM", GOOD, "not asked"))


def test_it_lists_what_is_there_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    doctor(tmp_path)
    said = capsys.readouterr().out
    assert f"ok     torch: {importlib.metadata.version('torch')}" in said
    for subject in ("python", "transformers", "processors", "hub", "SLURM", "output", "store", "cache"):
        assert f" {subject}: " in said
    assert "nothing is in the way of this configuration" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["model=custom"], ["model.target", "model.target.path=FOLDER or a hub id"]),
        (["model=custom", "model.target.path=/nowhere/at/all"], ["no such folder or file"]),
        (["store=/dev/null/store"], ["store", "not a folder that you may write to"]),
    ],
)
def test_what_is_in_the_way_ends_it_with_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture, overrides: list[str], named: list[str]
) -> None:
    with pytest.raises(AdammsError, match="in the way of this configuration"):
        doctor(tmp_path, *overrides)
    said = capsys.readouterr().out
    for text in named:
        assert text in said


def test_what_the_engine_does_not_need_is_in_nobodys_way(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "has_vllm", lambda: True)
    monkeypatch.setattr(environment, "vllm", lambda: Finding("vLLM", BAD, "it does not import"))
    extra = Finding("extra vllm-cpu", BAD, "too old")
    monkeypatch.setattr(packages, "packages", lambda: iter([extra]))
    doctor(tmp_path)
    said = capsys.readouterr().out
    assert " is installed; with engine=vllm it is tried" in said
    assert "absent extra vllm-cpu: too old" in said
    with pytest.raises(AdammsError, match=r"2 in the way of this configuration: extra vllm-cpu, vLLM$"):
        doctor(tmp_path, "engine=vllm")


def test_a_vllm_that_is_slow_to_import_is_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "SECONDS", 0)
    monkeypatch.setattr(environment, "vllm", REAL_VLLM)
    assert environment.vllm().state == ABSENT


def test_a_merged_model_that_does_not_fit_is_told(
    miniature: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    pair = [f"model.target.path={miniature / 'target'}", f"+model.donors.a.path={miniature / 'donor'}"]
    doctor(tmp_path, "model=custom", *pair)
    assert "model.target: " in capsys.readouterr().out
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(AdammsError, match="output"):
        doctor(tmp_path, "model=custom", *pair)


def test_what_is_asked_is_looked_at_as_in_a_search(
    miniature: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "slurm", lambda: Finding("SLURM", GOOD, "not asked"))
    pair = [
        "model=custom",
        f"model.target.path={miniature / 'target'}",
        f"model.donors.a.path={miniature / 'donor'}",
    ]
    Image.new("RGB", (2000, 4)).save(tmp_path / "wide.png")
    picture = b64encode((tmp_path / "wide.png").read_bytes()).decode()
    data = tmp_path / "data.jsonl"

    def look(*lines: dict[str, str]) -> str:
        data.write_text("".join(json.dumps(line) + "\n" for line in lines))
        doctor(tmp_path, *pair, "data=jsonl", f"data.path={data}")
        return capsys.readouterr().out

    good = {"question": "largest digit", "answer": "7"}
    assert "ok     questions of model.target: " in look(good)
    assert "absent questions of model.donors.a: " in look(good, {"question": "<image>", "answer": "7"})
    with pytest.raises(AdammsError, match=r"configuration: questions of model\.target$"):
        look(good, {"question": "which?", "image": picture, "answer": "7"})
    assert (
        "data.jsonl, line 2: the processor refuses the prompt with an image of 2000 x 4"
        in capsys.readouterr().out
    )
    with pytest.raises(AdammsError, match="in the way of this configuration: data"):
        look(good, {"question": "which?", "image": "none.png"})
    written = {file.relative_to(tmp_path).parts[:2] for file in tmp_path.rglob("*") if file.is_file()}
    assert written == {("data.jsonl",), ("wide.png",), ("cache", "pictures")}


def test_a_broken_torchvision_is_a_finding(
    miniature: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Processors cannot be imported then."""
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "adamms.engines.askable", None)
    target, donor = miniature / "target", miniature / "donor"
    data = tmp_path / "data.jsonl"
    data.write_text('{"question": "q"}\n')
    models = ["model=custom", f"model.target.path={target}", f"model.donors.a.path={donor}"]
    with pytest.raises(AdammsError, match=r"configuration: torchvision import$"):
        doctor(tmp_path, *models, "data=file", f"data.path={data}")
    assert "wrong  torchvision import: " in capsys.readouterr().out


def test_a_package_that_is_too_old_or_missing_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["torch>=2.7", "no-such-package>=1", "wandb>=0.20; extra == 'wandb'"]
    monkeypatch.setattr(packages, "_locked", dict)
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: wanted)
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda n: {"torch": "2.1.0"}.get(n) or real(n))
    found = {finding.subject: finding for finding in packages.packages()}
    assert found["torch"].state == BAD
    assert found["torch"].detail == "2.1.0; expected >=2.7"
    assert found["no-such-package"].state == BAD
    assert found["extra vllm"].state == ABSENT
    assert found["extra vllm"].advice == "pip install -e '.[vllm]'"


def test_a_package_of_another_version_than_the_locked_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    locked = packages._locked()
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: ["torch>=2.7", "PyYAML", "rich"])
    installed = {"torch": f"{locked['torch']}+cpu", "PyYAML": locked["pyyaml"], "rich": "99"}
    monkeypatch.setattr(packages, "installed_version", installed.get)
    found = {finding.subject: finding for finding in packages.packages()}
    assert found["torch"].detail == f"{locked['torch']}+cpu"
    assert found["PyYAML"].detail == locked["pyyaml"]
    assert found["rich"] == Finding("rich", GOOD, f"99 (locked: {locked['rich']})")


def test_who_is_logged_in_to_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "installed_version", lambda _: "1")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    assert environment.wandb().state == ABSENT
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password secret")
    assert environment.wandb().state == GOOD
    assert "secret" not in str(environment.wandb())


def answering(text: str, status: int = 0) -> Callable[..., object]:
    return lambda _: environment.subprocess.CompletedProcess([], status, text, "no controller")


def test_a_cluster_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(environment, "_run", answering("debug*   up  3 nodes\n"))
    assert environment.slurm() == Finding("SLURM", GOOD, "debug* up 3 nodes")
    monkeypatch.setattr(environment, "_run", answering("", status=1))
    found = environment.slurm()
    assert (found.state, found.detail) == (ABSENT, "sinfo: no controller")  # in nobody's way
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert environment.slurm().state == ABSENT


@pytest.mark.vllm
def test_the_real_vllm_says_what_it_runs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(environment, "SECONDS", 600)  # however busy the machine
    found = environment.vllm()
    assert found.state == GOOD
    assert re.match(r"\S+ on (cpu|cuda); candidates go in by its weight transfer", found.detail)


def test_a_pair_without_data_can_be_merged_and_is_told_what_a_search_needs(
    run: Callable[..., Outcome], talkative: Path, tmp_path: Path
) -> None:
    done = run("mode=doctor", *pair(talkative), f"output={tmp_path / 'out'}")
    assert done.status == 0, done.out
    assert "absent data: none is named; a search needs some  -> data=file data.path=FILE" in done.out
