"""How good every model turned out to be, and what the label-free choice cost. Plain data.

Made after the search is over, from answers and labels; nothing of it flows back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adamms.merge.candidate import Candidate


@dataclass(frozen=True)
class Scores:
    """Scores of one model per task, in the scorer's unit."""

    tasks: Mapping[str, float]

    @property
    def mean(self) -> float:
        """The unweighted mean over tasks, as the paper sums its benchmarks."""
        return sum(self.tasks.values()) / len(self.tasks)

    def to_json(self) -> dict[str, Any]:
        return {"tasks": dict(self.tasks), "mean": self.mean}


@dataclass(frozen=True)
class Evaluation:
    """Scores along the grid, of the parents and of the control.

    Args:
        candidates: candidate -> scores, of the grid and of the references that are not on it.
        donors: donor name -> scores of the donor running natively; those that could run.
        control: candidate -> scores of the target interpolated with the ancestor, no donor in it;
            empty when there is no ancestor or the control was not asked for.
        target: scores of the target itself, if no candidate of alpha 0 is the target; else None.
    """

    candidates: Mapping[Candidate, Scores]
    donors: Mapping[str, Scores]
    control: Mapping[Candidate, Scores]
    target: Scores | None = None

    @property
    def oracle(self) -> Candidate:
        """The best candidate on average; the lowest among equals."""
        return max(sorted(self.candidates), key=lambda candidate: self.candidates[candidate].mean)

    def task_oracle(self, task: str) -> Candidate:
        """The best candidate for one task."""
        return max(sorted(self.candidates), key=lambda candidate: self.candidates[candidate].tasks[task])

    def regret(self, choice: Candidate) -> float:
        """What the choice loses to the oracle on average, in points."""
        return self.candidates[self.oracle].mean - self.candidates[choice].mean

    def task_regret(self, task: str, choice: Candidate) -> float:
        """What the choice loses to the task's oracle, in points."""
        best = self.candidates[self.task_oracle(task)].tasks[task]
        return best - self.candidates[choice].tasks[task]

    def to_json(self) -> dict[str, Any]:
        target = {} if self.target is None else {"target": self.target.to_json()}
        return target | {
            "candidates": {str(c): scores.to_json() for c, scores in sorted(self.candidates.items())},
            "donors": {name: scores.to_json() for name, scores in self.donors.items()},
            "control": {str(c): scores.to_json() for c, scores in sorted(self.control.items())},
            "oracle": self.oracle.to_json(),
        }
