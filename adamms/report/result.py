"""What a run found, as plain data that reads back from JSON: all that reports and comparisons are made from.

Knows no engines, weights or configurations.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, core_schema

from adamms.evaluate.estimate import Estimate
from adamms.evaluate.evaluation import Evaluation, Scores
from adamms.evaluate.foreign.results import ToolResults
from adamms.mapping.checks.distance import Distances
from adamms.mapping.plan import Plan
from adamms.merge.candidate import Candidate, axes_of
from adamms.report.answered import Answered
from adamms.report.cost import Cost
from adamms.report.extraction import Extraction
from adamms.search.choice import Choice, Selection

FIXED_ALPHA = 0.1
SEVERAL = "several"


class OwnJson:
    """Lets pydantic write and read a type by the type's own `to_json` and `from_json`."""

    def __get_pydantic_core_schema__(self, kind: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        writing = core_schema.plain_serializer_function_ser_schema(kind.to_json)
        return core_schema.no_info_plain_validator_function(kind.from_json, serialization=writing)


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
class Hyperparameters:
    """What a model was merged with.

    Args:
        method: its name, e.g. "ties".
        parameters: all of the method's, e.g. {"density": 0.2}.
        shares: donor name -> its share, before a schedule.
        schedule: what made others of the shares, as adamms_recipe.json has it; empty for nothing.
        fingerprint: of the merged weights; by it a merge and an evaluation of its model belong together.
    """

    method: str
    parameters: Mapping[str, Any]
    shares: Mapping[str, float]
    schedule: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""

    @classmethod
    def of_recipe(cls, record: Mapping[str, Any]) -> "Hyperparameters":
        """Those that adamms_recipe.json records."""
        method, schedule = record["method"], dict(record.get("schedule", {}))
        shares, fingerprint = dict(record["coefficients"]), str(record.get("fingerprint", ""))
        return cls(method["name"], dict(method["parameters"]), shares, schedule, fingerprint)


@dataclass(frozen=True)
class Result:
    """Everything that a finished run has to show. What a mode does not make is None or empty.

    >>> found = Evaluation({Candidate(0.1): Scores({"read": 80.0}), Candidate(0.2): Scores({"read": 95.0})})
    >>> result = Result("demo", evaluation=found)
    >>> str(result.oracle(None)), result.score(Candidate(0.1), "read")
    ('0.2', 80.0)
    >>> Result.from_json(result.to_json()) == result
    True

    Args:
        title: of the run, e.g. "demo, seed 0".
        target: the target's name, for people.
        donors: donor name -> what it is, e.g. its folder.
        method: the merge method in words, e.g. "linear: (1 - alpha) * target + alpha * donors".
        plan: which tensors were merged.
        checks: how far the merged tensors are from each other, where the weights were compared.
        extracted: what an adapter holds of the difference of merge and target (mode=extract).
        selection: the label-free choice, per task and overall.
        cost: what the search asked for.
        evaluation: scores by labels, made after the choice.
        evaluated: the folder of a model that was evaluated by itself (mode=evaluate).
        scores: of that model.
        tools: key of an evaluation tool -> what it found of the model in `folder`, or of the one evaluated.
        answered: the inputs that were put to the candidates, with their answers.
        control: what the control is, if not the target interpolated with the ancestor.
        search: the settings of the search in words.
        measure: what the scores are, e.g. "accuracy"; "" where nobody knows.
        published: model -> task -> score that somebody has published, to stand beside.
        labelled: how many labelled answers of each model the scores are over; 0 if unknown.
        timings: of the stages, in order.
        merged: the candidate that the model in `folder` is.
        hyperparameters: what the model in `folder` was merged with.
        folder: where the merged model was written.
        load: code that loads it, on one line.
        command: the command that merges; a candidate's settings are appended, e.g. " merge.alpha=A".
        not_asked: donor name -> what it was not asked of what donors are asked, and why.
        notes: sentences: where the answers come from, what was evaluated, what could not be.
        failure: what went wrong in the end; all else was found, and is written. The run ends with it.
        config: the whole configuration, resolved, as YAML.
    """

    title: str
    target: str = ""
    donors: Mapping[str, str] = field(default_factory=dict)
    method: str = ""
    plan: Annotated[Plan, OwnJson()] | None = None
    checks: Annotated[Distances, OwnJson()] | None = None
    extracted: Extraction | None = None
    selection: Annotated[Selection, OwnJson()] | None = None
    cost: Cost | None = None
    evaluation: Annotated[Evaluation, OwnJson()] | None = None
    evaluated: Path | None = None
    scores: Annotated[Scores, OwnJson()] | None = None
    tools: Mapping[str, Annotated[ToolResults, OwnJson()]] = field(default_factory=dict)
    answered: tuple[Answered, ...] = ()
    control: str = "the target interpolated with the common ancestor"
    search: str = ""
    measure: str = ""
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    labelled: int = 0
    timings: tuple[StageTiming, ...] = ()
    merged: Annotated[Candidate, OwnJson()] | None = None
    hyperparameters: Hyperparameters | None = None
    folder: Path | None = None
    load: str = ""
    command: str = ""
    not_asked: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    failure: str = ""
    config: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data, as result.json holds it."""
        return dict(TypeAdapter(Result).dump_python(self, mode="json"))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Result":
        """What `to_json` wrote; of tools without their samples, which are in their own folders."""
        before = {key: data[key] for key in ("lmms_eval", "vlmevalkit") if data.get(key)}  # until 0.10.0
        return TypeAdapter(cls).validate_python({"tools": before, **data})

    @property
    def unit(self) -> str:
        """Of the scores, in brackets: 'accuracy, %'."""
        return f"{self.measure}, %" if self.measure else "%"

    @property
    def scored(self) -> Evaluation:
        """The evaluation; one without scores where there is none."""
        return self.evaluation or Evaluation({})

    @property
    def choices(self) -> dict[str | None, Choice]:
        """The choice for every task, and with None the one for all; empty without a search."""
        if self.selection is None:
            return {}
        return dict[str | None, Choice](self.selection.tasks) | {None: self.selection.overall}

    @property
    def tasks(self) -> list[str]:
        """Those that were searched, then those that were only evaluated."""
        evaluated = [task for scores in self.scored.candidates.values() for task in scores.tasks]
        return list(dict.fromkeys(task for task in (*self.choices, *evaluated) if task is not None))

    @property
    def candidates(self) -> list[Candidate]:
        """All that have answered or been scored, in increasing order."""
        chosen = [{choice.candidate, *choice.differences} for choice in self.choices.values()]
        return sorted(set(self.scored.candidates).union(*chosen))

    @property
    def several(self) -> Candidate | None:
        """The one of several coefficients that was chosen over the grid's; None where none was."""
        found = self.selection.overall.several if self.selection else None
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
        return self.choices.get(task)

    def winner(self, task: str | None) -> Candidate | None:
        """The candidate that was chosen for a task, or with None for all; None where there is none."""
        return None if (choice := self.choice(task)) is None else choice.candidate

    def scores_of(self, candidate: Candidate | None) -> Scores:
        """A candidate's scores; on no task where there are none."""
        return Scores({}) if candidate is None else self.scored.candidates.get(candidate, Scores({}))

    def score(self, candidate: Candidate | None, task: str | None) -> float | None:
        """A candidate's score on a task, or with None its mean; None where there is none."""
        return self.scores_of(candidate).on(task)

    def oracle(self, task: str | None) -> Candidate | None:
        """The best candidate by labels for a task, or with None on average."""
        return self.scored.oracle(task)

    def regret(self, task: str | None) -> Estimate | None:
        """What the choice loses to the oracle, in points."""
        winner = self.winner(task)
        return None if winner is None else self.scored.regret(winner, task)

    @property
    def chosen(self) -> Scores:
        """The scores of the choice for all tasks."""
        return self.scores_of(self.winner(None))

    @property
    def fixed(self) -> Candidate | None:
        """The evaluated candidate of alpha 0.1, which needs no search."""
        return self._evaluated(FIXED_ALPHA)

    @property
    def unmerged(self) -> Candidate | None:
        """The evaluated candidate of alpha 0, if that is the target itself."""
        return None if self.scored.target else self._evaluated(0.0)

    @property
    def target_scores(self) -> Scores:
        """The target's own scores; on no task where there are none."""
        return self.scored.target or self.scores_of(self.unmerged)

    @property
    def parents(self) -> dict[str, Scores]:
        """The scores of the target and of the donors that could run, by what they are called."""
        target = self.target_scores
        found = {"the target": target} if target.tasks else {}
        return found | {f"donor {name}": scores for name, scores in self.scored.donors.items()}

    @property
    def better_parent(self) -> tuple[str, Scores, Estimate] | None:
        """What the better parent is called, its scores, and what the choice for all tasks is above it."""
        name, scores = max(self.parents.items(), key=lambda item: item[1].mean, default=("", Scores({})))
        gain = self.chosen.estimate(less=scores)
        return None if gain is None else (name, scores, gain)

    @property
    def unscored(self) -> list[str]:
        """The donors that have no score because they were not asked."""
        return [name for name in self.not_asked if name not in self.scored.donors]

    @property
    def best_control(self) -> tuple[Candidate, Scores] | None:
        """The control's best point on average; the lowest alpha among equals."""
        control = self.scored.control
        best = max(sorted(control), key=lambda candidate: control[candidate].mean, default=None)
        return None if best is None else (best, control[best])

    def per_task(self, of_oracles: bool = False) -> Scores:
        """The scores when every task has a model of its own: its choice, or its oracle."""
        of = self.oracle if of_oracles else self.winner
        if self.selection is None:
            return Scores({})
        return Scores.of_tasks({task: self.scores_of(of(task)) for task in self.tasks})

    def _evaluated(self, alpha: float) -> Candidate | None:
        alone = [c for c in self.scored.candidates if c.alpha_alone]
        return next((c for c in alone if c.alpha is not None and abs(c.alpha - alpha) < 1e-9), None)
