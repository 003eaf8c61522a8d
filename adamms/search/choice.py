"""What a search returns: the candidate that wins, per task and over all. Plain data.

Made from answers alone. Knows no labels, models or engines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from adamms.merge.candidate import Candidate, names_from_json, names_to_json

# Why the paper's winner wins. By this alone, selection.json once told what D is.
LEAST_CHANGE = "its answers change least against its neighbours on the grid"
EXACT = "exact match"  # by which the paper compares answers
DOUBTED = 0.5  # the highest probability of a choice that its data cannot support


@dataclass(frozen=True)
class Trust:
    """How probably a choice is a good one.

    Args:
        probability: that the winner's accuracy is at most `tolerance` below the best candidate's.
        tolerance: in points.
        slope: points of accuracy that a point of D was taken to predict; 0: only differing answers count.
    """

    probability: float
    tolerance: float
    slope: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return dict(vars(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Trust":
        return cls(**data)


@dataclass(frozen=True)
class Several:
    """How several coefficients compare with the choice on the grid, over examples that no optimiser has seen.

    Args:
        single: the choice on the grid.
        best: the best that the optimiser found on the examples it saw; `single` if nothing was better.
        tried: how many candidates it asked.
        seen: how many examples it saw.
        examples: how many other examples the two are compared on.
        differences: D of `single` and of `best` over those.
        confidence: share of bootstrap resamples of those in which `best` has the smaller D.
        level: from which confidence on `best` is taken.
    """

    single: Candidate
    best: Candidate
    tried: int
    seen: int
    examples: int
    differences: tuple[float, float]
    confidence: float
    level: float

    @property
    def better(self) -> bool:
        return self.best != self.single and self.confidence >= self.level

    def to_json(self) -> dict[str, Any]:
        return vars(self) | {"single": self.single.to_json(), "best": self.best.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Several":
        single, best = Candidate.from_json(data["single"]), Candidate.from_json(data["best"])
        before, after = data["differences"]
        return cls(**{**data, "single": single, "best": best, "differences": (before, after)})


@dataclass(frozen=True)
class Choice:
    """The winner over one set of examples.

    >>> low, high = Candidate(0.1), Candidate(0.2)
    >>> Choice(high, {low: 5.0, high: 2.0}, (high,), 0.9, {low: 0.1, high: 0.9}, 50).to_json()["alpha"]
    0.2

    Args:
        candidate: the winner.
        differences: candidate -> D, after smoothing, of those that may win.
        tied: the candidates with the winner's D, in increasing order.
        confidence: share of bootstrap resamples of the examples in which the winner wins.
        wins: candidate -> share of resamples that it wins; those that tie share one equally.
        examples: how many answers of each candidate it was made from.
        because, counts_changes: as the signal's.
        trust: how probably the choice is a good one, if the strategy says so.
        several: whether several coefficients are better than one, if they were tried.
        doubts: sentences that say why the data hardly support a choice; see `search.doubts`.
        compared: by what the answers were compared, and why, for people; "" where nobody knows.
        intervals: candidate -> between which values D lies in 95 % of the resamples.
        inferred, guessed: shares of the grid's answers to these examples; see `Evidence`.
    """

    candidate: Candidate
    differences: Mapping[Candidate, float]
    tied: tuple[Candidate, ...]
    confidence: float
    wins: Mapping[Candidate, float]
    examples: int
    because: str = LEAST_CHANGE
    counts_changes: bool = True
    trust: Trust | None = None
    several: Several | None = None
    doubts: tuple[str, ...] = ()
    compared: str = ""
    intervals: Mapping[Candidate, tuple[float, float]] = field(default_factory=dict)
    inferred: float = 0.0
    guessed: float = 0.0

    def doubted(self, *doubts: str) -> "Choice":
        """The choice with reasons why its data cannot support it, and a probability of at most `DOUBTED`."""
        if not doubts:
            return self
        trust = self.trust and replace(self.trust, probability=min(self.trust.probability, DOUBTED))
        return replace(self, trust=trust, doubts=(*doubts, *self.doubts))

    def to_json(self) -> dict[str, Any]:
        return {
            "alpha" if self.candidate.alpha_alone else "candidate": self.candidate.to_json(),
            "differences": {str(candidate): value for candidate, value in self.differences.items()},
            "confidence": self.confidence,
            "tied": [candidate.to_json() for candidate in self.tied],
            "wins": {str(candidate): share for candidate, share in self.wins.items()},
            "examples": self.examples,
            "because": self.because,
            "counts_changes": self.counts_changes,
            "trust": None if self.trust is None else self.trust.to_json(),
            "doubts": list(self.doubts),
            "compared": self.compared,
            **({} if self.several is None else {"several": self.several.to_json()}),
            "intervals": {str(candidate): list(ends) for candidate, ends in self.intervals.items()},
            "inferred": self.inferred,
            "guessed": self.guessed,
            **names_to_json(self.differences),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Choice":
        names = names_from_json(data, data["differences"])
        because = data.get("because", LEAST_CHANGE)
        return cls(
            candidate=Candidate.from_json(data["alpha"] if "alpha" in data else data["candidate"]),
            differences={names[name]: value for name, value in data["differences"].items()},
            tied=tuple(Candidate.from_json(candidate) for candidate in data["tied"]),
            confidence=data["confidence"],
            wins={names[name]: share for name, share in data["wins"].items()},
            examples=data["examples"],
            because=because,
            counts_changes=data.get("counts_changes", because == LEAST_CHANGE),
            trust=Trust.from_json(data["trust"]) if data.get("trust") else None,
            several=Several.from_json(data["several"]) if "several" in data else None,
            doubts=tuple(data.get("doubts", ())),
            compared=data.get("compared", ""),
            intervals={names[name]: (low, high) for name, (low, high) in data.get("intervals", {}).items()},
            inferred=data.get("inferred", 0.0),
            guessed=data.get("guessed", 0.0),
        )


def where(doubts: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Doubt -> who has it, in order.

    Args:
        doubts: task, or what else was chosen for -> its doubts.
    """
    found: dict[str, list[str]] = {}
    for task, own in doubts.items():
        for doubt in own:
            found.setdefault(doubt, []).append(task)
    return found


