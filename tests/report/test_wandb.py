"""Runs in the real wandb, offline: begun, told, ended; their files are read back."""

import base64
import builtins
import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import wandb_files
from films import film
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from wandb_files import OfflineRun, offline_runs

from adamms.data.example import Example, Video
from adamms.errors import AdammsError
from adamms.evaluate.evaluation import Evaluation
from adamms.evaluate.foreign.results import Metric, Sample, ToolResults
from adamms.merge.candidate import Candidate
from adamms.report.answered import Answered
from adamms.report.result import Result, StageTiming
from adamms.report.trackers import metrics
from adamms.report.trackers.tracker import Job
from adamms.report.trackers.wandb import Wandb
from adamms.report.trackers.wandb_record import WandbRecord

DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(("entity", "group", "name", "tags", "notes")),
    **{"mode": "offline", "project": "adamms", "image_size": 512, "checksum": False},
}
JOB = Job({"model": "demo", "merge": "linear", "engine": "transformers"}, ("search.rule=sum",))


def tracker(folder: Path, **arguments: Any) -> Wandb:
    return Wandb(folder=folder, **DEFAULTS | arguments)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wandb_files.separate(monkeypatch, tmp_path)


def settings(folder: Path, **others: object) -> dict[str, Any]:
    model = {"target": {"path": "org/target", "revision": "v1"}, "donors": {"a": {"path": str(folder)}}}
    return {
        "mode": {"name": "search"},
        "model": model,
        "output": str(folder),
        "merge": {"alpha": 0.3},
        "search": {"signal": {"_target_": "adamms.search.signals.consistency.Consistency", "rule": "sum"}},
    } | others


@pytest.fixture
def told(tmp_path: Path) -> Callable[..., OfflineRun]:
    """Record a result in a run and read it back."""

    def tell(result: Result | None, **arguments: Any) -> OfflineRun:
        with tracker(tmp_path / "out", **arguments).run(settings(tmp_path / "out"), JOB, print) as record:
            if result is not None:
                record(result)
        (run,) = offline_runs(tmp_path / "out")
        return run

    return tell


def answered(folder: Path) -> tuple[Answered, ...]:
    """A question with a large photograph, one with a small picture, one without any."""
    folder.mkdir(exist_ok=True)
    Image.effect_noise((900, 600), 50).save(folder / "large.bmp")
    Image.new("RGB", (32, 32), "red").save(folder / "small.png")
    files = {"a": folder / "large.bmp", "b": folder / "small.png", "c": None}
    candidates = [Candidate(0.0), Candidate(0.5)]
    return tuple(
        Answered(Example(name, "read", f"question {name}", image), dict.fromkeys(candidates, "yes"), label)
        for (name, image), label in zip(files.items(), ("yes", None, None), strict=True)
    )


