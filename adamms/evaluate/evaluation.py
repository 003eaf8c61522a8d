"""How good every model is by labels, and what the label-free choice lost. Plain data.

Made from answers and labels after the search; the search never sees it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adamms.merge.candidate import Candidate, names_from_json, names_to_json


@dataclass(frozen=True)
class Scores:
    """Scores of one model per task, in the scorer's unit.

    >>> Scores({"read": 90.0, "count": 50.0}).mean
    70.0
    """

    tasks: Mapping[str, float]

    @property
    def mean(self) -> float:
        """The unweighted mean over tasks, as the paper sums its benchmarks."""
        return sum(self.tasks.values()) / len(self.tasks)

    def on(self, task: str | None) -> float | None:
        """The score on a task, or with None the mean; None where there is none."""
        if not self.tasks:
            return None
        return self.mean if task is None else self.tasks.get(task)

    def to_json(self) -> dict[str, Any]:
        return {"tasks": dict(self.tasks), "mean": self.mean}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Scores":
        return cls(data["tasks"])


@dataclass(frozen=True)
class Evaluation:
    """Scores along the grid, of the parents and of the control.

    >>> found = Evaluation({Candidate(0.1): Scores({"read": 80.0}), Candidate(0.2): Scores({"read": 95.0})})
    >>> str(found.oracle()), found.regret(Candidate(0.1))
    ('0.2', 15.0)

    Args:
        candidates: candidate -> scores, of the grid and of the references that are not on it.
        donors: donor name -> scores of the donor as a model of its own; without those that cannot run.
        control: candidate -> scores of the target interpolated with the ancestor, without the donors;
            empty if there is no ancestor or if nobody asked for the control.
        target: scores of the target itself, if it is not the candidate of alpha 0.
    """

    candidates: Mapping[Candidate, Scores]
    donors: Mapping[str, Scores] = field(default_factory=dict)
    control: Mapping[Candidate, Scores] = field(default_factory=dict)
    target: Scores | None = None

    def score(self, candidate: Candidate, task: str | None = None) -> float | None:
        """A candidate's score on a task, or with None its mean; None where there is none."""
        return self.candidates.get(candidate, Scores({})).on(task)

    def oracle(self, task: str | None = None) -> Candidate | None:
        """The best candidate on a task, or with None on average; the lowest among equals.

        None if there are no candidates, or if one has no score on the task.
        """
        scores = {candidate: self.score(candidate, task) for candidate in sorted(self.candidates)}
        known = {candidate: score for candidate, score in scores.items() if score is not None}
        return max(known, key=lambda candidate: known[candidate]) if known and known == scores else None

    def regret(self, candidate: Candidate, task: str | None = None) -> float | None:
        """What a candidate loses to the oracle of a task, or with None on average, in the scores' unit."""
        oracle, own = self.oracle(task), self.score(candidate, task)
        best = None if oracle is None else self.score(oracle, task)
        return None if best is None or own is None else best - own

    def to_json(self) -> dict[str, Any]:
        oracle = self.oracle()
        return ({} if self.target is None else {"target": self.target.to_json()}) | {
            "candidates": {str(c): scores.to_json() for c, scores in sorted(self.candidates.items())},
            "donors": {name: scores.to_json() for name, scores in self.donors.items()},
            "control": {str(c): scores.to_json() for c, scores in sorted(self.control.items())},
            "oracle": None if oracle is None else oracle.to_json(),
            **names_to_json(sorted({*self.candidates, *self.control})),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Evaluation":
        names = names_from_json(data, [*data["candidates"], *data["control"]])
        return cls(
            {names[name]: Scores.from_json(scores) for name, scores in data["candidates"].items()},
            {name: Scores.from_json(scores) for name, scores in data["donors"].items()},
            {names[name]: Scores.from_json(scores) for name, scores in data["control"].items()},
            Scores.from_json(data["target"]) if "target" in data else None,
        )