def about(tasks: Sequence[str], doubt: str, of: int = 0) -> str:
    """A doubt about some tasks, as a line.

    Args:
        of: how many tasks there are; those that are all of more than three are not named.
    """
    return f"{f'all {of} tasks' if 3 < of == len(tasks) else ', '.join(tasks)}: {doubt}"


@dataclass(frozen=True)
class Selection:
    """One choice per task and one over all examples."""

    tasks: Mapping[str, Choice]
    overall: Choice

    def doubted(self, doubts: Mapping[str, Sequence[str]]) -> "Selection":
        """The selection with more doubts about tasks. What holds for all of them is a doubt about all.

        Args:
            doubts: task -> sentences.
        """
        tasks = {task: choice.doubted(*doubts.get(task, ())) for task, choice in self.tasks.items()}
        found = where({task: doubts.get(task, ()) for task in tasks})
        overall = self.overall.doubted(*(doubt for doubt, some in found.items() if len(some) == len(tasks)))
        partly = (about(some, doubt) for doubt, some in found.items() if len(some) < len(tasks))
        return Selection(tasks, replace(overall, doubts=(*overall.doubts, *partly)))

    def to_json(self) -> dict[str, Any]:
        return {
            "tasks": {task: choice.to_json() for task, choice in self.tasks.items()},
            "overall": self.overall.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Selection":
        tasks = {task: Choice.from_json(choice) for task, choice in data["tasks"].items()}
        return cls(tasks, Choice.from_json(data["overall"]))
