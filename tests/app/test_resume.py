"""Searches that are killed, and jobs that fill a store for a search to come: nothing is asked twice."""

import json
import multiprocessing
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import slow_engine
from command import start_run
from slow_engine import noted, processes

from adamms.errors import AdammsError

pytestmark = pytest.mark.long

ROOT = Path(__file__).resolve().parents[2]
GRID = (0.0, 0.2, 0.4, 0.6)
PER_TASK, TASKS, BATCH = 3, 8, 4
ASKED = len(GRID) * PER_TASK * TASKS


def settings(models: Path, work: Path, output: str) -> list[str]:
    """A search over 24 examples and 4 candidates with the slow engine."""
    return [
        *(
            "model=custom",
            f"model.target.path={models / 'target'}",
            f"model.donors.a.path={models / 'donor'}",
        ),
        *(f"cache={work}", f"output={work / output}", f"search.grid={list(GRID)}", "search.resamples=10"),
        *("search.samples=null", f"data.per_task={PER_TASK}", f"data.folder={models / 'images'}"),
        *("engine._target_=slow_engine.Slow", f"engine.batch_size={BATCH}", "evaluate=none"),
    ]


@pytest.fixture(scope="module")
def run(talkative: Path) -> Callable[..., Path]:
    """Start a search in a process of its own; wait for it or kill it; return where its work is noted."""
    context = processes()

    def call(work: Path, output: str, kill_after: float | None = None, seconds: float = 0.0) -> Path:
        log = work / f"{output}.log"
        job = context.Process(
            target=slow_engine.search, args=(settings(talkative, work, output), log, seconds)
        )
        job.start()
        if kill_after is not None:
            while job.is_alive() and not log.exists():
                time.sleep(0.001)
            time.sleep(kill_after)
            job.kill()
        job.join()
        assert job.exitcode == (0 if kill_after is None else -signal.SIGKILL)
        return log

    return call


def selection(work: Path, output: str) -> bytes:
    return (work / output / "selection.json").read_bytes()


