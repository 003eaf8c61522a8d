"""A candidate: one setting of the merge's coefficients that a search tries.

Knows keys of the configuration and numbers, but not what they do to weights.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import total_ordering
from typing import Any

from adamms.errors import AdammsError
from adamms.merge.shares import check_alpha

ALPHA = "merge.alpha"


@total_ordering
@dataclass(frozen=True)
class Candidate:
    """One setting of the merge that the search tries.

    >>> str(Candidate(0.3)), str(Candidate(0.4, (("merge.density", 0.2),)))
    ('0.3', 'density=0.2, alpha=0.4')

    Args:
        alpha: the donors' share; None leaves it as configured.
        parameters: (key of the configuration, value) for everything else that it sets; sorted by key.

    Raises:
        AdammsError: an alpha outside [0, 1], or neither alpha nor parameters.
    """

    alpha: float | None = None
    parameters: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        if self.alpha is not None:
            check_alpha("alpha", self.alpha)
        elif not self.parameters:
            raise AdammsError("a candidate sets nothing; expected an alpha or another parameter")
        object.__setattr__(self, "parameters", tuple(sorted(self.parameters)))

    @classmethod
    def of(cls, settings: Mapping[str, float]) -> "Candidate":
        """The candidate that sets these keys, which may include alpha's."""
        others = tuple((key, value) for key, value in settings.items() if key != ALPHA)
        return cls(settings.get(ALPHA), others)

    @property
    def settings(self) -> dict[str, float]:
        """Key -> value: the parameters, then alpha."""
        return dict(self.parameters) | ({} if self.alpha is None else {ALPHA: self.alpha})

    @property
    def alpha_alone(self) -> bool:
        """Whether it sets only alpha."""
        return self.alpha is not None and not self.parameters

    def value(self, key: str) -> str:
        """The value of a key, as text."""
        return f"{self.alpha:g}" if key == ALPHA else f"{self.settings[key]:.10g}"

    def __str__(self) -> str:
        """'0.3' if it sets only alpha, else 'density=0.2, alpha=0.3'."""
        if self.alpha_alone:
            return self.value(ALPHA)
        return ", ".join(f"{short(key)}={self.value(key)}" for key in self.settings)

    def __lt__(self, other: "Candidate") -> bool:
        return self._order < other._order

    @property
    def _order(self) -> tuple[tuple[tuple[str, float], ...], bool, float]:
        return (self.parameters, self.alpha is not None, self.alpha or 0.0)

    @property
    def overrides(self) -> str:
        """The settings as on the command line."""
        own = [f"{key}={value!r}" for key, value in self.parameters]
        return " ".join([*own, *([] if self.alpha is None else [f"{ALPHA}={self.value(ALPHA)}"])])

    def to_json(self) -> Any:
        """Alpha if it sets only that, else {key: value}."""
        return self.alpha if self.alpha_alone else self.settings

    @classmethod
    def from_json(cls, data: Any) -> "Candidate":
        """The candidate of `to_json`."""
        return cls.of(data) if isinstance(data, Mapping) else cls(data)


def names_to_json(candidates: Iterable[Candidate]) -> dict[str, Any]:
    """What JSON with candidates' names as keys needs besides: {"settings": [...]}, or {} if names suffice.

    >>> names_to_json([Candidate(0.1)]), names_to_json([Candidate(1 / 3)])
    ({}, {'settings': [0.3333333333333333]})
    """
    listed = list(candidates)
    if all(c.alpha_alone and c == Candidate(float(str(c))) for c in listed):
        return {}
    return {"settings": [c.to_json() for c in listed]}


def names_from_json(data: Mapping[str, Any], names: Iterable[str]) -> dict[str, Candidate]:
    """Name -> candidate, for JSON that `names_to_json` was added to."""
    known = {str(c): c for c in map(Candidate.from_json, data.get("settings", ()))}
    return {name: known.get(name) or Candidate(float(name)) for name in names}


def short(key: str) -> str:
    """A key for people: 'density' of merge.density."""
    return key.removeprefix("merge.")


def axes_of(candidates: Iterable[Candidate]) -> dict[str, list[float]]:
    """Key -> its values among the candidates, in increasing order."""
    found: dict[str, set[float]] = {}
    for candidate in candidates:
        for key, value in candidate.settings.items():
            found.setdefault(key, set()).add(value)
    return {key: sorted(values) for key, values in found.items()}
