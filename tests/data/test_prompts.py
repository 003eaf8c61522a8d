"""Prompts: which task has which, and what is said of those that cannot be meant."""

import json
from pathlib import Path
from typing import Any

import pytest
from configured import configured

from adamms.data.example import Dataset
from adamms.errors import AdammsError

OPEN, CHOICE = {"question": "Red?"}, {"question": "Which?", "options": ["red", "blue"]}


def asked(folder: Path, *lines: dict[str, Any], option: str = "jsonl", **values: Any) -> Dataset:
    file = folder / "data.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    data: Dataset = configured(f"data/{option}", path=str(file), pictures=file.parent, **values).load()
    return data


@pytest.mark.parametrize(
    ("name", "benchmark"),
    [
        *(("gqa_lite", "gqa"), ("MME", "mme"), ("ocrbench", "ocrbench"), ("seedbench_lite", "seedbench")),
        *((f"textvqa_{split}", "textvqa") for split in ("val", "test", "val_lite")),
        *((name, "okvqa") for name in ("ok_vqa", "ok_vqa_val2014", "ok_vqa_val2014_lite")),
        *((name, "vizwiz") for name in ("vizwiz_vqa", "vizwiz_vqa_val", "vizwiz_vqa_test")),
        *((name, "mmmu") for name in ("mmmu_val", "mmmu_test", "MMMU_val")),
    ],
)
def test_tasks_named_as_lmms_eval_names_them_have_the_benchmarks_prompts(
    name: str, benchmark: str, tmp_path: Path
) -> None:
    line = CHOICE if benchmark == "seedbench" else OPEN
    lines = [line | {"task": name}, line | {"task": benchmark}]
    data = asked(tmp_path, *lines, option="benchmarks")
    assert data.examples[0].question == data.examples[1].question
    assert data.examples[0].task == name
    assert data.notes == ()


def test_a_task_without_a_prompt_among_tasks_with_one_is_told(tmp_path: Path) -> None:
    data = asked(tmp_path, OPEN | {"task": "texvqa"}, OPEN | {"task": "mme"}, option="benchmarks")
    (note,) = data.notes
    assert note.startswith(
        "the task 'texvqa' has no prompt in data.prompts and gets data.prompt. Nearest: textvqa"
    )
    assert data.examples[0].question == "Red?"


def test_a_task_whose_lines_have_options_needs_a_choice_prompt(tmp_path: Path) -> None:
    (note,) = asked(tmp_path, CHOICE | {"task": "gqa"}, option="benchmarks").notes
    assert note.startswith("the task 'gqa' has no prompt in data.choice_prompts and gets data.choice_prompt.")


def test_many_tasks_without_a_prompt_are_counted(tmp_path: Path) -> None:
    lines = [OPEN | {"task": f"t{number}"} for number in range(10)]
    notes = asked(tmp_path, *lines, prompts={"t0": "{question}"}).notes
    assert notes[-1] == "so do 1 more tasks"
    assert asked(tmp_path, *lines).notes == ()


def test_a_prompt_for_a_task_that_no_line_has_is_refused(tmp_path: Path) -> None:
    for option in ("jsonl", "benchmarks"):
        prompts = {"tetxvqa": "{question} Shortly."}
        with pytest.raises(
            AdammsError, match=r"data\.prompts\.tetxvqa: no line has .* are textvqa\. Nearest: textvqa"
        ):
            asked(tmp_path, OPEN | {"task": "textvqa"}, option=option, prompts=prompts)


def test_a_prompt_for_lines_without_options_is_refused_where_all_have_some(tmp_path: Path) -> None:
    prompts = {"vqa": "{question} Shortly."}
    with pytest.raises(
        AdammsError, match=r"data\.prompts\.vqa: all .* have options: data\.choice_prompts\.vqa is"
    ):
        asked(tmp_path, CHOICE | {"task": "vqa"}, prompts=prompts)
    with pytest.raises(
        AdammsError, match=r"choice_prompts\.vqa: all .* have no options: data\.prompts\.vqa is"
    ):
        asked(tmp_path, OPEN | {"task": "vqa"}, choice_prompts={"vqa": "{question} {options}"})


def test_places_that_are_not_filled_are_told(tmp_path: Path) -> None:
    notes = asked(tmp_path, OPEN, prompt="{question} {Question} { options } {} {a: 1}").notes
    assert notes == (
        "data.prompt: {Question} stays as it is; only {question} is filled in",
        "data.prompt: { options } stays as it is; only {question} is filled in",
    )
