"""The scores that logs have: which metric is a task's score, what its points are, what is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from configured import content

from adamms.app.config.build import build
from adamms.errors import AdammsError
from adamms.evaluate.logged import LoggedScores

SAMPLES = [
    {"doc_id": 0, "target": "a", "filtered_resps": ["a"], "acc": 1.0, "length": 3.0},
    {"doc_id": 1, "target": "b", "filtered_resps": ["a"], "acc": 0.0, "length": 5.0},
]


def logged(**own: Any) -> LoggedScores:
    made: LoggedScores = build(content("evaluate/logged")["logged"] | own, "evaluate.logged")
    return made


def write(folder: Path, metrics: dict[str, float]) -> Path:
    results = {"results": {"mine": {f"{name},none": value for name, value in metrics.items()}}}
    (folder / "1_results.json").write_text(json.dumps(results | {"config": {"model": "vllm"}}))
    log = folder / "1_samples_mine.jsonl"
    log.write_text("".join(json.dumps(sample) + "\n" for sample in SAMPLES))
    return log


def test_the_only_metric_is_the_score_and_samples_are_its_points(tmp_path: Path) -> None:
    found = logged().scores({"called": write(tmp_path, {"acc": 0.5})})
    assert found.tasks == {"called": 50.0}
    assert found.points == {"called": {"0": 1.0, "1": 0.0}}
    # A metric that is not the mean of its samples has no points.
    assert logged(best={"mine": 10}).scores({"mine": write(tmp_path, {"length": 7.0})}).points == {}


def test_old_logs_have_their_results_beside_them(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(
        json.dumps({"results": {"mine": {"acc,none": 0.5}}, "config": {"model": "llava"}})
    )
    log = tmp_path / "mine.json"
    log.write_text(json.dumps({"logs": SAMPLES}))
    found = logged().scores({"mine": log})
    assert (found.tasks, len(found.points["mine"])) == ({"mine": 50.0}, 2)


def test_what_is_no_score_is_said(tmp_path: Path) -> None:
    log = write(tmp_path, {"acc": 0.5, "length": 4.0})
    with pytest.raises(AdammsError, match=r"has acc, length of mine; expected one metric"):
        logged().scores({"mine": log})
    assert logged(metrics={"mine": ["acc"]}).scores({"mine": log}).tasks == {"mine": 50.0}
    with pytest.raises(AdammsError, match=r"metrics.mine has lenght, but .* Nearest: length"):
        logged(metrics={"mine": ["lenght"]}).scores({"mine": log})
    (tmp_path / "1_results.json").unlink()
    with pytest.raises(AdammsError, match=r"no 1_results\.json beside it"):
        logged().scores({"mine": log})


@pytest.mark.parametrize("text", ["model,mine\n0.1,high\n", "name,mine\n0.1,50\n"])
def test_published_scores_that_are_none_are_said(tmp_path: Path, text: str) -> None:
    file = tmp_path / "table.csv"
    file.write_text(text)
    with pytest.raises(AdammsError, match=r"published: .*table.csv: not a table of scores"):
        logged(published=file).published_scores()
    with pytest.raises(
        AdammsError, match=r"published: .*tabel.csv: no such folder or file. Nearest: table.csv"
    ):
        logged(published="tabel.csv").published_scores([tmp_path])
