"""mode=push: what is checked, the dry run, and what the hub's client is asked to do."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from command import start_run as run

from adamms.errors import AdammsError


@pytest.fixture(scope="module")
def merged(miniature: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("push") / "out"
    pair = (f"model.target.path={miniature / 'target'}", f"+model.donors.a.path={miniature / 'donor'}")
    run("mode=merge", "model=custom", "merge.alpha=0.5", f"output={output}", f"cache={output}.cache", *pair)
    return output


def test_the_dry_run_lists_every_file_and_asks_nobody(
    merged: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", None)
    run("mode=push", f"mode.folder={merged / 'model'}", "mode.repo=me/merged", "mode.dry_run=true")
    said = capsys.readouterr().out
    for path in (merged / "model").iterdir():
        assert path.name in said
    assert "would go to me/merged (private)" in said


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["mode.repo=me/m"], r"mode.folder has no value; give it as mode.folder=..."),
        (["mode.folder=OUT/model"], r"mode.repo has no value"),
        (["mode.folder=OUT/model", "mode.repo=merged"], r"mode.repo is 'merged'; expected owner/name"),
        (["mode.folder=OUT", "mode.repo=me/m"], r"it is no merged model. Did you mean .*model\?"),
        (["mode.folder=OUT/nothing", "mode.repo=me/m"], r"out/nothing: no such folder or file"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_sent(
    merged: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(AdammsError, match=message):
        run("mode=push", *(text.replace("OUT", str(merged)) for text in overrides))


def test_nothing_is_sent_that_is_elsewhere(merged: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    link = merged / "model/vocab.txt"
    link.symlink_to(tmp_path / "secret")
    with pytest.raises(AdammsError, match=r"vocab\.txt is a link out of the folder; put the file itself"):
        run("mode=push", f"mode.folder={merged / 'model'}", "mode.repo=me/m", "mode.dry_run=true")
    link.unlink()


def test_nobody_logged_in(merged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(AdammsError, match="hf auth login"):
        run("mode=push", f"mode.folder={merged / 'model'}", "mode.repo=me/m")


def test_the_client_makes_the_repository_and_sends_the_folder(
    merged: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The client stands in for the hub: no test may write there."""
    asked: dict[str, Any] = {}

    class Client:
        def create_repo(self, repo: str, **settings: Any) -> None:
            asked["create"] = (repo, settings)

        def upload_folder(self, **settings: Any) -> SimpleNamespace:
            asked["upload"] = settings
            return SimpleNamespace(repo_url="https://hub/me/m")

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "t")
    monkeypatch.setattr(huggingface_hub, "HfApi", Client)
    run("mode=push", f"mode.folder={merged / 'model'}", "mode.repo=me/m", "mode.private=false")
    assert asked["create"] == ("me/m", {"private": False, "exist_ok": True})
    assert asked["upload"]["folder_path"] == merged / "model"
    assert "https://hub/me/m" in capsys.readouterr().out
