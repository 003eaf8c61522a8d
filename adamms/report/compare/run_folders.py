"""Finds the runs in folders and reads what they left, whatever became of them.

Knows files only: the record `job.json` of a multirun's job, Hydra's own of a single run, result.json in a
run's output, and what lmms-eval writes.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from adamms.errors import AdammsError
from adamms.evaluate.lmms.results import RESULTS, read_results
from adamms.report.files import EVALUATION, LOG, MODEL, PLAN, RESULT, SELECTION
from adamms.report.result import Result

RECORD = "job.json"
HYDRA = ".hydra"
COMPARED = ("search", "merge", "evaluate")  # modes of which something can be compared
INSIDE = (MODEL, "wandb", "lmms_eval", "vlmevalkit")  # folders of a run that are none themselves
ERROR = "error: "  # how the last words in a log begin
PARTS = (PLAN, SELECTION, EVALUATION, LOG)  # of a run that has left no result
Read = TypeVar("Read")


@dataclass(frozen=True)
class FoundRun:
    """A run that was found.

    Args:
        output: where its results are.
        number: of a multirun's job, from 0; else its place among all that were found.
        mode: "" where nobody says; "lmms_eval" of lmms-eval's own results.
        overrides: key -> value, as they were typed.
        state: "unfinished" if it still runs, or was killed.
        error: what went wrong in it, or in reading its result; "" if nothing did.
        seconds: wall time, of runs that ended.
        result: what it found; None unless it is done and its result could be read.
    """

    output: Path
    number: int | None = None
    mode: str = ""
    overrides: Mapping[str, str] = field(default_factory=dict)
    state: Literal["done", "failed", "unfinished"] = "done"
    error: str = ""
    seconds: float | None = None
    result: Result | None = None

    @property
    def found(self) -> Result:
        """The result; an empty one where there is none."""
        return self.result or Result("")

    @property
    def place(self) -> str:
        """The last parts of its folder, for people."""
        return "/".join(self.output.parts[-2:])

    @property
    def outcome(self) -> str:
        """Its state; "no result" if it ended, but without one."""
        return "no result" if self.state == "done" and self.result is None else self.state

    @property
    def settings(self) -> dict[str, Any]:
        """Its whole configuration; {} where it is not known."""
        return yaml.load(self.found.config, yaml.CSafeLoader) or {}

    @property
    def model(self) -> Path | None:
        """The folder of the model that it wrote; None if it wrote none, or is not where it was written."""
        places = (self.output / "model", self.found.folder) if self.found.folder else ()
        return next((place.resolve() for place in places if place is not None and place.is_dir()), None)


def find(folders: Sequence[Path]) -> tuple[tuple[FoundRun, ...], tuple[str, ...]]:
    """All runs in these folders and below, in order, and a sentence for every folder without any.

    What cannot be read is its run's `error`.
    """
    found, problems = list[FoundRun](), list[str]()
    for folder in dict.fromkeys(folder.resolve() for folder in folders):
        own = list(_runs(folder))
        problems += _without_runs(folder, own)
        found += [run for run in own if run not in found]
    outputs = [run.output.resolve() for run in found if run.number is not None]
    runs: dict[object, FoundRun] = {}
    for run in sorted(found, key=lambda run: (not run.overrides, _natural(run.output))):
        output = run.output.resolve()
        if run.number is None and output not in outputs:
            runs.setdefault(output, run)
        elif run.number is not None:
            runs[output, run.number] = _alone(run, outputs.count(output))
    ordered = sorted(runs.values(), key=lambda run: (_natural(run.output.parent), _natural(run.output)))
    numbers = [run.number for run in ordered]
    if None in numbers or len(set(numbers)) < len(numbers):
        ordered = [replace(run, number=place) for place, run in enumerate(ordered)]
    return tuple(sorted(ordered, key=lambda run: run.number or 0)), tuple(problems)


def _alone(run: FoundRun, count: int) -> FoundRun:
    """The run; with an error if other jobs had its output, too, so that the result may be theirs."""
    if count == 1 or run.state != "done":
        return run
    where = f"{run.output} is the output of several jobs"
    return replace(run, result=None, error=f"{where}; give each its own, as output=.../${{hydra:job.num}}")


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    """By which multirun/2 comes before multirun/10."""
    parts = re.findall(r"\d+|\D+", str(path))
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


def _without_runs(folder: Path, runs: Sequence[FoundRun]) -> list[str]:
    """The folder, or those directly in it, in which there is no run."""
    if not folder.is_dir():
        return [f"{folder}: {'a file; name its folder' if folder.exists() else 'no such folder'}"]
    if not runs:
        return [f"{folder}: no run of adamms and no results of lmms-eval are in it"]
    if any(run.output == folder for run in runs):
        return []
    named = (each for each in sorted(folder.iterdir()) if each.is_dir() and each.name not in INSIDE)
    below = (each for each in named if not (each / HYDRA).is_dir())  # a comparison, if no run
    records = {record.parent for record in folder.rglob(RECORD)}
    places = [*(run.output for run in runs), *records]
    return [
        f"{each}: no run"
        for each in below
        if not each.name.startswith(".") and not any(place.is_relative_to(each) for place in places)
    ]


def _runs(top: Path) -> Iterator[FoundRun]:
    for name, folders, files in os.walk(top):
        place = Path(name)
        inside = INSIDE if RESULT in files or any(part in files for part in PARTS) else INSIDE[1:2]
        folders[:] = sorted(each for each in folders if each not in inside and not each.startswith("."))
        if RECORD in files:
            yield _by_record(place)
        elif (place / HYDRA / "config.yaml").is_file():
            if (run := _by_hydra(place)).mode != "compare" or RESULT in files:  # a comparison is no run
                yield _with_result(run)
        elif RESULT in files:
            yield _with_result(FoundRun(place))
        elif any(part in files for part in PARTS):
            yield FoundRun(place, state="unfinished")
        else:
            yield from (_by_lmms_eval(place / file) for file in sorted(files) if file.endswith(RESULTS))


def _by_record(place: Path) -> FoundRun:
    """A job of a multirun."""
    try:
        return _with_result(_read(place / RECORD, partial(_recorded, place)))
    except AdammsError as error:
        return FoundRun(place, error=str(error))


def _recorded(place: Path, record: Mapping[str, Any]) -> FoundRun:
    """The job of a record, without its result."""
    known = {key: record[key] for key in ("number", "mode", "state", "error", "seconds") if key in record}
    known |= {"output": _output(place, record["output"]), "overrides": _typed(record["overrides"])}
    return TypeAdapter(FoundRun).validate_python(known)


def _output(place: Path, recorded: str) -> Path:
    """Where the results are: beside the record, wherever they were moved to, or else where it says."""
    beside = any((place / name).is_file() for name in (RESULT, *PARTS))
    given = Path(recorded)
    return given if not beside and given.is_absolute() and given.is_dir() else place


def _by_hydra(place: Path) -> FoundRun:
    """A run on its own, by the configuration that it leaves, and by its log's last words if it failed."""
    try:
        texts = ((place / HYDRA / file).read_bytes() for file in ("config.yaml", "overrides.yaml"))
        config, typed = (yaml.load(text, yaml.CSafeLoader) for text in texts)
        output = _output(place, config["output"])
        run = FoundRun(output, mode=str(config["mode"]["name"]), overrides=_typed(typed))
    except (OSError, yaml.YAMLError, LookupError, TypeError):
        run = FoundRun(place)
    log = run.output / LOG
    *_, last = log.read_text(errors="replace").splitlines() or [""] if log.is_file() else [""]
    if last.startswith(ERROR) and not (run.output / RESULT).is_file():
        return replace(run, state="failed", error=last.removeprefix(ERROR))
    return run


