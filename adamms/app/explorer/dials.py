"""The numbers of a merge that can be turned while one looks at the answers. Knows no model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from adamms.app.config.grid import DEFAULTS, coefficients
from adamms.app.config.merge_settings import read_merge
from adamms.app.settings import Run
from adamms.errors import AdammsError
from adamms.merge.candidate import ALPHA, Candidate, axes_of, short


@dataclass(frozen=True)
class Dial:
    """One number of the merge.

    >>> Dial("merge.rules.attn.factor", 0.0, 2.0, 1.0).name
    'rules.attn.factor'

    Args:
        key: of the configuration.
        least, most: its range.
        now: its value at the start.
        values: the only ones that it may have, of a hyper-parameter of the method; () for the whole range.
    """

    key: str
    least: float
    most: float
    now: float
    values: tuple[float, ...] = ()

    @property
    def name(self) -> str:
        """For people."""
        return short(self.key)

    def within(self, value: float | None) -> float:
        """The value, or the end of the range that is nearest to it, as the page's box has it.

        Raises:
            AdammsError: no value.
        """
        if value is None:
            raise AdammsError(f"{self.name} has no value; give one from {self.least:g} to {self.most:g}")
        return min(max(float(value), self.least), self.most)


def dials_of(run: Run) -> list[Dial]:
    """Alpha, the weights of several donors, the numbers of named rules, and the grid's other keys."""
    held = coefficients(run.merge.node, len(run.models.donors))
    axes = axes_of(run.grid)
    found = []
    for key, (kind, now) in held.items():
        least, most = DEFAULTS[kind]
        found.append(Dial(key, least, max(most, now), now))
    for key, values in axes.items():
        if key not in held:
            start = _number(run, key)
            start = start if start in values else values[0]
            found.append(Dial(key, values[0], values[-1], start, tuple(values)))
    return found


def _number(run: Run, key: str) -> float | None:
    value: object = run.merge.node
    for step in key.split(".")[1:]:
        value = value.get(step) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def weighed(run: Run) -> Run:
    """The run with a weight for each of several donors, all alike where none was given."""
    names = list(run.models.donors)
    if len(names) < 2 or run.merge.weights is not None:
        return run
    return replace(run, merge=read_merge({**run.merge.node, "weights": dict.fromkeys(names, 1.0)}))


def candidate_at(dials: Sequence[Dial], values: Sequence[float | None]) -> Candidate:
    """The candidate of these values, one per dial.

    Raises:
        AdammsError: one is missing.
    """
    return Candidate.of({dial.key: dial.within(value) for dial, value in zip(dials, values, strict=True)})


def along(grid: Sequence[Candidate], at: Candidate) -> tuple[str, list[Candidate]]:
    """The key that the grid varies first of all, alpha if it does; and `at` with each of its values there."""
    axes = axes_of(grid)
    key = ALPHA if ALPHA in axes else next(iter(axes))
    return key, [Candidate.of(at.settings | {key: value}) for value in axes[key]]
