"""The searches of one multirun side by side, as plain data.

Knows files only: the record `job.json` of every job, and result.json in the job's output.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from adamms.errors import AdammsError
from adamms.evaluate.estimate import Estimate
from adamms.evaluate.evaluation import Scores
from adamms.report.result import RESULT, Result
from adamms.report.trackers import metrics

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
    def found(self) -> Result:
        """The result; an empty one where there is none."""
        return self.result or Result("")

    @property
    def score(self) -> float | None:
        """The mean score of the model that was chosen for all tasks; None without labels."""
        return self.found.chosen_score(None)

    @property
    def best_donor(self) -> Scores:
        """The scores of the better donor; on no task where none could run."""
        donors = self.found.scored.donors.values()
        return max(donors, key=lambda scores: scores.mean, default=Scores({}))


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
    def measure(self) -> str:
        """What the scores are; several where the searches were not scored by the same measure."""
        return " or ".join(dict.fromkeys(result.measure or "score" for result in self.results))

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

    def vs_best(self, job: JobRow) -> Estimate | None:
        """What a job's choice is above the best one, over the same examples; None for the best itself."""
        best = next((other for other in self.jobs if other.number in self.best), None)
        alike = best is None or job.number in self.best
        return None if best is None or alike else job.found.chosen.estimate(less=best.found.chosen)

    @property
    def not_told_apart(self) -> dict[int, Estimate]:
        """The numbers of the other jobs whose choice is not told apart from the best one, and by how much."""
        gaps = {job.number: gap for job in self.jobs if (gap := self.vs_best(job)) is not None}
        return {n: gap for n, gap in gaps.items() if gap.interval is not None and not gap.told_apart}

    def to_json(self) -> dict[str, Any]:
        """What the tables hold, for other programs: comparison.json."""
        jobs = []
        for job in self.jobs:
            record = {**vars(job), "output": str(job.output)}
            del record["result"]
            jobs.append(record | {"found": None if job.result is None else _found(job.result)})
        return {"folder": str(self.folder), "varying": self.varying, "best": self.best} | {
            "not_told_apart_from_the_best": list(self.not_told_apart),
            "jobs": jobs,
        }


def _found(result: Result) -> dict[str, Any]:
    """What a search chose, what was merged, and every number of the run under the name that trackers use."""
    return {
        **({} if result.hyperparameters is None else vars(result.hyperparameters)),
        "selection": None if result.selection is None else result.selection.to_json(),
        "numbers": metrics.overall(result) | metrics.details(result),
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
    found = [_with_result(job, outputs) for job in jobs]
    return Comparison(folder, tuple(sorted(found, key=lambda job: job.number)))


def _job(record: Mapping[str, Any]) -> JobRow | None:
    """The job of a record, without its result; None if it is no search."""
    if record["mode"] != SEARCH:
        return None
    overrides = dict(override.partition("=")[::2] for override in record["overrides"])
    known = {key: record[key] for key in ("number", "state", "error", "seconds") if key in record}
    return JobRow(overrides=overrides, output=Path(record["output"]), **known)


def _with_result(job: JobRow, outputs: Sequence[Path]) -> JobRow:
    """The job with its result; with an error where there is none, or where it may be another job's."""
    if job.state != "done":
        return job
    if outputs.count(job.output) > 1:
        where = f"{job.output} is the output of several jobs"
        return replace(job, error=f"{where}; give each its own, as output=.../${{hydra:job.num}}")
    try:
        result = _read(job.output / RESULT, Result.from_json)
    except AdammsError as error:
        return replace(job, error=str(error))
    if result.selection is None:
        return replace(job, error=f"{job.output / RESULT}: has no selection")
    return replace(job, result=result)


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
