"""A run's numbers under stable names, for trackers: a row per candidate, and one line of results.

W&B can sort by names of letters, digits and underscores (docs.wandb.ai, "Metric naming constraints"). Values
along an axis have a "/" after the section of their chart.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from adamms.evaluate.estimate import Estimate
from adamms.evaluate.evaluation import Scores
from adamms.merge.candidate import Candidate, axes_of, short
from adamms.report.result import Result, StageTiming

Row = dict[str, float]
Value = TypeVar("Value")
DIGITS = 10  # of a number that is logged


@dataclass(frozen=True)
class Curves:
    """What is drawn along the candidates.

    Args:
        steps: section of charts -> the name of its x-axis.
        rows: of every candidate of which something is known its place on each axis, and its values in each
            axis' sections.
    """

    steps: Mapping[str, str]
    rows: Sequence[Row]

    @property
    def digest(self) -> str:
        """Of all rows: by it a run that is resumed knows that it has logged them."""
        return hashlib.sha256(json.dumps([list(row.items()) for row in self.rows]).encode()).hexdigest()[:16]


def curves(result: Result, signal: str = "", part: bool = False) -> Curves:
    """D, wins and scores of every candidate, per task and over all.

    Along alpha alone the sections are `D_consistency_sum`, `wins`, `score` and `control`; along another axis,
    or one of several, `wins_over_density` and so on. Several coefficients that were chosen are on none.

    Args:
        signal: what D is, in words.
        part: whether scores are over a part of the labelled examples; their section is `searched_score`.
    """
    names = {"D": identifier(f"D {signal}"), "score": "searched_score" if part else "score"}
    names["score_error"] = f"{names['score']}_error"
    axes = list(axes_of(result.grid))
    alone = len(axes) == 1
    columns = {axis: identifier(short(axis)) for axis in axes}
    steps, rows = {}, []
    for candidate in result.grid:
        place = {columns[axis]: float(value) for axis, value in candidate.settings.items()}
        row = dict(place)
        for axis in candidate.settings:
            ending = "" if alone and columns[axis] == "alpha" else f"_over_{columns[axis]}"
            for section, values in _values(result, candidate).items():
                shown = names.get(section, section) + ending
                steps[shown] = columns[axis]
                row |= {f"{shown}/{name}": value for name, value in values.items()}
        if row.keys() > place.keys():
            rows.append(rounded(row))
    return Curves(steps, rows)


def _values(result: Result, candidate: Candidate) -> dict[str, Row]:
    """Section -> scope -> value, of what is known of the candidate."""
    found: dict[str, Row] = {"D": {}, "wins": {}}
    scored = {
        "score": result.scores_of(candidate),
        "control": result.scored.control.get(candidate, Scores({})),
    }
    for task, scope in _scopes(result).items():
        choice = result.choice(task)
        if choice is not None and candidate in choice.differences:
            found["D"][scope] = choice.differences[candidate]
            if choice.wins:  # which are known at the end only
                found["wins"][scope] = choice.wins.get(candidate, 0.0)
        for section, scores in scored.items():
            for name, value in _estimate(section, scores.estimate(task)).items():
                found.setdefault(name, {})[scope] = value
    return {section: values for section, values in found.items() if values}


def overall(result: Result) -> Row:
    """The choice over all tasks, how sure it is and what it is worth: `all_alpha`, `all_score` ..."""
    row = _choice(result, None, "all")
    if result.best_control:
        row |= _estimate("all_control_score", result.best_control[1].estimate())
    return rounded(
        row
        | _estimate("all_target_score", result.target_scores.estimate())
        | _estimate("all_score_per_task_choice", result.per_task().estimate())
        | _estimate("all_score_per_task_oracle", result.per_task(of_oracles=True).estimate())
        | _estimate("all_gain", result.chosen.estimate(less=result.target_scores))
    )


def progress(stage: StageTiming) -> Row:
    """How much a stage has done so far, and per second: `progress/search_answers` ..."""
    name = f"progress/{identifier(stage.title)}_{identifier(stage.unit)}"
    rate = {f"{name}_per_second": stage.count / stage.seconds} if stage.seconds > 0 else {}
    return rounded({name: stage.count} | rate)


def doubts(result: Result) -> dict[str, str]:
    """What makes each choice doubtful, in words: `all_doubts_in_words` ..."""
    scopes = _scopes(result).items()
    found = {scope: choice.doubts for task, scope in scopes if (choice := result.choice(task)) is not None}
    return {f"{scope}_doubts_in_words": " ".join(said) for scope, said in found.items() if said}


def not_asked(result: Result) -> dict[str, str]:
    """What donors were not asked, and why: `donor_a_not_asked` ..."""
    return {f"donor_{identifier(name)}_not_asked": why for name, why in result.not_asked.items()}


def details(result: Result) -> Row:
    """The same for every task, other models' scores, the coverage of the plan, and every stage's time."""
    row: Row = {}
    for task, scope in _scopes(result).items():
        row |= {} if task is None else _choice(result, task, scope)
    for donor, scores in result.scored.donors.items():
        row |= _estimate(f"donor_{identifier(donor)}_score", scores.estimate())
    if result.scores is not None:
        for task in result.scores.tasks:
            row |= _estimate(f"task_{identifier(task)}_score", result.scores.estimate(task))
        row |= _estimate("all_score", result.scores.estimate())
    for key, metric in ((key, metric) for key, own in result.tools.items() for metric in own.metrics):
        chosen = "" if metric.filter == "none" else f"_{metric.filter}"
        metric_name = f"{key}_{identifier(f'{metric.task}_{metric.name}{chosen}')}"  # in the tool's own units
        row |= _estimate(metric_name, Estimate(metric.value, metric.stderr))
    return rounded(row | _coverage(result) | _times(result.timings))


def _choice(result: Result, task: str | None, scope: str) -> Row:
    """What the search found for a task, or with None for all; with labels also what it cost."""
    choice, oracle = result.choice(task), result.oracle(task)
    values: dict[str, float | None] = {}
    if choice is not None:
        values |= {identifier(short(key)): value for key, value in choice.candidate.settings.items()}
        values["probability"] = choice.trust.probability if choice.trust else None
        values["doubts"] = len(choice.doubts)
        values["wins"] = choice.confidence
        values["D"] = choice.differences[choice.candidate]
    values |= _estimate("score", result.scores_of(result.winner(task)).estimate(task))
    values |= _estimate("oracle_score", result.scores_of(oracle).estimate(task))
    values |= _estimate("regret", result.regret(task))
    if oracle is not None:
        values |= {f"oracle_{identifier(short(key))}": value for key, value in oracle.settings.items()}
    return {f"{scope}_{name}": value for name, value in values.items() if value is not None}


def _estimate(name: str, found: Estimate | None) -> Row:
    """A score, and with `_error` behind its name its standard error; what is not known is left out."""
    values = {} if found is None else {name: found.value, f"{name}_error": found.error}
    return {key: value for key, value in values.items() if value is not None}


def _coverage(result: Result) -> Row:
    if result.plan is None:
        return {}
    groups = result.plan.coverage()
    total, merged = sum(g.parameters for g in groups), [g for g in groups if g.action == "merge"]
    row: Row = {"plan_merged_tensors": sum(g.tensors for g in merged)}
    return row | ({"plan_merged_share": sum(g.parameters for g in merged) / total} if total else {})


def _times(timings: Iterable[StageTiming]) -> Row:
    """Seconds of every stage and what it did per second; stages of one name count together."""
    stages: dict[str, list[StageTiming]] = {}
    for timing in timings:
        stages.setdefault(identifier(re.sub(r"^respond .*", "respond", timing.title)), []).append(timing)
    row: Row = {}
    for stage, found in stages.items():
        seconds = sum(timing.seconds for timing in found)
        row[f"time_{stage}_seconds"] = seconds
        unit = found[0].unit
        if unit and seconds > 0:
            row[f"time_{stage}_{identifier(unit)}_per_second"] = sum(t.count for t in found) / seconds
    if row:
        row["time_total_seconds"] = sum(timing.seconds for group in stages.values() for timing in group)
    return row


def _scopes(result: Result) -> dict[str | None, str]:
    """Task -> its name in metrics, None -> 'all'; no two are the same."""
    found: dict[str | None, str] = {None: "all"}
    for task in result.tasks:
        scope = f"task_{identifier(task)}"
        if scope in found.values():
            scope += f"_{hashlib.sha256(task.encode()).hexdigest()[:6]}"
        found[task] = scope
    return found


def rounded(row: Row) -> Row:
    return {name: plain(value) for name, value in row.items()}


def plain(value: Value) -> Value | float:
    """Without digits that come from rounding: 95.3, not 95.30000000000001."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def identifier(text: str) -> str:
    """The text with everything but letters, digits and underscores replaced by underscores."""
    return re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_") or "_"
