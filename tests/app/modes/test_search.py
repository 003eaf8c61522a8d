"""mode=search when something fails after the choice: what was found is written, and what failed is told."""

import json
from collections.abc import Callable
from pathlib import Path

import failing_engine
import pytest
from command import Outcome, pair
from page_text import Page

Run = Callable[..., Outcome]
LEFT = [
    *(".hydra", "answers.jsonl", "config.yaml", "model", "plan.json"),
    *("report.html", "result.json", "run.log", "selection.json"),
]


@pytest.fixture
def search(run: Run, talkative: Path, tmp_path: Path) -> Run:
    """Search among unlabelled questions, with one labelled one, "last"."""
    lines = [{"id": str(number), "question": f"q{number}"} for number in range(4)]
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(map(json.dumps, [*lines, {"id": "last", "question": "q", "answer": "a"}])))
    settings = ["engine._target_=failing_engine.Failing", "search.samples=4", "search.grid=[0,0.3,0.6]"]
    # Of five examples the seed draws the four that are not labelled.
    settings += [
        "data=jsonl",
        f"data.path={data}",
        "search.seed=3",
        "store=null",
        f"output={tmp_path / 'out'}",
    ]

    def call(*overrides: str) -> Outcome:
        return run("mode=search", *pair(talkative), *settings, *overrides)

    return call


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        ("donor:last:sentence", "example 'x' is refused"),
        ("donor:last:runtime", "RuntimeError: CUDA error: an illegal memory access"),
        ("donor:last:gpu memory", "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"),
        ("donor:start:memory", "MemoryError"),
    ],
)
def test_a_donor_that_fails_is_not_evaluated_and_all_else_is(
    search: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str, said: str
) -> None:
    """It starts after the target's engine has ended: one GPU may hold but one model."""
    monkeypatch.setenv(failing_engine.WHERE, fails)
    done = search()
    assert done.status == 0, done.err
    sentence = f"the donor a is not evaluated: {said}"
    assert f"warning: {sentence}" in " ".join(done.out.split())
    evaluation = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert set(evaluation["candidates"]) == {"0", "0.1", "0.3", "0.6"}
    assert evaluation["donors"] == {}
    assert sentence in Page(tmp_path / "out/report.html").text


def test_donors_that_start_are_evaluated(search: Run, tmp_path: Path) -> None:
    assert search().status == 0
    assert list(json.loads((tmp_path / "out/evaluation.json").read_text())["donors"]) == ["a"]


@pytest.mark.parametrize("kind", ["sentence", "gpu memory", "index"])
def test_an_evaluation_that_fails_loses_nothing(
    search: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv(failing_engine.WHERE, f"target:last:{kind}")
    done = search()
    assert done.status == 2
    assert "Traceback" not in done.err
    assert done.err.startswith("error: the models are not evaluated: ")
    assert done.err.endswith(f". All else is in {tmp_path / 'out'}\n")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == LEFT
    page = Page(tmp_path / "out/report.html").text
    assert "Chosen without labels" in page
    assert "the models are not evaluated: " in page
    assert len((tmp_path / "out/answers.jsonl").read_text().splitlines()) >= 4


def test_an_evaluation_whose_swaps_are_not_proven_is_none(
    search: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(failing_engine.WHERE, "target:last:deaf")
    out, store = tmp_path / "out", tmp_path / "store"
    done = search(f"store={store}")
    assert done.status == 2
    said = (
        "the models are not evaluated: engine: back at alpha 0, the live model is not the target: 1 (alpha)"
    )
    assert done.err.startswith(f"error: {said}")
    assert sorted(file.name for file in out.iterdir()) == LEFT
    result = json.loads((out / "result.json").read_text())
    assert result["failure"].startswith(said)
    assert result["selection"]
    assert not result["evaluation"]
    ids = [json.loads(line)["id"] for line in (out / "answers.jsonl").read_text().splitlines()]
    assert ids == ["0", "1", "2", "3"]
    kept = [line for file in store.rglob("*-checked.jsonl") for line in file.read_text().splitlines()]
    assert len(kept) == 3 * 4  # what the search has proven


@pytest.mark.parametrize("model", ["target", "donor"])
def test_ctrl_c_is_no_failure(
    search: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.setenv(failing_engine.WHERE, f"{model}:last:interrupt")
    done = search()
    assert (done.status, done.err) == (1, "")
    assert not (tmp_path / "out/report.html").exists()
    assert (tmp_path / "out/model").exists()
