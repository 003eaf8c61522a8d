"""The searches of one multirun side by side, as plain data.

Knows files only: the record `job.json` of every job, and result.json in the job's output.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from adamms.errors import AdammsError
from adamms.report.result import RESULT, Result

RECORD = "job.json"
SEARCH = "search"
Read = TypeVar("Read")


@dataclass(frozen=True)
class JobRow:
    """One search of the multirun: a row of the table.

    Args:
        number: Hydra's, from 0.
        overrides: key -> value, as given for this job.
        output: where its results are.
        state: "unfinished" if it still runs, or was killed.
        error: what went wrong in it, or in reading its result; "" if nothing did.
        seconds: wall time, of jobs that ended.
        result: what it found; None unless the job is done and its result could be read.
    """

    number: int
    overrides: Mapping[str, str]
    output: Path
    state: Literal["done", "failed", "unfinished"]
    error: str = ""
    seconds: float | None = None
    result: Result | None = None

    @property
    def score(self) -> float | None:
        """The mean score of the model that was chosen for all tasks; None without labels."""
        return None if self.result is None else self.result.chosen_score(None)

    @property
    def best_donor(self) -> float | None:
        """The mean score of the better donor; None where none could run."""
        donors = self.result.donor_scores if self.result else {}
        return max((scores.mean for scores in donors.values()), default=None)


@dataclass(frozen=True)
class Comparison:
    """The searches of a multirun, in the order of their numbers."""

    folder: Path
    jobs: tuple[JobRow, ...] = ()

    @property
    def results(self) -> list[Result]:
        """Of the jobs that have one."""
        return [job.result for job in self.jobs if job.result is not None]

    @property
    def varying(self) -> list[str]:
        """The keys of the overrides in which the jobs differ, in the order given."""
        keys = list(dict.fromkeys(key for job in self.jobs for key in job.overrides))
        return [key for key in keys if len({job.overrides.get(key) for job in self.jobs}) > 1]

    @property
    def best(self) -> list[int]:
        """The numbers of the jobs whose choice has the highest mean score; none without labels."""
        scores = {job.number: score for job in self.jobs if (score := job.score) is not None}
        highest = max(scores.values(), default=None)
        return [number for number, score in scores.items() if score == highest]

    def to_json(self) -> dict[str, Any]:
        """What the tables hold, for other programs: comparison.json."""
        jobs = [
            {
                "number": job.number,
                "overrides": job.overrides,
                "output": str(job.output),
                "state": job.state,
                "error": job.error,
                "seconds": job.seconds,
                "found": None if job.result is None else _found(job.result),
            }
            for job in self.jobs
        ]
        return {"folder": str(self.folder), "varying": self.varying, "best": self.best, "jobs": jobs}


def _found(result: Result) -> dict[str, Any]:
    """What a search chose, and the scores that it is compared with; None where there are no labels."""
    oracle, control, merged = result.oracle(None), result.best_control, result.hyperparameters
    return {
        **({} if merged is None else vars(merged)),
        "overall": _chosen(result, None),
        "tasks": {
            task: _chosen(result, task) for task in (result.selection.tasks if result.selection else ())
        },
        "per_task": result.per_task_mean(),
        "oracle": None if oracle is None else {"name": str(oracle), "score": result.score(oracle, None)},
        "target": result.target_score(None),
        "donors": {name: scores.mean for name, scores in result.donor_scores.items()},
        "control": None if control is None else {"name": str(control[0]), "score": control[1].mean},
        "regret": result.regret(None),
    }


def _chosen(result: Result, task: str | None) -> dict[str, Any]:
    choice = result.choice(task)
    assert choice is not None
    return {
        "candidate": str(choice.candidate),
        "settings": choice.candidate.settings,
        "difference": choice.differences[choice.candidate],
        "confidence": choice.confidence,
        "examples": choice.examples,
        "ties": len(choice.tied) - 1,
        "score": result.score(choice.candidate, task),
    }


def gather(folder: Path) -> Comparison:
    """Read what the searches of a multirun left; jobs of other modes are passed over.

    Args:
        folder: of the multirun, with a folder for each job, `job.json` in it.

    Raises:
        AdammsError: a record that cannot be read. A result that cannot be read is its job's `error`.
    """
    records = sorted(folder.glob(f"*/{RECORD}")) + sorted(folder.glob(f"*/*/{RECORD}"))
    jobs = [job for record in records if (job := _read(record, _job)) is not None]
    outputs = [job.output for job in jobs]
    return Comparison(
        folder, tuple(sorted((_with_result(job, outputs) for job in jobs), key=lambda job: job.number))
    )


def _job(record: Mapping[str, Any]) -> JobRow | None:
    """The job of a record, without its result; None if it is no search."""
    if record["mode"] != SEARCH:
        return None
    return JobRow(
        number=record["number"],
        overrides=dict(override.partition("=")[::2] for override in record["overrides"]),
        output=Path(record["output"]),
        state=record["state"],
        error=record.get("error", ""),
        seconds=record.get("seconds"),
    )


def _with_result(job: JobRow, outputs: Sequence[Path]) -> JobRow:
    """The job with its result; with an error where there is none, or where it may be another job's."""
    if job.state != "done":
        return job
    if outputs.count(job.output) > 1:
        where = f"{job.output} is the output of several jobs"
        return replace(job, error=f"{where}; give each its own, as output=.../${{hydra:job.num}}")
    try:
        return replace(job, result=_read(job.output / RESULT, _searched))
    except AdammsError as error:
        return replace(job, error=str(error))


def _searched(content: Mapping[str, Any]) -> Result:
    result = Result.from_json(content)
    if result.selection is None:
        raise ValueError("no selection")
    return result


def _read(file: Path, parse: Callable[[Any], Read]) -> Read:
    """What `parse` makes of a JSON file.

    Raises:
        AdammsError: a file that cannot be read, or that holds something else.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AdammsError(f"{file}: cannot be read ({error})") from error
    try:
        return parse(content)
    except (KeyError, TypeError, AttributeError, ValueError, AdammsError) as error:
        raise AdammsError(f"{file}: not what adamms writes ({type(error).__name__}: {error})") from error
