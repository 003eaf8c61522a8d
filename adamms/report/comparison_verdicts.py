"""Which model is best by each measure, and whether the difference is real: a sentence each."""

from collections.abc import Sequence
from dataclasses import dataclass

from adamms.evaluate.estimate import Estimate
from adamms.report import words
from adamms.report.comparison import Comparison, Group, Row, mean
from adamms.report.measured import Measured
from adamms.report.tables import Cell

MANY = 4  # models that are named one by one


@dataclass(frozen=True)
class Verdict:
    """Which model is best by one measure, in a sentence; `mood` is "good" where the difference is real."""

    text: str
    mood: str = "fair"


def verdicts(comparison: Comparison) -> list[Verdict]:
    """What the scores say, measure by measure; nothing of models without scores."""
    return [_verdict(group) for group in comparison.groups if group.reference and len(group.rows) > 1]


def _verdict(group: Group) -> Verdict:
    """The best model against the next one that is another model."""
    first, by = group.rows[0], f"By {group.measure}"
    assert first.scores is not None
    others = [(row, row.scores) for row in group.rows if row.scores and not same_model(row, first)]
    equal = [row for row in group.rows[1:] if same_model(row, first)]
    level = f" Equally good: {_listing(equal)}." if equal else ""
    if not others:
        return Verdict(f"{by}, all models score the same: {_mean(first)}.")
    second, scores = others[0]
    gap = first.scores.less(scores)
    if gap is None or gap.interval is None:
        why = first.scores.incomparable(scores)
        has = f"{first.name} has the {_end(first)} mean, {_mean(first)}"
        return Verdict(
            f"{by}, {has}, {_points(gap)} from {second.name}; "
            f"whether that is real cannot be told: {why}.{level}"
        )
    if gap.told_apart:
        lead = f"{_points(gap)} over {second.name} ({_interval(gap)})"
        return Verdict(f"{by}, {first.name} is best: {_mean(first)}, {lead}.{level}", "good")
    alike = [row for row in group.not_told_apart if row is not second]
    also = f", nor to {_listing(alike)}" if alike else ""
    rest = len(others) - 1 - len(alike)
    worse = f" The other {rest} {'is' if rest == 1 else 'are'} worse." if rest else ""
    few = f", and only {gap.differing} examples differ" if gap.of_few else ""
    return Verdict(
        f"{by}, {first.name} has the {_end(first)} mean, {_mean(first)}, but no difference can be told to "
        f"{second.name} ({_points(gap)}, {_interval(gap)}{few}){also}.{level}{worse}"
    )


def same_model(one: Row, other: Row) -> bool:
    """Whether two rows are the same model, or have answered everything equally well."""
    if one.scores is None or other.scores is None:
        return False
    same = bool(one.fingerprint) and one.fingerprint == other.fingerprint
    return (same or one.scores.scores == other.scores.scores) and mean(one) == mean(other)


def _end(row: Row) -> str:
    return "lowest" if row.scores and row.scores.less_is_better else "highest"


def _listing(rows: Sequence[Row]) -> str:
    names = [row.name for row in rows]
    return words.listing(
        names if len(names) <= MANY else [*names[: MANY - 1], f"{len(names) - MANY + 1} more"]
    )


def _mean(row: Row) -> str:
    assert row.scores is not None
    return score_cell(row.scores, None).text + _error(row.scores, None)


def _error(scores: Measured, task: str | None) -> str:
    error = words.error(scores.estimate(task)) if scores.percent else ""
    return f" ± {error}" if error else ""


def _points(gap: Estimate | None) -> str:
    return "-" if gap is None else f"{words.signed(gap.value)} points"


def _interval(gap: Estimate) -> str:
    low, high = gap.interval or (0.0, 0.0)
    return f"95 % interval {low:.1f} to {high:.1f}"


def score_cell(scores: Measured | None, task: str | None, best: bool = False) -> Cell:
    found = scores.estimate(task) if scores else None
    if scores is None or found is None or scores.percent:
        return Cell.of(found, best=best)
    return Cell(
        words.metric(found.value) + (f" ± {words.metric(found.error)}" if found.error else ""), best=best
    )
