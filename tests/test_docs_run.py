"""The commands of the pages on a pair of one's own, run as they are written: A, B and C are tiny models.

`tests/test_docs.py` composes all commands. Not run here is what asks for published models, for vLLM, SLURM,
lmms-eval, W&B or logs, for other files, or for layers and relations that tiny models lack.
"""

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from command import Outcome, write_jsonl
from test_docs import PAGES, arguments, commands, name

ELSEWHERE = re.compile(
    r"engine=vllm|/shared|evaluate=lmms_eval|engine=replay|track=wandb|tern\.yaml|my_conf|LORA|Qwen/|layers:"
    r"|mode=explore|mode=compare|experiment=|mapper=discover|plan\.verify"
)
SMALL = ["engine.max_new_tokens=2", "engine.accelerator=cpu", "search.resamples=10"]
OF_A_MODEL = re.compile(r"mode\.folder=OUT/model|model_folder=OUT/model")


def runnable() -> Iterator[tuple[str, list[str]]]:
    """Page and overrides, each command once; those on the model that a merge has left come last."""
    found: dict[tuple[str, ...], str] = {}
    for page in (page for page in PAGES if page.stem != "changes"):
        for script, *command in commands(page):
            text = " ".join(command)
            own = "model.target.path=A" in text or OF_A_MODEL.search(text)
            if script == "run.py" and own and not ELSEWHERE.search(text):
                _, _, multirun, overrides = arguments(command)
                given = [each for each in overrides if not each.startswith("output=")]
                if not multirun:
                    found.setdefault(tuple(given), name(page))
    yield from sorted(
        ((page, list(given)) for given, page in found.items()),
        key=lambda each: OF_A_MODEL.search(" ".join(each[1])) is not None,
    )


def test_the_commands_on_a_pair_of_ones_own_run(
    run: Callable[..., Outcome], talkative: Path, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    for place, model in (("A", "target"), ("B", "donor"), ("C", "ancestor")):
        (work / place).symlink_to(talkative / model)
    asked = write_jsonl(work, per_task=2).read_text().replace('"task": "read"', '"task": "vqa"')
    (work / "questions.jsonl").write_text(asked)
    modes = set()
    every = list(runnable())
    assert len(every) > 15
    for number, (page, given) in enumerate(every):
        mode = next((each for each in given if each.startswith("mode=")), "mode=search")
        asks = mode in ("mode=search", "mode=evaluate")
        small = [*SMALL, *(["search.trials=4"] if "search=coefficients" in given else [])]
        output = [] if mode == "mode=push" else [f"output=OUT{number}"]
        done = run(*given, *output, *(small if asks else []))
        assert done.status == 0, f"{page}: {' '.join(given)}: {done.err}{done.out[-2000:]}"
        if mode == "mode=merge" and not (work / "OUT").exists():
            (work / "OUT").symlink_to(work / f"OUT{number}")
        modes.add(mode.partition("=")[2])
    assert modes == {"plan", "merge", "search", "evaluate", "doctor", "push", "extract"}


PARSERS: dict[str, Callable[[str], object]] = {
    "python": ast.parse,
    "yaml": yaml.safe_load,
    "bash": lambda text: subprocess.run(["bash", "-n"], input=text, text=True, check=True),
}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_code_is_well_formed(page: Path) -> None:
    text = page.read_text()
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for script in re.findall(r"^    (#!/bin/bash\n(?:    .*\n)+)", text, re.MULTILINE):
        blocks.append(("bash", re.sub("^    ", "", script, flags=re.MULTILINE)))
    for kind, block in blocks:
        if kind != "mermaid":
            PARSERS[kind](block)
