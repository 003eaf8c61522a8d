"""What the searches of one multirun found, side by side, as plain data read from the files that they left.

Knows files only: the record `job.json` of every job, and in the job's output selection.json,
evaluation.json and the merged model's adamms_recipe.json. Prints and draws nothing.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from adamms.errors import AdammsError
from adamms.merge.candidate import ALPHA, Candidate

RECORD = "job.json"
SEARCH = "search"
Read = TypeVar("Read")


@dataclass(frozen=True)
class Chosen:
    """What a search chose, for one task or for all of them.

    Args:
        candidate: the settings, as text: '0.5', or 'density=0.2, alpha=0.5'.
        settings: key of the configuration -> value.
        difference: D.
        confidence: share of bootstrap resamples in which it wins.
        examples: how many answers per candidate it was chosen from.
        ties: how many others have the same D.
        score: by labels, in percent: on the task, of the overall choice the mean over tasks.
    """

    candidate: str
    settings: Mapping[str, float]
    difference: float
    confidence: float
    examples: int
    ties: int = 0
    score: float | None = None


@dataclass(frozen=True)
class Scored:
    """A model that was not chosen, and its mean score."""

    name: str
    score: float


@dataclass(frozen=True)
class Found:
    """The results of one search. Scores are None, or empty, where there are no labels.

    Args:
        method: of the merge; "" of a search in existing logs, which merges nothing.
        parameters: all of the method's, as the chosen model was merged.
        coefficients: donor name -> its share in the chosen model.
        overall: the choice over all examples.
        tasks: task -> the choice for it.
        per_task: the mean score when every task has the model that was chosen for it.
        oracle: the best that was tried, by labels.
        target: the target's mean score.
        donors: those that could run.
        control: the best of the target interpolated with the ancestor.
    """

    method: str
    parameters: Mapping[str, Any]
    coefficients: Mapping[str, float]
    overall: Chosen
    tasks: Mapping[str, Chosen]
    per_task: float | None = None
    oracle: Scored | None = None
    target: float | None = None
    donors: tuple[Scored, ...] = ()
    control: Scored | None = None

    @property
    def regret(self) -> float | None:
        """What the choice loses to the best that was tried, in points."""
        if self.oracle is None or self.overall.score is None:
            return None
        return self.oracle.score - self.overall.score

    @property
    def best_donor(self) -> Scored | None:
        return max(self.donors, key=lambda donor: donor.score, default=None)


@dataclass(frozen=True)
class Job:
    """One search of the multirun.

    Args:
        number: Hydra's, from 0.
        overrides: key -> value, as given for this job.
        output: where its results are.
        state: `unfinished` is one that still runs, or that was killed.
        error: what went wrong in it, or in reading its results; "" if nothing did.
        seconds: wall time, of jobs that ended.
        found: None unless the job is done and its results could be read.
    """

    number: int
    overrides: Mapping[str, str]
    output: Path
    state: Literal["done", "failed", "unfinished"]
    error: str = ""
    seconds: float | None = None
    found: Found | None = None


@dataclass(frozen=True)
class Comparison:
    """The searches of a multirun, in the order of their numbers."""

    folder: Path
    jobs: tuple[Job, ...] = field(default=())

    @property
    def varying(self) -> list[str]:
        """The keys of the overrides in which the jobs differ, in the order given."""
        keys = list(dict.fromkeys(key for job in self.jobs for key in job.overrides))
        return [key for key in keys if len({job.overrides.get(key) for job in self.jobs}) > 1]

    @property
    def best(self) -> list[int]:
        """The numbers of the jobs whose choice has the highest mean score; none without labels."""
        scores = {
            job.number: job.found.overall.score
            for job in self.jobs
            if job.found is not None and job.found.overall.score is not None
        }
        highest = max(scores.values(), default=None)
        return [number for number, score in scores.items() if score == highest]

    def to_json(self) -> dict[str, Any]:
        jobs = []
        for job in self.jobs:
            found = None if job.found is None else asdict(job.found) | {"regret": job.found.regret}
            jobs.append(asdict(job) | {"output": str(job.output), "found": found})
        return {"folder": str(self.folder), "varying": self.varying, "best": self.best, "jobs": jobs}


def gather(folder: Path) -> Comparison:
    """Read what the searches of a multirun left; jobs of other modes are passed over.

    Args:
        folder: of the multirun, with a folder for each job, `job.json` in it.

    Raises:
        AdammsError: a record that cannot be read. A job's unreadable results are that job's `error`.
    """
    records = sorted(folder.glob(f"*/{RECORD}")) + sorted(folder.glob(f"*/*/{RECORD}"))
    jobs = [job for record in records if (job := _job(record)) is not None]
    outputs = [job.output for job in jobs]
    jobs = [_sole(job, outputs) for job in jobs]
    return Comparison(folder, tuple(sorted(jobs, key=lambda job: job.number)))


def _job(record: Path) -> Job | None:
    """The job of a record with its results; None if it is no search."""
    content = _read(record)

    def parse(content: Mapping[str, Any]) -> Job | None:
        if content["mode"] != SEARCH:
            return None
        given = dict(override.partition("=")[::2] for override in content["overrides"])
        return Job(
            number=content["number"],
            overrides=given,
            output=Path(content["output"]),
            state=content["state"],
            error=content.get("error", ""),
            seconds=content.get("seconds"),
        )

    job = _parsed(record, content, parse)
    if job is None or job.state != "done":
        return job
    try:
        return replace(job, found=_found(job.output))
    except AdammsError as error:
        return replace(job, error=str(error))


def _sole(job: Job, outputs: Sequence[Path]) -> Job:
    """The job without results if they may be another one's."""
    if outputs.count(job.output) == 1 or job.found is None:
        return job
    reason = (
        f"{job.output} is the output of several jobs; give each its own, as output=.../${{hydra:job.num}}"
    )
    return replace(job, found=None, error=reason)


