"""What a run finds in its output folder: links, damaged files, a model of before."""

import json
import os
import shutil
from pathlib import Path

import pytest
from command import pair

pytestmark = pytest.mark.long


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def models(talkative: Path, tmp_path: Path) -> Path:
    """Target and donor, to be damaged."""
    for name in ("target", "donor"):
        shutil.copytree(talkative / name, tmp_path / "models" / name)
    return tmp_path / "models"


@pytest.fixture
def merge(run, models: Path, tmp_path: Path):
    """Merge into OUT."""
    return lambda *more: run("mode=merge", *pair(models), f"output={tmp_path / 'out'}", *more)


@pytest.mark.parametrize("place", [".model.partial", "model"])
@pytest.mark.parametrize("whose", ["target", "donor", "nobody"])
def test_links_in_the_output_folder_never_lead_to_a_model(
    merge, models: Path, tmp_path: Path, place: str, whose: str
) -> None:
    before = contents(models)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / place).symlink_to(models / whose)
    done = merge()
    assert contents(models) == before
    if place == "model":
        assert (done.status, "exists already" in done.err) == (2, True)
    else:
        assert done.status == 0, done.err
        assert not (tmp_path / "out/model").is_symlink()


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_files_of_the_target_under_the_outputs_names_keep_their_content(
    merge, models: Path, tmp_path: Path, link
) -> None:
    """As a folder that was copied with `cp -rl` or `ln -s` has them."""
    names = ("config.yaml", "plan.json", "result.json", "report.html")
    (tmp_path / "out").mkdir()
    for name in names:
        link(models / "target/config.json", tmp_path / "out" / name)
    before = contents(models)
    assert merge().status == 0
    assert contents(models) == before
    # Again, the model's card and picture are written into a folder that is kept.
    (tmp_path / "out/model/README.md").unlink()
    link(models / "target/config.json", tmp_path / "out/model/README.md")
    assert merge().status == 0
    assert contents(models) == before


def test_an_output_inside_a_model_is_refused(run, models: Path, tmp_path: Path) -> None:
    before = contents(models)
    (tmp_path / "link").symlink_to(models)
    for place in (models / "target/out", models / "donor", tmp_path / "link/target/a/b"):
        done = run("mode=merge", *pair(models), f"output={place}")
        assert done.status == 2
        assert "would become a part of that model; choose another output" in done.err
    assert contents(models) == before


DAMAGES = {
    "torn shard": lambda out: os.truncate(out / "model/model.safetensors", 5000),
    "no shard": lambda out: (out / "model/model.safetensors").unlink(),
    "zeros": lambda out: _zeros(out / "model/model.safetensors"),
    "another config": lambda out: (out / "model/config.json").write_text('{"model_type": "llama"}'),
    "torn config": lambda out: os.truncate(out / "model/config.json", 9),
    "no config": lambda out: (out / "model/config.json").unlink(),
    "torn recipe": lambda out: os.truncate(out / "model/adamms_recipe.json", 99),
    "recipe of bytes": lambda out: (out / "model/adamms_recipe.json").write_bytes(b"\xff\x00"),
    "recipe of a list": lambda out: (out / "model/adamms_recipe.json").write_text("[]"),
    "no recipe": lambda out: (out / "model/adamms_recipe.json").unlink(),
    "recipe in a dangling link": lambda out: _dangling(out / "model/adamms_recipe.json"),
    "recipe in a folder": lambda out: _folder(out / "model/adamms_recipe.json"),
    "shard in a dangling link": lambda out: _dangling(out / "model/model.safetensors"),
}


def _zeros(file: Path) -> None:
    """As after a loss of power: the right size, nothing in it."""
    raw = file.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    file.write_bytes(raw[:start] + bytes(len(raw) - start))


def _dangling(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def test_a_model_is_kept_only_if_it_is_as_it_was_written(merge, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert merge().status == 0
    whole = contents(out / "model")
    for name, damage in DAMAGES.items():
        damage(out)
        done = merge()
        assert done.status == 2, name
        assert "it is not whole any more; remove it, and the same command writes it again" in done.err, name
        shutil.rmtree(out / "model")
        done = merge()
        assert done.status == 0, name
        assert contents(out / "model") == whole, name
    done = merge()
    assert "was written by this run before; it is kept" in done.out


@pytest.mark.parametrize("text", [b"", b"mode:", b"\xff\x00"])
def test_a_damaged_configuration_in_the_output_is_told(merge, tmp_path: Path, text: bytes) -> None:
    assert merge().status == 0
    (tmp_path / "out/config.yaml").write_bytes(text)
    done = merge()
    assert done.status == 2
    assert "exists already; choose another output, or remove it" in done.err
    shutil.rmtree(tmp_path / "out/model")
    assert merge().status == 0
    assert "mode:" in (tmp_path / "out/config.yaml").read_text()


@pytest.mark.parametrize("name", ["plan.json", "result.json", "report.html"])
def test_a_file_that_cannot_be_written_is_named_and_the_model_is_kept(
    merge, tmp_path: Path, name: str
) -> None:
    (tmp_path / "out" / name / "in the way").mkdir(parents=True)
    done = merge()
    assert done.status == 2
    assert f"{name}: cannot be written (Is a directory)" in done.err
    assert "Traceback" not in done.err
    (tmp_path / "out" / name / "in the way").rmdir()
    (tmp_path / "out" / name).rmdir()
    assert "it is kept" in merge().out
    assert (tmp_path / "out" / name).is_file()


def test_a_name_that_is_too_long_is_told(run, models: Path, tmp_path: Path) -> None:
    done = run("mode=merge", *pair(models), f"output={tmp_path / ('n' * 300)}")
    assert done.status == 2
    assert "nnn: cannot be read (File name too long)" in done.err
    assert "Traceback" not in done.err


def test_the_recipe_says_what_was_written(merge, tmp_path: Path) -> None:
    assert merge().status == 0
    record = json.loads((tmp_path / "out/model/adamms_recipe.json").read_text())
    assert set(record["written"]) == {"weights", "other_files"}