def output(folder: Path, result: Result) -> Result:
    """What a search leaves, as far as the tracker looks at it."""
    for name in (
        "plan.json",
        "selection.json",
        "evaluation.json",
        "config.yaml",
        "report.html",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    model = folder / "model"
    model.mkdir()
    (model / "adamms_recipe.json").write_text(json.dumps({"fingerprint": "f00", "coefficients": {"a": 0.5}}))
    (model / "model.safetensors").write_bytes(b"weights")
    return replace(result, folder=model, answered=())


def end_service() -> None:
    """Send SIGTERM to the service that wandb has started for this process, and wait until it is gone."""
    stats = [file.read_text() for file in Path("/proc").glob("[0-9]*/stat")]
    found = [stat.split(" ", 1)[0] for stat in stats if f"(wandb-core) S {os.getpid()} " in stat]
    assert len(found) == 1
    os.kill(int(found[0]), signal.SIGTERM)
    for _ in range(200):
        place = Path("/proc", found[0], "stat")
        if not place.exists() or ") Z " in place.read_text():
            return
        time.sleep(0.05)
    raise AssertionError("the service goes on")


def lose_service(folder: Path, result: Result) -> None:
    """As in a SLURM job that is requeued: the signal ends the service, while the job still works."""
    os.environ.pop("WANDB_SERVICE", None)  # of the process that started this one
    with tracker(folder / "killed").run(settings(folder), JOB, print) as record:
        end_service()
        record(output(folder / "killed", result))
    with tracker(folder / "next").run(settings(folder), JOB, print) as record:
        record(result)


class TestWhatARunSays:
    def test_its_settings_place_and_names(self, told, result: Result) -> None:
        run = told(result)
        assert (run.project, run.job_type, run.group) == ("adamms", "search", "demo")
        assert run.name == "demo linear search.rule=sum"
        assert run.tags == ("demo", "linear", "transformers")
        assert run.config["merge"] == {"alpha": 0.3}
        assert run.config["options"]["merge"] == "linear"
        assert run.exit_code == 0

    def test_all_of_them_can_be_overridden(self, told) -> None:
        run = told(None, project="p", group="g", name="n", tags=["t", "u"])
        assert (run.project, run.group, run.name, run.tags) == ("p", "g", "n", ("t", "u"))

    def test_the_curves_have_alpha_as_their_axis(self, told, result: Result) -> None:
        run = told(result)
        rows = [row for row in run.history if "alpha" in row]
        for row, expected in zip(rows, metrics.curves(result, "consistency sum").rows, strict=True):
            assert {name: row[name] for name in expected} == pytest.approx(expected)
        assert {name: step for name, (step, _) in run.metrics.items() if step} == {
            f"{section}/*": "alpha" for section in ("D_consistency_sum", "wins", "score", "control")
        }
        assert run.metrics["alpha"] == ("", True)

    def test_the_summary_has_the_results_and_no_ends_of_curves(self, told, result: Result) -> None:
        run = told(result)
        expected = metrics.overall(result) | metrics.details(result)
        assert {name: run.summary[name] for name in expected} == pytest.approx(expected)
        sections = metrics.curves(result, "consistency sum").steps
        assert not [name for name in run.summary if name.partition("/")[0] in sections]

    def test_a_run_that_is_told_the_same_again_draws_it_once(self, result: Result, tmp_path: Path) -> None:
        """As when a job is repeated whose run was complete: W&B hands the summary back on resuming."""
        with tracker(tmp_path / "out").run(settings(tmp_path / "out"), JOB, print) as record:
            record(result)
            record(result)
        (run,) = offline_runs(tmp_path / "out")
        assert len([row for row in run.history if "alpha" in row]) == len(result.candidates)


class TestWhileItRuns:
    def test_what_is_known_so_far_is_there_before_the_end(self, result: Result, tmp_path: Path) -> None:
        """The file is read while the run goes on; what has been drawn is not drawn again at the end."""
        first = Candidate(0.1)
        early = Result("", evaluation=Evaluation({first: result.scores_of(first)}))
        with tracker(tmp_path / "out").run(settings(tmp_path / "out"), JOB, print) as record:
            record.progress(StageTiming("search", 2.0, 50, "answers"))
            record.so_far(lambda: early)
            record.so_far(lambda: early)
            running = wandb_files.running(tmp_path / "out", rows=2)
            record(result)
        assert running.exit_code is None
        scored, progress = running.history
        assert scored["alpha"] == 0.1
        assert scored["score/all"] == result.score(first, None)
        assert progress["progress/search_answers_per_second"] == 25
        (run,) = offline_runs(tmp_path / "out")
        assert len([row for row in run.history if "progress/search_answers" in row]) == 1
        drawn = [row for row in run.history if row.get("alpha") == 0.1]
        assert [("score/all" in row, "D_consistency_sum/all" in row) for row in drawn] == [
            (True, False),
            (False, True),
        ]

    def test_what_cannot_be_computed_yet_costs_the_search_nothing(
        self, result: Result, tmp_path: Path
    ) -> None:
        said: list[str] = []
        with tracker(tmp_path / "out").run(settings(tmp_path / "out"), JOB, said.append) as record:
            record.so_far(lambda: Result("", evaluation={}["no score"]))
            record(result)
        assert "warning: W&B: no D before the end: KeyError 'no score'" in said
        (run,) = offline_runs(tmp_path / "out")
        assert len([row for row in run.history if "alpha" in row]) == len(result.candidates)

    def test_what_a_thread_tells_while_another_does_is_not_lost(self, tmp_path: Path) -> None:
        rows: list[dict[str, float]] = []
        begun, goes_on = threading.Event(), threading.Event()

        def log(row: dict[str, float]) -> None:
            begun.set()
            goes_on.wait(10)
            rows.append(row)

        run = SimpleNamespace(summary={}, log=log)
        record = WandbRecord(ModuleType("wandb"), run, {}, tmp_path, image_size=1, checksum=False, say=print)
        threads = [
            threading.Thread(target=record.progress, args=(StageTiming(name, 1.0, 5, "answers"),))
            for name in ("search", "donors")
        ]
        for thread in threads:
            record.told = -100.0
            thread.start()
            assert begun.wait(10)
        threads[1].join(0.2)
        goes_on.set()
        for thread in threads:
            thread.join(10)
        assert len(rows) == 2

    def test_a_run_that_was_complete_is_told_nothing_twice(self, result: Result, tmp_path: Path) -> None:
        with tracker(tmp_path / "out").run(settings(tmp_path / "out"), JOB, print) as record:
            for _ in range(2):
                record.so_far(lambda: result)
        (run,) = offline_runs(tmp_path / "out")
        assert len([row for row in run.history if "alpha" in row]) == len(result.candidates)


class TestTableAndArtifacts:
    def test_the_report_is_a_panel_and_score_and_D_are_charts(
        self, told, result: Result, tmp_path: Path
    ) -> None:
        run = told(output(tmp_path / "out", result))
        panel = run.folder / "files" / run.summary["report/path"]
        assert panel.read_text() == "report.html"
        drawn = {name for name in run.summary if name.endswith("_table/nrows")}
        assert drawn == {"score_and_D_along_alpha_table/nrows"}
        rows = run.table("score_and_D_along_alpha_table")
        here = [row for row in rows if row["alpha"] == 0.5]
        score, choice = result.score(Candidate(0.5), None), result.choice(None)
        most, value = max(choice.differences.values()), choice.differences[Candidate(0.5)]
        assert here[0] == {"alpha": 0.5, "what": "mean score (%)", "value": score, "error": None} | {
            "percent": score
        }
        assert here[1] == {"alpha": 0.5, "what": "D, consistency sum", "value": value, "error": None} | {
            "percent": metrics.plain(100 * value / most)
        }
        # The ends have no D.
        assert {row["what"] for row in rows if row["alpha"] == 0} == {"mean score (%)"}

    def test_what_lmms_eval_asked_and_got(self, told, tmp_path: Path) -> None:
        sample = Sample("digits", 3, "read red", "7", "7", " 7", (), {"exact_match": 1.0})
        numbers = (Metric("digits", "exact_match", "none", 1.0, None, 1),)
        run = told(
            Result("t", tools={"lmms_eval": ToolResults("0.7.3", "vllm", tmp_path, numbers, (sample,))})
        )
        (row,) = run.table("lmms_eval_samples")
        asked = {"task": "digits", "number": 3, "question": "read red", "target": "7", "answer": "7"}
        assert row == {**asked, "raw": " 7", "scores": '{"exact_match": 1.0}'}
        assert run.summary["lmms_eval_digits_exact_match"] == 1.0

    def test_answers_of_all_candidates_with_the_images(self, told, result: Result, tmp_path: Path) -> None:
        run = told(replace(result, answered=answered(tmp_path / "images")), image_size=300)
        rows = run.table("answers")
        assert [row["example"] for row in rows] == ["a", "b", "c"]
        assert rows[0]["label"] == rows[0]["alpha=0"] == rows[0]["alpha=0.5"] == "yes"
        assert rows[1]["label"] is None
        assert rows[0]["different answers"] == 1
        entries = run.entries("run_table")
        for row, size in zip(rows[:2], [(300, 200), (32, 32)], strict=True):
            with Image.open(entries[row["image"]["path"]].local_path) as image:
                assert image.size == size
        assert rows[2]["image"] is None
        assert run.summary["answers/nrows"] == 3

    def test_a_small_photograph_stays_one(self, told, result: Result, tmp_path: Path) -> None:
        one = answered(tmp_path / "images")[1]
        Image.new("RGB", (32, 32), "red").save(tmp_path / "small.jpg")
        photo = replace(one, example=replace(one.example, image=tmp_path / "small.jpg"))
        rows = told(replace(result, answered=(one, photo))).table("answers")
        assert [Path(row["image"]["path"]).suffix for row in rows] == [".png", ".jpg"]

    def test_further_images_and_columns_of_the_data(self, told, result: Result, tmp_path: Path) -> None:
        one, other = answered(tmp_path / "images")[:2]
        more = replace(one.example, more_images=(other.example.image,))
        both = (replace(one, example=more, columns={"level": "3"}), replace(other, columns={"year": "1"}))
        rows = told(replace(result, answered=both)).table("answers")
        assert [row["image 2"] is None for row in rows] == [False, True]
        assert [(row["data.level"], row["data.year"]) for row in rows] == [("3", None), (None, "1")]

    def test_of_a_video_its_first_frame(self, told, result: Result, tmp_path: Path) -> None:
        one, other = answered(tmp_path / "images")[:2]
        clip = replace(one.example, video=Video((film(tmp_path / "a.mp4"),)))
        run = told(replace(result, answered=(replace(one, example=clip), other)))
        first, second = run.table("answers")
        with Image.open(run.entries("run_table")[first["video"]["path"]].local_path) as image:
            assert image.size == (48, 32)
        assert second["video"] is None

    def test_of_a_thought_its_length(self, told, result: Result, tmp_path: Path) -> None:
        one = answered(tmp_path / "images")[0]
        texts = {Candidate(0.0): "<think>a b</think> yes", Candidate(0.5): "yes"}
        (row,) = told(replace(result, answered=(replace(one, texts=texts),))).table("answers")
        assert (row["alpha=0"], row["alpha=0.5"]) == ("[thought of 2 words] yes", "yes")
        assert row["different answers"] == 1

    def test_an_image_that_is_gone_is_left_out(self, told, result: Result, tmp_path: Path) -> None:
        shown = answered(tmp_path / "images")
        (tmp_path / "images/small.png").unlink()
        rows = told(replace(result, answered=shown)).table("answers")
        assert [row["image"] is None for row in rows] == [False, True, True]

    def test_images_can_be_left_out(self, told, result: Result, tmp_path: Path) -> None:
        run = told(replace(result, answered=answered(tmp_path / "images")), image_size=0)
        assert {row["image"] for row in run.table("answers")} == {None}

    def test_recipe_and_report_are_uploaded_and_the_model_is_referred_to(
        self, told, result: Result, tmp_path: Path
    ) -> None:
        run = told(output(tmp_path / "out", result))
        assert set(run.entries("recipe")) == {
            *("plan.json", "selection.json", "config.yaml", "model/adamms_recipe.json")
        }
        assert set(run.entries("report")) == {"report.html", "evaluation.json"}
        model = run.entries("model")
        weights = tmp_path / "out/model/model.safetensors"
        assert model["model.safetensors"].ref == weights.as_uri()
        assert not model["model.safetensors"].local_path
        assert "f00" in Path(model["adamms_recipe.json"].local_path).read_text()

    def test_the_model_knows_where_it_comes_from(self, told, result: Result, tmp_path: Path) -> None:
        found = told(output(tmp_path / "out", result)).metadata("model")
        assert found["fingerprint"] == "f00"
        assert found["merged_at"] == {"merge.alpha": 0.5}
        assert [(one["role"], one["uri"]) for one in found["inputs"]] == [
            ("target", "https://huggingface.co/org/target/tree/v1"),
            ("donor a", (tmp_path / "out").as_uri()),
        ]

    def test_with_checksum_the_weights_are_read(self, told, result: Result, tmp_path: Path) -> None:
        run = told(output(tmp_path / "out", result), checksum=True)
        md5 = base64.b64encode(hashlib.md5(b"weights").digest()).decode()
        assert run.entries("model")["model.safetensors"].digest == md5

    def test_all_files_are_below_the_output_folder(self, told, result: Result, tmp_path: Path) -> None:
        run = told(output(tmp_path / "out", replace(result, answered=answered(tmp_path / "images"))))
        for kind in run.artifacts:
            for entry in run.entries(kind).values():
                assert not entry.local_path or Path(entry.local_path).is_relative_to(tmp_path / "out/wandb")
        assert "WANDB_DATA_DIR" not in os.environ


class TestEnds:
    @pytest.mark.parametrize("kind", [ValueError, AdammsError, SystemExit, KeyboardInterrupt])
    def test_a_run_that_fails_is_marked_and_says_why(self, kind: type[BaseException], tmp_path: Path) -> None:
        with (
            pytest.raises(kind, match="broken"),
            tracker(tmp_path).run(settings(tmp_path), JOB, print),
        ):
            raise kind("broken")
        (run,) = offline_runs(tmp_path)
        assert run.exit_code == 1
        assert run.summary["error"] == f"{kind.__name__}: broken"

    def test_runs_of_one_process_are_separate(self, result: Result, tmp_path: Path) -> None:
        for index, alpha in enumerate((0.1, 0.2, 0.1)):
            own = settings(tmp_path, merge={"alpha": alpha})
            with tracker(tmp_path / str(index)).run(own, JOB, print) as record:
                record(replace(result, selection=None) if alpha == 0.1 else result)
        runs = offline_runs(tmp_path)
        assert [run.config["merge"]["alpha"] for run in runs] == [0.1, 0.2, 0.1]
        assert runs[0].id == runs[2].id != runs[1].id
        assert ["all_alpha" in run.summary for run in runs] == [False, True, False]

    def test_a_run_outlives_wandbs_service(
        self, result: Result, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """In a process of its own: until that ends, a thread of wandb's goes on trying, and logs errors."""
        process = get_context("spawn").Process(target=lose_service, args=(tmp_path, result))
        process.start()
        process.join()
        assert process.exitcode == 0
        assert "the run goes on without it" in capfd.readouterr().out
        (run,) = offline_runs(tmp_path / "next")
        assert run.exit_code == 0
        assert run.summary["all_alpha"] == 0.3

    def test_disabled_writes_nothing(self, result: Result, tmp_path: Path) -> None:
        with tracker(tmp_path / "out", mode="disabled").run(settings(tmp_path), JOB, print) as record:
            record(replace(result, answered=answered(tmp_path / "images")))
        assert not list((tmp_path / "out").rglob("*.*"))

    def test_one_line_is_printed_and_nothing_else(
        self, result: Result, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with tracker(tmp_path).run(settings(tmp_path), JOB, print) as record:
            record(result)
        (run,) = offline_runs(tmp_path)
        out, err = capfd.readouterr()
        assert out == f"W&B: offline, to be uploaded by: wandb sync {run.folder}\n"
        assert err == ""


class TestUsersMistakes:
    def test_without_the_package_the_extra_is_named(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        real = builtins.__import__

        def absent(name: str, *arguments: Any, **others: Any) -> Any:
            if name == "wandb":
                raise ModuleNotFoundError("No module named 'wandb'")
            return real(name, *arguments, **others)

        monkeypatch.setattr(builtins, "__import__", absent)
        with (
            pytest.raises(AdammsError, match=r"pip install -e '\.\[wandb\]'"),
            tracker(tmp_path).run({}, JOB, print),
        ):
            pass

    def test_online_without_login_says_what_to_do(self, tmp_path: Path) -> None:
        with (
            pytest.raises(AdammsError, match=r"wandb login.*track\.mode=offline"),
            tracker(tmp_path, mode="online").run(settings(tmp_path), JOB, print),
        ):
            pass

    @pytest.mark.parametrize("arguments", [{"tags": ["t" * 65]}, {"tags": [""]}, {"image_size": -1}])
    def test_what_wandb_would_refuse_is_refused_at_the_door(self, arguments: Mapping[str, Any]) -> None:
        with pytest.raises(ValidationError):
            TypeAdapter(Wandb).validate_python(DEFAULTS | {"folder": Path()} | arguments)

    def test_an_agents_process_may_not_be_a_multirun(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
        with (
            pytest.raises(AdammsError, match="leave -m out"),
            tracker(tmp_path).run({}, replace(JOB, sweep="multirun/a/b"), print),
        ):
            pass