def _found(output: Path) -> Found:
    file = output / "selection.json"
    selection = _read(file)
    overall = _parsed(file, selection, lambda content: _chosen(content["overall"]))
    tasks = _parsed(
        file, selection, lambda content: {task: _chosen(choice) for task, choice in content["tasks"].items()}
    )
    recipe = output / "model" / "adamms_recipe.json"
    method, parameters, coefficients = "", {}, {}
    if recipe.is_file():
        content = _read(recipe)
        method = _parsed(recipe, content, lambda content: str(content["method"]["name"]))
        parameters = _parsed(recipe, content, lambda content: dict(content["method"]["parameters"]))
        coefficients = _parsed(recipe, content, lambda content: dict(content["coefficients"]))
    found = Found(method, parameters, coefficients, overall, tasks)
    file = output / "evaluation.json"
    return _parsed(file, _read(file), lambda content: _scored(found, content)) if file.is_file() else found


def _chosen(content: Mapping[str, Any]) -> Chosen:
    candidate = _candidate(content["alpha"] if "alpha" in content else content["candidate"])
    return Chosen(
        candidate=str(candidate),
        settings=candidate.settings,
        difference=content["differences"][str(candidate)],
        confidence=content["confidence"],
        examples=content["examples"],
        ties=len(content["tied"]) - 1,
    )


def _candidate(content: Any) -> Candidate:
    """What `Candidate.to_json` wrote: the number of alpha alone, else {key: value}."""
    return Candidate.of(content if isinstance(content, Mapping) else {ALPHA: content})


def _scored(found: Found, content: Mapping[str, Any]) -> Found:
    """The same with the scores of evaluation.json."""
    candidates, oracle = content["candidates"], str(_candidate(content["oracle"]))
    unmerged = content.get("target", candidates.get("0"))
    control = {name: scores["mean"] for name, scores in content["control"].items()}
    best = max(control, key=lambda name: control[name], default=None)
    tasks = {
        task: replace(chosen, score=candidates[chosen.candidate]["tasks"].get(task))
        for task, chosen in found.tasks.items()
    }
    labelled = candidates[found.overall.candidate]["tasks"]
    each = [tasks[task].score if task in tasks else None for task in labelled]
    known = [score for score in each if score is not None]
    return replace(
        found,
        overall=replace(found.overall, score=candidates[found.overall.candidate]["mean"]),
        tasks=tasks,
        per_task=sum(known) / len(known) if known and len(known) == len(each) else None,
        oracle=Scored(oracle, candidates[oracle]["mean"]),
        target=None if unmerged is None else unmerged["mean"],
        donors=tuple(Scored(name, scores["mean"]) for name, scores in content["donors"].items()),
        control=None if best is None else Scored(best, control[best]),
    )


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AdammsError(f"{file}: cannot be read ({error})") from error


def _parsed(file: Path, content: Any, parse: Callable[[Any], Read]) -> Read:
    """What `parse` makes of a file's content, any lack of it said with the file's name."""
    try:
        return parse(content)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise AdammsError(f"{file}: not what adamms writes ({type(error).__name__}: {error})") from error
