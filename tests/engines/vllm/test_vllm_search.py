"""Whole searches with the real vLLM: several in one process, and answers of the checkpoint they write."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from command import STRANGERS, Outcome
from configured import configured
from configured_engines import vllm_engine
from strategies import chosen, paper
from test_vllm import real
from watch_jobs import NOTES

from adamms.engines.answer import texts
from adamms.merge.candidate import Candidate
from adamms.search.choice import Selection

ROOT = Path(__file__).resolve().parents[3]
GRID = (0.0, 0.2, 0.4, 0.6)
PER_TASK = 2
ENGINE = {"batch_size": 8, "max_new_tokens": 5, "cpu_kv_cache_gb": 1, "max_model_len": 256}
JOBS = 3
# What two more searches may add to a process that has done one. Without any engine they add up to 40 MB
# (Hydra, the allocator); an engine that stayed would add hundreds each.
GROWTH = 64 * 2**20


@dataclass(frozen=True)
class Multirun:
    """What a multirun of searches left: its jobs' folders in order, and the notes taken after each."""

    folders: list[Path]
    notes: list[dict[str, list[int] | int]]


@pytest.fixture(scope="module")
def multirun(talkative: Path, tmp_path_factory: pytest.TempPathFactory) -> Multirun:
    work = tmp_path_factory.mktemp("multirun")
    command = [
        *(sys.executable, str(ROOT / "run.py"), "-m", "model=custom", "engine=vllm", "evaluate=none"),
        STRANGERS,
        *(f"model.target.path={talkative}/target", f"model.donors.a.path={talkative}/donor"),
        *(f"search.grid={list(GRID)}", "search.samples=null", "search.resamples=20", "store=null"),
        *(f"data.per_task={PER_TASK}", f"cache={work}/cache", f"hydra.sweep.dir={work}/jobs"),
        *(f"engine.{key}={value}" for key, value in ENGINE.items()),
        "+hydra.callbacks.watch._target_=watch_jobs.Watch",
        f"search.seed={','.join(map(str, range(JOBS)))}",
    ]
    paths = [str(ROOT / "tests/support"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, paths)), NOTES: str(work / "notes")}
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    notes = [json.loads(line) for line in (work / "notes").read_text().splitlines()]
    return Multirun([work / "jobs" / str(job) for job in range(JOBS)], notes)


@real
class TestSearchesInOneProcess:
    def test_each_starts_one_engine_and_encodes_each_image_once(self, multirun: Multirun) -> None:
        assert len(multirun.notes) == JOBS
        for note in multirun.notes:
            assert len(note["engines"]) == 1
            assert note["encoded"] == [PER_TASK * 8]

    def test_no_process_is_left_over(self, multirun: Multirun) -> None:
        for note in multirun.notes:
            assert note["alive"] == note["children"] == []

    def test_memory_is_flat(self, multirun: Multirun) -> None:
        resident = [note["resident"] for note in multirun.notes]
        print("resident MB after each job:", [size >> 20 for size in resident])
        assert resident[-1] - resident[0] < GROWTH

    def test_all_chose_the_same(self, multirun: Multirun) -> None:
        answers = {(folder / "answers.jsonl").read_bytes() for folder in multirun.folders}
        assert len(answers) == 1


@real
def test_the_written_checkpoint_answers_as_the_search_was_told(multirun: Multirun, tmp_path: Path) -> None:
    """A fresh engine on it; and the choice is the paper's on the answers that were kept."""
    examples = configured("data/digits", folder=tmp_path / "digits", per_task=PER_TASK).load().examples
    folder = multirun.folders[0]
    lines = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
    answers = {Candidate(a): {line["id"]: line["answers"][f"{a:g}"] for line in lines} for a in GRID}
    assert len({json.dumps(given) for given in answers.values()}) == len(GRID)  # or it would say nothing
    tasks: dict[str, list[str]] = {}
    for example in examples:
        tasks.setdefault(example.task, []).append(example.id)
    selection = chosen(paper(resamples=20), answers, tasks)
    chose = Selection.from_json(json.loads((folder / "selection.json").read_text()))
    # The file does not say which answers were cut, which only the search knows.
    assert without_doubts(chose) == without_doubts(selection)
    with vllm_engine(folder / "model", **ENGINE) as engine:
        assert texts(dict(engine.generate(examples))) == answers[selection.overall.candidate]


def without_doubts(selection: Selection) -> Selection:
    tasks = {task: replace(choice, doubts=(), trust=None) for task, choice in selection.tasks.items()}
    return Selection(tasks, replace(selection.overall, doubts=(), trust=None))


@real
def test_the_recommended_search_finds_the_same_in_both_engines(
    run: Callable[..., Outcome], talkative: Path, tmp_path: Path
) -> None:
    """Donors, probabilities, and examples asked in several rounds; D within 1e-3 of its size.

    vLLM's half is a program, as users start it.
    """
    short = {"max_new_tokens": 3}  # so that answers of random models agree now and then

    def words(name: str, own: dict[str, Any]) -> list[str]:
        return [
            *("model=custom", f"engine={name}", "search=trusted", STRANGERS),
            *(f"model.target.path={talkative}/target", f"model.donors.a.path={talkative}/donor"),
            *(f"search.grid={[0.0, 0.001, 0.002, 0.003, 0.004, 0.3, 0.6]}", "search.samples=null"),
            *("search.resamples=20", "evaluate=none", "store=null", f"data.per_task={PER_TASK}"),
            *(f"cache={tmp_path}/cache", f"output={tmp_path / name}"),
            *(f"engine.{key}={value}" for key, value in own.items()),
        ]

    program = [sys.executable, str(ROOT / "run.py"), *words("vllm", ENGINE | short)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    same = run(*words("transformers", short | {"accelerator": "cpu"}))
    assert same.status == 0, same.err
    for said in (done.stdout, same.out):
        counts = re.findall(r"^search: (\d+) answers in", said, re.MULTILINE)
        assert len(counts) > 1
        assert sum(map(int, counts)) < 7 * 8 * PER_TASK  # bisection spared some
    vllm, transformers = (
        json.loads((tmp_path / name / "selection.json").read_text())["overall"]
        for name in ("vllm", "transformers")
    )
    assert vllm["alpha"] == transformers["alpha"]
    assert vllm["differences"] == pytest.approx(transformers["differences"], rel=1e-3)
