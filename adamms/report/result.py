"""What a run found, as plain data: what the console prints and the report writes.

Knows no engines, weights or configs; `Result` answers the questions that both ask of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from adamms.data.example import Example
from adamms.evaluate.evaluation import Evaluation, Scores
from adamms.evaluate.lmms.results import LmmsResults
from adamms.mapping.checks.distance import Distances
from adamms.mapping.plan import Plan
from adamms.merge.candidate import Candidate, axes_of
from adamms.search.choice import Choice, Selection

FIXED_ALPHA = 0.1
SEVERAL = "several"


@dataclass(frozen=True)
class StageTiming:
    """How long one stage took.

    Args:
        title: what was done, e.g. "search".
        seconds: wall time.
        count: how many units were done; for the unit "bytes", bytes.
        unit: plural, e.g. "answers"; "" when nothing was counted.
    """

    title: str
    seconds: float
    count: int = 0
    unit: str = ""


@dataclass(frozen=True)
class Answered:
    """One input and what came back.

    Args:
        example: the input.
        texts: candidate -> its answer.
        label: the right answer, where it is known; for people and trackers, long after the search.
        right: candidate -> whether its answer is right by the scorer; empty where that is not known.
    """

    example: Example
    texts: Mapping[Candidate, str]
    label: str | None = None
    right: Mapping[Candidate, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """Everything that a finished run has to show. What a mode does not make is None or empty.

    Args:
        title: of the run, e.g. "demo, seed 0".
        target: the target's name, for people.
        donors: donor name -> what it is, e.g. its folder.
        method: the merge method in words, e.g. "linear: (1 - alpha) * target + alpha * donors".
        plan: which tensors were merged.
        checks: how the merged tensors resemble each other, where the weights were looked into.
        selection: the label-free choice, per task and overall.
        evaluation: scores by labels, made after the choice.
        scores: of a model that was evaluated by itself (mode=evaluate).
        lmms_eval: what lmms-eval found of the model in `folder`, or of the one evaluated by itself.
        answered: the inputs that were put to the candidates, with their answers.
        control: what the control is, if not the target interpolated with the ancestor.
        search: the settings of the search in words.
        unit: of the scores.
        labelled: how many labelled answers of each model the scores are over; 0 if unknown.
        timings: of the stages, in order.
        merged: the candidate that the model in `folder` is.
        folder: where the merged model was written.
        load: code that loads it, on one line.
        command: the command that merges; a candidate's settings are appended, e.g. " merge.alpha=A".
        notes: of a run that has no target: where the answers come from, what was evaluated.
        config: the whole configuration, resolved, as YAML.
    """

    title: str
    target: str = ""
    donors: Mapping[str, str] = field(default_factory=dict)
    method: str = ""
    plan: Plan | None = None
    checks: Distances | None = None
    selection: Selection | None = None
    evaluation: Evaluation | None = None
    scores: Scores | None = None
    lmms_eval: LmmsResults | None = None
    answered: Sequence[Answered] = field(default=())
    control: str = "the target interpolated with the common ancestor"
    search: str = ""
    unit: str = "%"
    labelled: int = 0
    timings: Sequence[StageTiming] = field(default=())
    merged: Candidate | None = None
    folder: Path | None = None
    load: str = ""
    command: str = ""
    notes: Sequence[str] = field(default=())
    config: str = ""

    @property
    def tasks(self) -> list[str]:
        """Those that were searched, then those that were only evaluated."""
        names = dict.fromkeys(self.selection.tasks if self.selection else ())
        if self.evaluation:
            for scores in self.evaluation.candidates.values():
                names |= dict.fromkeys(scores.tasks)
        return list(names)

    @property
    def candidates(self) -> list[Candidate]:
        """All that have answered or been scored, in increasing order."""
        found = set(self.evaluation.candidates) if self.evaluation else set()
        if self.selection:
            for choice in (self.selection.overall, *self.selection.tasks.values()):
                found |= {choice.candidate, *choice.differences}
        return sorted(found)

    @property
    def several(self) -> Candidate | None:
        """The one of several coefficients that was chosen over the grid's; None where none was."""
        choice = self.choice(None)
        found = None if choice is None else choice.several
        return found.best if found is not None and found.better else None

    @property
    def grid(self) -> list[Candidate]:
        """`candidates` without `several`, which lies on none of the grid's axes alone."""
        return [candidate for candidate in self.candidates if candidate != self.several]

    def label(self, candidate: Candidate) -> str:
        """A candidate in a table: 'several' is the one of several coefficients that was chosen."""
        return SEVERAL if candidate == self.several else str(candidate)

    def heading(self, candidate: Candidate) -> str:
        """A candidate above a column: its value alone where the grid has one axis."""
        if self.axis is None or candidate == self.several:
            return self.label(candidate)
        return candidate.value(self.axis)

    @property
    def axis(self) -> str | None:
        """The key that the grid's candidates differ in; None if there are several."""
        keys = list(axes_of(self.grid))
        return keys[0] if len(keys) == 1 else None

    def choice(self, task: str | None) -> Choice | None:
        """The choice for a task, or with None for all; None where there is none."""
        if self.selection is None:
            return None
        return self.selection.overall if task is None else self.selection.tasks.get(task)

    def score(self, candidate: Candidate | None, task: str | None) -> float | None:
        """A candidate's score on a task, or with None its mean; None where there is none."""
        if self.evaluation is None or candidate is None:
            return None
        return self.evaluation.score(candidate, task)

    def oracle(self, task: str | None) -> Candidate | None:
        """The best candidate by labels for a task, or with None on average."""
        return None if self.evaluation is None else self.evaluation.oracle(task)

    def regret(self, task: str | None) -> float | None:
        """What the choice loses to the oracle, in the scores' unit."""
        choice = self.choice(task)
        if self.evaluation is None or choice is None:
            return None
        return self.evaluation.regret(choice.candidate, task)

    @property
    def fixed(self) -> Candidate | None:
        """The evaluated candidate of alpha 0.1, which needs no search."""
        return self._evaluated(FIXED_ALPHA)

    @property
    def unmerged(self) -> Candidate | None:
        """The evaluated candidate of alpha 0, if that is the target itself."""
        return None if self.evaluation and self.evaluation.target else self._evaluated(0.0)

    def target_score(self, task: str | None) -> float | None:
        """The target's own score on a task, or with None its mean; None where there is none."""
        if self.evaluation is not None and self.evaluation.target is not None:
            return score_on(self.evaluation.target, task)
        return self.score(self.unmerged, task)

    @property
    def parents(self) -> dict[str, float]:
        """The mean scores of the target and of the donors that could run, by what they are called."""
        target = self.target_score(None)
        found = {} if target is None else {"the target": target}
        donors = self.evaluation.donors if self.evaluation else {}
        return found | {f"donor {name}": scores.mean for name, scores in donors.items()}

    @property
    def best_control(self) -> tuple[Candidate, Scores] | None:
        """The control's best point on average; the lowest alpha among equals."""
        if self.evaluation is None or not self.evaluation.control:
            return None
        control = self.evaluation.control
        best = max(sorted(control), key=lambda candidate: control[candidate].mean)
        return best, control[best]

    def per_task_mean(self, of_oracles: bool = False) -> float | None:
        """Mean score when every task has a model of its own: at its choice, or at its oracle."""
        if self.evaluation is None or self.selection is None:
            return None
        scores = []
        for task in self.tasks:
            choice = self.choice(task)
            candidate = self.oracle(task) if of_oracles else choice.candidate if choice else None
            score = self.score(candidate, task)
            if score is None:
                return None
            scores.append(score)
        return sum(scores) / len(scores) if scores else None

    def _evaluated(self, alpha: float) -> Candidate | None:
        for candidate in self.evaluation.candidates if self.evaluation else ():
            if candidate.alpha is not None and candidate.alpha_alone and abs(candidate.alpha - alpha) < 1e-9:
                return candidate
        return None


def score_on(scores: Scores | None, task: str | None) -> float | None:
    """The score on a task, or with None the mean; None where there is none."""
    if scores is None or not scores.tasks:
        return None
    return scores.mean if task is None else scores.tasks.get(task)
