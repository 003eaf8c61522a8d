"""Under which settings a run is recorded that is given a model in a folder."""

from dataclasses import replace
from pathlib import Path

import tiny
import torch
from command import read_run

from adamms.app.given_model import subject
from adamms.report.trackers.tracker import Job


def test_overrides_of_models_that_are_not_there_are_left_out_and_the_folder_is_not(tmp_path: Path) -> None:
    folder = tiny.write_model(tmp_path / "model", {"a": torch.ones(1)})
    mine = ("data=jsonl", f"model_folder={folder}", "data.path=q.jsonl")
    others = ("model.target.path=A", "+search/signal=vote", "~merge.alpha", "search.grid=[0,0.1]")
    run = read_run("mode=evaluate", *mine, "evaluate=accuracy")
    settings, job = subject(replace(run, job=Job(overrides=(*mine, *others))))
    assert job.overrides == mine
    assert settings["model_folder"] == str(folder)
