"""What a merge leaves beside the weights: which files come along, what is said of them, and how it loads."""

import json
from pathlib import Path

import pytest
import tiny
import torch
from command import pair
from safetensors.torch import load_file

from adamms.merge import kernel


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Two Llamas."""
    for seed, name in enumerate(("target", "donor")):
        tiny.save_llama(tmp_path / "models" / name, seed)
    return tmp_path / "models"


def test_a_model_of_text_alone_is_loaded_by_its_own_class(run, texts: Path, tmp_path: Path) -> None:
    done = run("mode=merge", *pair(texts), f"output={tmp_path / 'out'}")
    assert done.status == 0, done.err
    folder = tmp_path / "out/model"
    printed = done.out.splitlines()[-1]
    assert "import AutoModelForCausalLM;" in printed
    for code in (printed, (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]):
        names: dict[str, object] = {"folder": folder}
        exec(code, names)
        found = names["model"].state_dict()  # type: ignore[attr-defined]
        for name, tensor in load_file(folder / "model.safetensors").items():
            assert torch.equal(found[name], tensor)


def test_a_merge_without_compiled_passes_says_so(
    run, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "merging by torch's operations: the compiled passes, which are faster, are not built; install"
    for name in ("built", "not built"):
        done = run("mode=merge", *pair(texts), f"output={tmp_path / name}")
        assert done.status == 0, done.err
        assert (said in done.out) == (kernel.LIBRARY is None)
        monkeypatch.setattr(kernel, "LIBRARY", None)


def test_remote_code_is_announced(run, texts: Path, tmp_path: Path) -> None:
    (texts / "target/code").mkdir()
    for name in ("modeling_x.py", "code/visual.py"):
        (texts / "target" / name).write_text("raise SystemExit('it was run')")
    done = run("mode=merge", *pair(texts), f"output={tmp_path / 'out'}")
    assert done.status == 0, done.err
    said = "Python files of target will be copied as they are: code/visual.py, modeling_x.py"
    assert said in done.out
    card = (tmp_path / "out/model/README.md").read_text()
    assert "came along from `target`, as they were: `code/visual.py`, `modeling_x.py`" in card


def test_links_out_of_the_folder_are_left_out_and_told(run, texts: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (texts / "target/vocab.txt").symlink_to(secret)
    (texts / "target/README.md").symlink_to(secret)
    secret.write_text("---\nlicense: secret\n---\n")
    done = run("mode=merge", *pair(texts), f"output={tmp_path / 'out'}")
    assert done.status == 0, done.err
    assert f"warning: {texts / 'target'}: links out of the folder, or to nothing" in done.out
    assert "are not followed: vocab.txt. They will not be beside the merged model" in done.out
    assert f"Put the files themselves there: cp -rL {texts / 'target'} COPY" in done.out
    assert not (tmp_path / "out/model/vocab.txt").exists()
    assert "secret" not in (tmp_path / "out/model/README.md").read_text()


def test_a_config_that_is_elsewhere_is_an_error_with_a_way_on(run, texts: Path, tmp_path: Path) -> None:
    (texts / "target/config.json").rename(tmp_path / "config.json")
    (texts / "target/config.json").symlink_to(tmp_path / "config.json")
    done = run("mode=merge", *pair(texts), f"output={tmp_path / 'out'}")
    assert done.status == 2
    assert f"are not followed: config.json. Put the files themselves there: cp -rL {texts}" in done.err
    assert not (tmp_path / "out").exists()
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "llama"