@pytest.fixture(scope="module")
def undisturbed(run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    work = tmp_path_factory.mktemp("undisturbed")
    assert len(noted(run(work, "out"))) == ASKED
    return selection(work, "out")


def test_killed_at_eight_moments_it_goes_on_where_it_was(run, undisturbed: bytes, tmp_path: Path) -> None:
    """Each kill hits a search of its own, at a moment anywhere between its first and its last batch."""
    rng = random.Random(0)
    pause = 0.02
    length = pause * ASKED / BATCH
    lost = Counter[int]()
    for trial in range(8):
        work = tmp_path / str(trial)
        work.mkdir()
        before = noted(run(work, "killed", kill_after=rng.uniform(0, length), seconds=pause))
        assert not (work / "killed/selection.json").exists()
        after = noted(run(work, "out"))
        assert set(before) | set(after) == set(noted_everything(before, after))
        again = set(before) & set(after)
        assert len(again) <= BATCH
        assert again <= set(before[-BATCH:])  # the batch in flight
        assert len(before) + len(after) == ASKED + len(again)
        assert selection(work, "out") == undisturbed
        lost[len(again)] += 1
    print("answers generated again -> searches:", dict(lost))


def noted_everything(
    before: list[tuple[float, str]], after: list[tuple[float, str]]
) -> list[tuple[float, str]]:
    """Every candidate with every example that either run worked on."""
    examples = {example for _, example in (*before, *after)}
    assert len(examples) == PER_TASK * TASKS
    return [(alpha, example) for alpha in GRID for example in examples]


def test_killed_again_and_again_it_ends_all_the_same(run, undisturbed: bytes, tmp_path: Path) -> None:
    rng = random.Random(1)
    begun: list[tuple[float, str]] = []
    for attempt in range(3):
        begun += noted(run(tmp_path, f"killed{attempt}", kill_after=rng.uniform(0, 0.09), seconds=0.02))
    begun += noted(run(tmp_path, "out"))
    assert len(begun) - len(set(begun)) <= 3 * BATCH
    assert len(set(begun)) == ASKED
    assert selection(tmp_path, "out") == undisturbed


def test_four_searches_at_once_share_a_store(
    run, undisturbed: bytes, talkative: Path, tmp_path: Path
) -> None:
    context = processes()
    jobs = [
        context.Process(
            target=slow_engine.search,
            args=(settings(talkative, tmp_path, f"out{n}"), tmp_path / f"{n}.log", 0.01),
        )
        for n in range(4)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0] * 4
    assert {selection(tmp_path, f"out{n}") for n in range(4)} == {undisturbed}
    assert noted(run(tmp_path, "later")) == []


def test_the_real_engine_killed_twice_selects_the_same(talkative: Path, tmp_path: Path) -> None:
    context = processes()

    def start(work: str, output: str) -> "multiprocessing.process.BaseProcess":
        given = [s for s in settings(talkative, tmp_path / work, output) if not s.startswith("engine.")]
        own = ["engine.batch_size=2", "engine.max_new_tokens=6", "engine.accelerator=cpu"]
        (tmp_path / work).mkdir(exist_ok=True)
        log = tmp_path / work / f"{output}.log"
        job = context.Process(target=slow_engine.search, args=([*given, *own], log, 0.0))
        job.start()
        return job

    def kept(work: str) -> int:
        files = (tmp_path / work / "answers").rglob("*.jsonl")
        return sum(len(file.read_bytes().splitlines()) for file in files)

    def finish(work: str) -> None:
        job = start(work, "out")
        job.join()
        assert job.exitcode == 0
        assert kept(work) == ASKED

    finish("whole")
    for attempt, enough in enumerate((5, 45)):
        job = start("killed", f"killed{attempt}")
        while kept("killed") < enough and job.is_alive():
            time.sleep(0.002)
        job.kill()
        job.join()
        assert job.exitcode == -signal.SIGKILL
        assert enough <= kept("killed") < ASKED
    finish("killed")  # with nothing in the store twice: an answer that was given had been kept
    assert selection(tmp_path / "killed", "out") == selection(tmp_path / "whole", "out")


class TestRespond:
    @staticmethod
    def call(mode: str, overrides: list[str]) -> None:
        start_run(*overrides, f"mode={mode}")

    def test_a_search_after_it_generates_nothing(
        self, talkative: Path, undisturbed: bytes, tmp_path: Path
    ) -> None:
        for alpha in reversed(GRID):
            self.call("respond", [*settings(talkative, tmp_path, f"at{alpha}"), f"candidate={alpha}"])
            made = sorted((tmp_path / f"at{alpha}").iterdir())
            assert [file.name for file in made] == [".hydra", "respond.json", "run.log"]
            assert json.loads(made[1].read_text()) == {"candidate": alpha, "found": 0, "generated": 24}
        broken = "engine._target_=slow_engine.Broken"
        self.call("search", [*settings(talkative, tmp_path, "out"), broken])
        assert selection(tmp_path, "out") == undisturbed
        self.call("respond", [*settings(talkative, tmp_path, "again"), broken, "candidate=0.2"])
        counts = json.loads((tmp_path / "again/respond.json").read_text())
        assert counts == {"candidate": 0.2, "found": 24, "generated": 0}

    def test_what_the_evaluation_needs_is_there_too(self, talkative: Path, tmp_path: Path) -> None:
        more = [
            *("evaluate=accuracy", "evaluate.control=true", "evaluate.donors=false", "search.samples=1"),
            f"model.ancestor.path={talkative / 'ancestor'}",
        ]
        for alpha in (*GRID, 0.1):  # 0.1 is a reference that is always reported
            self.call(
                "respond", [*settings(talkative, tmp_path, f"at{alpha}"), *more, f"candidate={alpha:g}"]
            )
            counts = json.loads((tmp_path / f"at{alpha}/respond.json").read_text())
            assert counts == {"candidate": alpha, "found": 0, "generated": 48}
        broken = "engine._target_=slow_engine.Broken"
        self.call("search", [*settings(talkative, tmp_path, "out"), *more, broken])
        evaluation = json.loads((tmp_path / "out/evaluation.json").read_text())
        assert set(evaluation["candidates"]) == {"0", "0.1", "0.2", "0.4", "0.6"}
        assert set(evaluation["control"]) == set(evaluation["candidates"])

    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            (["candidate=1.5"], r"candidate is 1\.5; expected a number in \[0, 1\]"),
            (["candidate=-0.1"], r"candidate is -0\.1; expected a number"),
            (["candidate=much"], r"candidate is 'much'; expected a number"),
            ([], r"mode=respond needs a candidate"),
            (["candidate=true"], r"candidate is True; expected a number"),
            (["candidate=nan"], r"candidate is nan; expected a number"),
            (["candidate=0.3", "store=null"], r"store=null; give a folder"),
        ],
    )
    def test_bad_input_is_said_before_any_work(
        self, talkative: Path, tmp_path: Path, overrides: list[str], message: str
    ) -> None:
        with pytest.raises(AdammsError, match=message):
            self.call("respond", [*settings(talkative, tmp_path, "out"), *overrides])
        assert not (tmp_path / "out").exists()

    def test_nobody_else_needs_a_store(self, talkative: Path, undisturbed: bytes, tmp_path: Path) -> None:
        self.call("search", [*settings(talkative, tmp_path, "out"), "store=null"])
        assert selection(tmp_path, "out") == undisturbed
        assert not (tmp_path / "answers").exists()
