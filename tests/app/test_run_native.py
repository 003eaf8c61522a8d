"""A whole search with a target that only adamms can run, as the command line composes it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import native_models as native
import numpy as np
import pytest
from command import start_run as search
from PIL import Image

from adamms.errors import AdammsError

TARGETS: dict[str, Callable[..., Path]] = {"cogvlm": native.save_cogvlm}


def write_data(folder: Path) -> Path:
    lines = []
    for i in range(8):
        values = np.random.default_rng(i).integers(0, 256, (14, 14, 3), dtype=np.uint8)
        Image.fromarray(values).save(folder / f"{i}.png")
        record = {"id": str(i), "task": "a" if i < 5 else "b", "question": f"what is {native.WORDS[i]}"}
        record |= {"answer": "digit"} | ({} if i == 4 else {"image": f"{i}.png"})
        lines.append(json.dumps(record))
    file = folder / "data.jsonl"
    file.write_text("\n".join(lines))
    return file


@pytest.fixture(params=TARGETS)
def command(tmp_path: Path, request: pytest.FixtureRequest) -> list[str]:
    TARGETS[request.param](tmp_path / "target", seed=1)
    native.save_llava(tmp_path / "donor", seed=2)
    return [
        *("model=custom", f"model.target.path={tmp_path / 'target'}"),
        *(f"model.donors.a.path={tmp_path / 'donor'}", f"cache={tmp_path / 'cache'}"),
        *("data=jsonl", f"data.path={write_data(tmp_path)}", f"output={tmp_path / 'out'}"),
        *("engine.accelerator=cpu", "engine.max_new_tokens=3", "search.grid=[0,0.3,0.6,0.9]"),
    ]


def test_the_search_ends_with_a_model_that_runs_like_the_target(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = native.save_tokenizer(tmp_path / "tokenizer")
    own = [f"model.target.tokenizer={tokenizer}", "model.target.chat_template=vqa"]
    search(*command, *own)
    said = " ".join(capsys.readouterr().out.split())
    assert "the donor a is not evaluated" in said
    assert "from adamms.models.registration import load_model; model = load_model(" in said
    selection = json.loads((tmp_path / "out/selection.json").read_text())
    assert set(selection["tasks"]) == {"a", "b"}
    assert sum(selection["overall"]["differences"].values()) > 0
    evaluation = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert set(evaluation["candidates"]) == {"0", "0.1", "0.3", "0.6", "0.9"}
    model = tmp_path / "out/model"
    card = (model / "README.md").read_text()
    assert "from adamms.models.registration import load_model\n\nmodel = load_model(folder)" in card
    assert (model / "config.json").read_bytes() == (tmp_path / "target/config.json").read_bytes()

    # The written model as the target of another search: its alpha 0 answers as the winner did.
    search(*command, *own, f"model.target.path={model}", f"output={tmp_path / 'again'}", "evaluate=none")
    first, second = (
        [json.loads(line)["answers"] for line in (tmp_path / out / "answers.jsonl").read_text().splitlines()]
        for out in ("out", "again")
    )
    winner = f"{selection['overall']['alpha']:g}"
    assert [answers[winner] for answers in first] == [answers["0"] for answers in second]
    assert [answers["0"] for answers in first] != [answers["0"] for answers in second]


def test_a_native_donor_is_evaluated_with_a_tokenizer_of_its_own(command: list[str], tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "target", tmp_path / "other")
    tokenizer = native.save_tokenizer(tmp_path / "tokenizer")
    donor = [f"model.donors.a.path={tmp_path / 'other'}", f"model.donors.a.tokenizer={tokenizer}"]
    search(*command, *donor, f"model.target.tokenizer={tokenizer}")
    evaluation = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert set(evaluation["donors"]) == {"a"}


def test_without_a_tokenizer_the_key_is_named_and_nothing_is_written(
    command: list[str], tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    for extra, message in (
        ([], r"target: there is no tokenizer in it\. Name one.*model\.target\.tokenizer="),
        ([f"model.target.tokenizer={gone}"], rf"model\.target\.tokenizer: {gone}: no such folder"),
    ):
        with pytest.raises(AdammsError, match=message):
            search(*command, *extra)
        assert not (tmp_path / "out").exists()