def _typed(overrides: Sequence[str]) -> dict[str, str]:
    return dict(override.lstrip("+").partition("=")[::2] for override in overrides)


def _by_lmms_eval(file: Path) -> FoundRun:
    """What lmms-eval has left, where nobody of ours ran it."""
    run = FoundRun(file.parent, mode="lmms_eval")
    try:
        arguments = json.loads(file.read_text(encoding="utf-8"))["config"].get("model_args") or ""
        if not isinstance(arguments, Mapping):
            arguments = dict(part.partition("=")[::2] for part in str(arguments).split(","))
        model = Path(str(arguments.get("pretrained") or arguments.get("model") or file.parent))
        found = read_results(file, file.parent, "")
    except (OSError, ValueError, LookupError, TypeError, AdammsError) as error:
        return replace(run, error=f"{file}: not results as lmms-eval writes them ({error})")
    return replace(run, result=Result(f"Evaluation of {model}", evaluated=model, tools={"lmms_eval": found}))


def _with_result(run: FoundRun) -> FoundRun:
    """The run with its result; with an error where there is none, or nothing that could be compared."""
    if run.state != "done":
        return run
    nothing = replace(run, error=f"mode={run.mode} leaves nothing to compare")
    if not (run.output / RESULT).is_file() and run.mode not in ("", *COMPARED):
        return nothing
    if not (run.output / RESULT).is_file() and run.number is None:
        return replace(run, state="unfinished")
    try:
        result = _read(run.output / RESULT, Result.from_json)
    except AdammsError as error:
        return replace(run, error=str(error))
    kinds = {
        "search": result.selection,
        "merge": result.folder,
        "evaluate": result.scores or next(iter(result.tools.values()), None),
    }
    has = next((mode for mode in COMPARED if kinds[mode] is not None), "")
    mode = run.mode if run.mode in COMPARED else has  # mode=explore merges, too
    if run.mode not in ("", *COMPARED) and not has:
        return nothing
    if kinds.get(mode) is None:
        what = f"no {'selection' if mode == 'search' else 'model' if mode == 'merge' else 'scores'}"
        return replace(run, mode=mode, error=f"{run.output / RESULT}: has {what}")
    seconds = run.seconds if run.seconds is not None else sum(stage.seconds for stage in result.timings)
    return replace(run, mode=mode, result=result, seconds=seconds)


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
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise AdammsError(f"{file}: not what adamms writes ({where}: {first['msg']})") from error
    except (KeyError, TypeError, AttributeError, ValueError, AdammsError) as error:
        raise AdammsError(f"{file}: not what adamms writes ({type(error).__name__}: {error})") from error
