"""How good every model is by labels, and what the label-free choice lost. Plain data.

Made from answers and labels after the search; the search never sees it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from adamms.evaluate.estimate import Estimate
from adamms.merge.candidate import Candidate, names_from_json, names_to_json
from adamms.search.resampling import SAME, Array, resampled_sums

PERCENT = 100  # points of a task for an answer that is right, over its examples
Examples = Mapping[str, Sequence[str]]  # task -> ids, in order
RESAMPLES = 2000  # by which a standard error is exact to 2 % of itself
SEED = 0  # of the draws, with the task's name


@dataclass(frozen=True)
class Scores:
    """Scores of one model per task, in percent.

    >>> Scores({"read": 90.0, "count": 50.0}).mean
    70.0
    >>> Scores.of({"read": {"r1": 1.0, "r2": 0.5}}).tasks
    {'read': 75.0}

    Args:
        tasks: task -> the mean over its examples, in percent.
        points: task -> example id -> how right the answer is, in [0, 1], times its weight where they weigh
            differently; empty where that is not known.
        resampled: task -> the score in every resample, shape (resamples,), as far as it was asked for.
    """

    tasks: Mapping[str, float]
    points: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    resampled: dict[str, Array] = field(default_factory=dict, init=False, compare=False, repr=False)

    @classmethod
    def of(cls, points: Mapping[str, Mapping[str, float]]) -> "Scores":
        """The scores that these points come to."""
        return cls({task: PERCENT * sum(own.values()) / len(own) for task, own in points.items()}, points)

    @property
    def mean(self) -> float:
        """The unweighted mean over tasks, as the paper sums its benchmarks."""
        return sum(self.tasks.values()) / len(self.tasks)

    @classmethod
    def of_tasks(cls, models: Mapping[str, "Scores"]) -> "Scores":
        """Those of a model of its own for every task; none if one has no score on its task.

        Args:
            models: task -> the model for it.
        """
        if any(task not in model.tasks for task, model in models.items()):
            return cls({})
        points = {task: model.points[task] for task, model in models.items() if task in model.points}
        found = cls({task: model.tasks[task] for task, model in models.items()}, points)
        for task, model in models.items():
            if task in model.resampled:
                found.resampled[task] = model.resampled[task]
        return found

    def on(self, task: str | None) -> float | None:
        """The score on a task, or with None the mean; None where there is none."""
        if not self.tasks:
            return None
        return self.mean if task is None else self.tasks.get(task)

    def estimate(self, task: str | None = None, less: "Scores | None" = None) -> Estimate | None:
        """A score, or with `less` what it is above another model's, and how exact that is.

        Two models are compared example by example. How exact the result is, is not known where a task has
        fewer than two examples, or where the models have not answered the same examples.

        Args:
            task: None for the mean over tasks.
            less: the model whose score is subtracted.
        """
        own, other = self.on(task), 0.0 if less is None else less.on(task)
        if own is None or other is None:
            return None
        drawn = resampled([self] if less is None else [self, less], task)
        if drawn is None or less is None:
            return Estimate.of(own - other, None if drawn is None else drawn[0])
        pairs = (
            (points, less.points[each][example])
            for each in (self.tasks if task is None else [task])
            for example, points in self.points[each].items()
        )
        differing = sum(abs(one - two) > SAME for one, two in pairs)
        return Estimate.of(own - other, drawn[0] - drawn[1], differing)

    def to_json(self, examples: Examples = MappingProxyType({})) -> dict[str, Any]:
        """Points are lists in the order of `examples`; the ids of other examples come with them.

        Args:
            examples: those that the reader knows.
        """
        errors = {task: found.error for task in self.tasks if (found := self.estimate(task))}
        mean = self.estimate()
        own = {task: list(p) for task, p in self.points.items() if p.keys() != set(examples.get(task, ()))}
        order = {**examples, **own}
        return {
            "tasks": dict(self.tasks),
            "mean": self.on(None),
            "errors": {task: error for task, error in errors.items() if error is not None},
            "mean_error": mean and mean.error,
            **({"examples": own} if own else {}),
            "points": {
                task: [_short(p[example]) for example in order[task]] for task, p in self.points.items()
            },
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], examples: Examples = MappingProxyType({})) -> "Scores":
        """What `to_json` wrote, also before it wrote points, and when it wrote them with their ids."""
        order = {**examples, **data.get("examples", {})}
        points = {
            task: found
            if isinstance(found, Mapping)
            else dict(zip(order[task], map(float, found), strict=True))
            for task, found in data.get("points", {}).items()
        }
        return cls(data["tasks"], points)


def draw(models: Iterable[Scores]) -> None:
    """Fill in `resampled` where it is missing, of tasks with two examples or more.

    The draws depend on the task and its number of examples alone: two models that answered the same examples
    are compared on the same draws, so that what both find hard cancels out (paired bootstrap; Koehn 2004,
    Statistical Significance Tests for Machine Translation Evaluation, aclanthology.org/W04-3250). Every task
    is drawn from by itself, n - 1 of its n examples at a time, which makes the variance of a mean over tasks
    unbiased however few examples each has (Rao and Wu 1988, Resampling Inference with Complex Survey Data).
    """
    missing: dict[tuple[str, tuple[str, ...]], list[Scores]] = {}
    for model in models:
        for task, own in model.points.items():
            if len(own) > 1 and task not in model.resampled:
                missing.setdefault((task, tuple(sorted(own))), []).append(model)
    for (task, examples), alike in missing.items():
        points = np.array([[model.points[task][example] for example in examples] for model in alike])
        draws = len(examples) - 1
        sums = resampled_sums(points, draws, RESAMPLES, [SEED, *task.encode()])
        for model, found in zip(alike, sums.T, strict=True):
            model.resampled[task] = PERCENT * found / draws


def resampled(models: Iterable[Scores], task: str | None) -> Array | None:
    """Scores on a task, or with None means, in every resample, the same draws for all models.

    Returns:
        Shape (models, resamples); None where they are not known, or not over the same examples.
    """
    found = list(models)
    draw(found)
    tasks = found[0].tasks.keys() if task is None else [task]
    for each in tasks:
        asked = [set(model.points.get(each, ())) for model in found]
        if len(asked[0]) < 2 or any(other != asked[0] for other in asked):
            return None
    return np.stack([np.mean([model.resampled[each] for each in tasks], axis=0) for model in found])


@dataclass(frozen=True)
class Evaluation:
    """Scores along the grid, of the parents and of the control.

    >>> found = Evaluation({Candidate(0.1): Scores({"read": 80.0}), Candidate(0.2): Scores({"read": 95.0})})
    >>> str(found.oracle()), found.regret(Candidate(0.1)).value
    ('0.2', 15.0)

    Args:
        candidates: candidate -> scores, of the grid and of the references that are not on it.
        donors: donor name -> scores of the donor as a model of its own; without those that cannot run.
        control: candidate -> scores of the target interpolated with the ancestor, without the donors;
            empty if there is no ancestor or if nobody asked for the control.
        target: scores of the target itself, if it is not the candidate of alpha 0.
        others: name -> scores of other models, which have nothing to do with the grid.
    """

    candidates: Mapping[Candidate, Scores]
    donors: Mapping[str, Scores] = field(default_factory=dict)
    control: Mapping[Candidate, Scores] = field(default_factory=dict)
    target: Scores | None = None
    others: Mapping[str, Scores] = field(default_factory=dict)

    @property
    def models(self) -> list[Scores]:
        """The scores of all of them."""
        target = [] if self.target is None else [self.target]
        grid = [*self.candidates.values(), *self.donors.values(), *self.control.values()]
        return [*grid, *target, *self.others.values()]

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

    def regret(self, candidate: Candidate, task: str | None = None) -> Estimate | None:
        """What a candidate loses to the oracle of a task, or with None on average, in points.

        For its standard error the oracle is found anew in every resample. It has no interval: no regret is
        below 0, and the oracle, the best on the same examples, is flattered.
        """
        oracle, own = self.oracle(task), self.score(candidate, task)
        best = None if oracle is None else self.score(oracle, task)
        if best is None or own is None:
            return None
        drawn, place = resampled(self.candidates.values(), task), list(self.candidates).index(candidate)
        return Estimate(best - own, None if drawn is None else float((drawn.max(0) - drawn[place]).std()))

    def to_json(self) -> dict[str, Any]:
        """Every model's points are in the order of `examples`, but for models that answered others."""
        draw(self.models)  # all together: that takes hardly longer than for one
        oracle, examples = self.oracle(), dict[str, list[str]]()
        for model in self.models:
            for task, points in model.points.items():
                examples.setdefault(task, list(points))
        return ({} if self.target is None else {"target": self.target.to_json(examples)}) | {
            "examples": examples,
            "candidates": {str(c): scores.to_json(examples) for c, scores in sorted(self.candidates.items())},
            "donors": {name: scores.to_json(examples) for name, scores in self.donors.items()},
            "control": {str(c): scores.to_json(examples) for c, scores in sorted(self.control.items())},
            **({"others": {n: s.to_json(examples) for n, s in self.others.items()}} if self.others else {}),
            "oracle": None if oracle is None else oracle.to_json(),
            **names_to_json(sorted({*self.candidates, *self.control})),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Evaluation":
        names = names_from_json(data, [*data["candidates"], *data["control"]])

        def scores(found: Mapping[str, Any]) -> Scores:
            return Scores.from_json(found, data.get("examples", {}))

        return cls(
            {names[name]: scores(found) for name, found in data["candidates"].items()},
            {name: scores(found) for name, found in data["donors"].items()},
            {names[name]: scores(found) for name, found in data["control"].items()},
            scores(data["target"]) if "target" in data else None,
            {name: scores(found) for name, found in data.get("others", {}).items()},
        )


def _short(number: float) -> float:
    """A whole number without its fraction, for JSON."""
    return int(number) if number.is_integer() else number
