"""Runs side by side, as plain data: models by the scores that each measure gives them.

What belongs together is decided in `pairing`. Knows no files.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adamms.evaluate.estimate import Estimate
from adamms.report.compare.measured import Measured
from adamms.report.compare.run_folders import FoundRun
from adamms.report.result import Result
from adamms.report.trackers import identity, metrics
from adamms.search.choice import Trust

# Overrides that make no other model and no other scores.
APART = (*identity.APART, "mode", "model_folder", "hydra")


@dataclass(frozen=True)
class Row:
    """One model, by one measure if anything has measured it.

    Args:
        name: what tells it from the other models of its group.
        made: the search or merge that wrote it; None of a model that is only evaluated, and of parents.
        scored: the run that has its scores; None without scores.
        scores: by one measure.
        parent: whether it is the target or a donor, as a search has scored them.
    """

    name: str
    made: FoundRun | None
    scored: FoundRun | None = None
    scores: Measured | None = None
    parent: bool = False

    @property
    def run(self) -> FoundRun:
        """The run that knows most of it."""
        found = self.made or self.scored
        assert found is not None
        return found

    @property
    def settings(self) -> dict[str, str]:
        """What was typed for it and for its evaluation, of all that can make a difference: key -> value."""
        return {key: value for run in (self.made, self.scored) if run for key, value in typed(run).items()}

    @property
    def method(self) -> str:
        """By which it was merged; "" of a model that is no merge."""
        merged = None if self.parent else self.run.found.hyperparameters
        return merged.method if merged else ""

    @property
    def shares(self) -> str:
        """Its coefficients, chosen or given: '0.3', 'density=0.2, alpha=0.4'; "" of no merge."""
        if self.parent:
            return ""
        chosen, merged = self.run.found.winner(None), self.run.found.hyperparameters
        if chosen is not None or merged is None:
            return str(chosen or "")
        shares = list(merged.shares.values())
        if len(shares) == 1:
            return f"{shares[0]:g}"
        return ", ".join(f"{name}={share:g}" for name, share in merged.shares.items())

    @property
    def trust(self) -> Trust | None:
        """How probably it is a good choice; None where nothing was chosen, or nobody says."""
        choice = None if self.parent else self.run.found.choice(None)
        return choice.trust if choice else None

    @property
    def fingerprint(self) -> str:
        merged = None if self.parent else self.run.found.hyperparameters
        return merged.fingerprint if merged else ""

    @property
    def seconds(self) -> float | None:
        """What it took to make it."""
        return self.made.seconds if self.made else None

    @property
    def bytes(self) -> int | None:
        """On disk; None of a model that is not there."""
        folder = None if self.parent else (self.made.model if self.made else self.run.found.evaluated)
        if folder is None or not folder.is_dir():
            return None
        return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def typed(run: FoundRun) -> dict[str, str]:
    """What was typed for a run, of all that can make a difference: key -> value."""
    return {k: v for k, v in run.overrides.items() if re.split(r"[./@]", k)[0] not in APART}


@dataclass(frozen=True)
class Group:
    """The models that one measure has scored on the same tasks, the best first; or those without scores.

    Args:
        measure: "" of those without scores.
        reference: the model that the others' differences are to; None without scores.
    """

    measure: str
    rows: tuple[Row, ...]
    reference: Row | None = None

    @property
    def tasks(self) -> list[str]:
        scores = self.rows[0].scores
        return list(scores.scores.tasks) if scores else []

    @property
    def best(self) -> list[Row]:
        """Those with the best mean, which may be the same model several times."""
        return [] if self.reference is None else [row for row in self.rows if mean(row) == mean(self.rows[0])]

    def difference(self, row: Row, task: str | None = None) -> Estimate | None:
        """What a model is above the reference, over the same examples; None of the reference itself."""
        if (
            row is self.reference
            or row.scores is None
            or self.reference is None
            or self.reference.scores is None
        ):
            return None
        return row.scores.less(self.reference.scores, task)

    @property
    def not_told_apart(self) -> list[Row]:
        """The models that are worse than the best one by a difference that is not told apart from none."""
        first = self.rows[0].scores
        others = [row for row in self.rows if row not in self.best and row.scores and first]
        gaps = [(row, row.scores.less(first)) for row in others if row.scores and first]
        return [row for row, gap in gaps if gap and gap.interval is not None and not gap.told_apart]


def mean(row: Row) -> float:
    assert row.scores is not None
    return row.scores.scores.mean


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Args:
        folder: where the comparison goes.
        runs: all that were found, in order.
        groups: the models, by measure; those without scores come last.
        searches: those of the runs, by what tells them from each other.
        problems: a sentence for every folder without a run.
    """

    folder: Path
    runs: tuple[FoundRun, ...] = ()
    groups: tuple[Group, ...] = ()
    searches: tuple[tuple[str, FoundRun], ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def rows(self) -> list[Row]:
        return [row for group in self.groups for row in group.rows]

    @property
    def varying(self) -> list[str]:
        """The keys in which the models' settings differ, in the order in which they were typed."""
        return varying([row.settings for row in self.rows if not row.parent])

    def to_json(self) -> dict[str, Any]:
        """What the tables hold, for other programs: comparison.json."""
        runs = []
        for run in self.runs:
            record = {**vars(run), "output": str(run.output)}
            del record["result"]
            runs.append(record | {"found": None if run.result is None else _found(run.result)})
        groups = [
            {
                "measure": group.measure,
                "models": [row.name for row in group.rows],
                "reference": group.reference and group.reference.name,
                "best": [row.name for row in group.best],
                "not_told_apart_from_the_best": [row.name for row in group.not_told_apart],
            }
            for group in self.groups
        ]
        return {"varying": self.varying, "groups": groups, "problems": list(self.problems), "runs": runs}


def _found(result: Result) -> dict[str, Any]:
    """What a search chose, what was merged, and every number of the run under the name that trackers use."""
    return {
        **({} if result.hyperparameters is None else vars(result.hyperparameters)),
        "selection": None if result.selection is None else result.selection.to_json(),
        "numbers": metrics.overall(result) | metrics.details(result),
    }


def varying(found: Sequence[Mapping[str, str]]) -> list[str]:
    """The keys that have not the same value everywhere, in the order in which they were typed."""
    keys = list(dict.fromkeys(key for settings in found for key in settings))
    return [key for key in keys if len({settings.get(key) for settings in found}) > 1]
