"""Examples that a model cannot be asked are told before anything is mapped; others are not looked at."""

import json
import shutil
from pathlib import Path

import pytest
from command import STRANGERS, pair, write_jsonl
from PIL import Image

from adamms.app.modes import search
from adamms.engines import askable
from adamms.engines.vllm import engine as vllm

SLOW = ["engine._target_=slow_engine.Slow", "search.grid=[0,0.5,1]", STRANGERS]


def unmapped(*_: object) -> None:
    raise AssertionError("the models were mapped")


def test_only_images_that_are_asked_about_are_decoded(
    run, miniature: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_jsonl(tmp_path, per_task=1, labels=False)
    line = json.loads(data.read_text().splitlines()[0]) | {"task": "one"}
    data.write_text("".join(json.dumps(line | {"id": str(i)}) + "\n" for i in range(500)))
    opened = []
    plain = askable.open_image
    monkeypatch.setattr(askable, "open_image", lambda file: opened.append(file) or plain(file))
    done = run(
        *("mode=search", *pair(miniature), *SLOW, "data=jsonl", f"data.path={data}", "search.samples=7"),
        f"output={tmp_path / 'out'}",
    )
    assert done.status == 0, done.err
    assert len(opened) == 7


@pytest.mark.parametrize(
    ("mode", "config", "message"),
    [
        ("search", None, "transformers cannot load its processor"),
        (
            "respond",
            '{"processor_class": "Unknown"}',
            "it has a tokenizer and no processor of images; copy proc",
        ),
    ],
)
def test_a_target_without_a_processor_shows_before_mapping(
    run,
    miniature: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    config: str | None,
    message: str,
) -> None:
    models = shutil.copytree(miniature, tmp_path / "models")
    (models / "target/processor_config.json").unlink()
    if config is not None:
        (models / "target/processor_config.json").write_text(config)
    monkeypatch.setattr(f"adamms.app.modes.{mode}.map_models", unmapped)
    done = run(
        *(f"mode={mode}", *pair(models), "data=jsonl", f"data.path={write_jsonl(tmp_path)}"),
        *("candidate=0.5", f"output={tmp_path / 'out'}"),
    )
    assert done.status == 2
    assert f"{models / 'target'}: " in done.err
    assert message in done.err


def test_a_missing_vllm_shows_before_mapping(
    run, miniature: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm, "find_spec", lambda _: None)
    monkeypatch.setattr(search, "map_models", unmapped)
    done = run(
        *("mode=search", *pair(miniature), "data=jsonl", f"data.path={write_jsonl(tmp_path)}"),
        *("engine=vllm", f"output={tmp_path / 'out'}"),
    )
    assert done.status == 2
    assert "engine=vllm needs vLLM: pip install" in done.err


def test_what_the_targets_processor_refuses_shows_before_mapping(
    run, miniature: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "map_models", unmapped)
    Image.new("RGB", (2000, 4)).save(tmp_path / "wide.png")
    data = write_jsonl(tmp_path)
    with data.open("a") as file:
        file.write("\n" + json.dumps({"question": "which?", "image": "wide.png", "task": "wide"}))
        file.write("\n" + json.dumps({"question": "<|vision_start|>", "task": "wide"}))
    done = run(
        "mode=search", *pair(miniature), "data=jsonl", f"data.path={data}", f"output={tmp_path / 'out'}"
    )
    assert done.status == 2
    told = done.err.splitlines()[-3:]
    assert told[0] == f"error: {miniature / 'target'} cannot be asked:"
    assert told[1].startswith(
        "  data.jsonl, line 25: the processor refuses the prompt with an image of 2000 x 4"
    )
    assert told[2].startswith("  data.jsonl, line 26: the question has '<|vision_start|>'")


def test_a_donor_that_cannot_be_asked_is_not_evaluated_and_the_line_is_named(
    run, miniature: Path, tmp_path: Path
) -> None:
    """The placeholder of the donor's images is a word to the target."""
    data = tmp_path / "data.jsonl"
    lines = [{"question": "largest digit", "answer": "7"}, {"question": "<image> digit", "answer": "7"}]
    data.write_text("\n".join(map(json.dumps, lines)))
    done = run(
        *("mode=search", *pair(miniature), *SLOW, "data=jsonl", f"data.path={data}"),
        f"output={tmp_path / 'out'}",
    )
    assert done.status == 0, done.err
    assert "a is not evaluated" in done.out
    assert "data.jsonl, line 2: the question has '<image>'" in done.out
    assert (tmp_path / "out/report.html").is_file()
