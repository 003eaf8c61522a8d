"""Which model is best by each measure, and whether the difference is real: a sentence each."""

from collections.abc import Sequence
from dataclasses import dataclass

from adamms.evaluate.estimate import Estimate
from adamms.report import words
from adamms.report.compare.comparison import Comparison, Group, Row, mean
from adamms.report.compare.measured import Measured
from adamms.report.table import Cell

MANY = 4  # models that are named one by one


@dataclass(frozen=True)
class Verdict:
    """Which model is best by one measure, and whether that is real.

    Args:
        by: the measure.
        lead: the answer in a few words.
        rest: the numbers, and what holds for the other models; begins with a sign of punctuation or a space.
        mood: "good" where the difference is real.
    """

    by: str
    lead: str
    rest: str
    mood: str = "fair"

    @property
    def text(self) -> str:
        return f"{self.by}, {self.lead}{self.rest}"


def verdicts(comparison: Comparison) -> list[Verdict]:
    """What the scores say, measure by measure; nothing of models without scores."""
    return [_verdict(group) for group in comparison.groups if group.reference and len(group.rows) > 1]


def _verdict(group: Group) -> Verdict:
    """The best model against all others that are another model: not told apart, unknown, or worse."""
    first, by = group.rows[0], f"By {group.measure}"
    assert first.scores is not None
    others = [row for row in group.rows if row.scores and not same_model(row, first)]
    equal = [row for row in group.rows[1:] if same_model(row, first)]
    level = f" Equally good: {_listing(equal)}." if equal else ""
    if not others:
        return Verdict(by, "all models score the same", f": {_mean(first)}.")
    gaps = [(row, first.scores.less(row.scores)) for row in others if row.scores]
    known = [(row, gap) for row, gap in gaps if gap and gap.interval]
    alike = [(row, gap) for row, gap in known if not gap.told_apart]
    unknown = [(row, gap) for row, gap in gaps if not (gap and gap.interval)]
    if not alike and not unknown:
        second, gap = known[0]
        ahead = f"{_points(gap)} over {second.name} ({_interval(gap)})"
        return Verdict(by, f"{first.name} is best", f": {_mean(first)}, {ahead}.{level}", "good")
    lead, said = f"{first.name} has the {_end(first)} mean, {_mean(first)}", ""
    if alike:
        (second, gap), *more = alike
        few = f", and only {gap.differing} examples differ" if gap.of_few else ""
        also = f", nor from {_listing([row for row, _ in more])}" if more else ""
        lead += f", but is not told apart from {second.name}"
        said = f" ({_points(gap)}, {_interval(gap)}{few}){also}"
    elif unknown:
        (second, unsure), *unknown = unknown
        why = _why(first, second)
        said = f", {_points(unsure)} from {second.name}; whether that is real is not known: {why}"
    reasons: dict[str, list[Row]] = {}
    for row, _ in unknown:
        reasons.setdefault(_why(first, row), []).append(row)
    doubts = [
        f" Whether the difference to {_listing(rows)} is real is not known: {why}."
        for why, rows in reasons.items()
    ]
    rest = len(known) - len(alike)
    worse = f" The other {rest} {'is' if rest == 1 else 'are'} worse." if rest else ""
    return Verdict(by, lead, f"{said}.{level}{''.join(doubts)}{worse}")


def _why(one: Row, other: Row) -> str:
    """Why nobody knows how exact their difference is."""
    assert one.scores is not None
    assert other.scores is not None
    return one.scores.incomparable(other.scores)


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
    assert gap.interval is not None
    return f"95 % interval {words.ends(gap)}"


def score_cell(scores: Measured | None, task: str | None, best: bool = False) -> Cell:
    found = scores.estimate(task) if scores else None
    if scores is None or found is None or scores.percent:
        return Cell.of(found, best=best)
    return Cell(
        words.metric(found.value) + (f" ± {words.metric(found.error)}" if found.error else ""), best=best
    )
