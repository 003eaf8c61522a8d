"""Racing, another way to spare answers: candidates that can hardly win any more are asked nothing further.

The choice of the full grid is estimated from the examples seen so far (sampling without replacement, in
strata). A candidate drops out if it would lose to the leader at the stated error rate. First every second
candidate races, then those between the candidates that are left. Such races: Maron & Moore, "Hoeffding
Races" (NeurIPS 1993); F-Race (Birattari et al., 2002). Bisection (adamms/search) does better.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from adamms.merge.candidate import Candidate
from adamms.search.contest import break_tie
from adamms.search.evidence import Ask, Evidence
from adamms.search.resampling import SAME, Array
from adamms.search.signals.signal import Signal
from adamms.search.task_differences import TaskDifferences

Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Asked:
    """What is known of each candidate.

    Args:
        held: what every example says against every candidate; NaN if it was not asked. Shape
            (candidates, examples).
        strata: number of each example's stratum, from which the examples were drawn at random; shape
            (examples,).
    """

    held: Array
    strata: npt.NDArray[np.int_]

    @property
    def scale(self) -> Array:
        """For how many examples of its stratum every known one stands, 0 for the unknown: shape of held."""
        known = ~np.isnan(self.held)
        scale = np.zeros(self.held.shape)
        for stratum in np.unique(self.strata):
            inside = self.strata == stratum
            counts = known[:, inside].sum(1)
            parts = np.divide(inside.sum(), counts, out=np.zeros(len(counts)), where=counts > 0)
            scale[:, inside] = known[:, inside] * parts[:, None]
        return scale

    @property
    def scores(self) -> Array:
        """The sum over all examples, estimated where some are unknown, inf where all are: (candidates,)."""
        found = (np.nan_to_num(self.held) * self.scale).sum(1)
        found[np.isnan(self.held).all(1)] = np.inf
        return found

    def behind(self, one: int, leader: int) -> tuple[float, float]:
        """What will be between two candidates' sums when all is known: expected value, standard deviation."""
        gap = self.held[one] - self.held[leader]
        expected = variance = 0.0
        for stratum in np.unique(self.strata):
            part = gap[self.strata == stratum]
            known = part[~np.isnan(part)]
            rest = len(part) - len(known)
            if not len(known):
                return 0.0, np.inf
            expected += known.sum() + rest * known.mean()
            if rest:
                # One more difference of 1/2 to either side, so that few equal ones do not pass for all.
                spread = (((known - known.mean()) ** 2).sum() + 0.5) / len(known)
                variance += rest**2 * spread * (1 / len(known) + 1 / rest)
        return expected, variance**0.5


@dataclass(frozen=True)
class Race:
    """How candidates are raced.

    Args:
        error: the chance that one comparison drops a candidate that would have won it.
        parts: the parts of the examples that are known after each round; those on which the parents
            disagree, where that is known, come a round earlier.
        seed: of the order in which examples are asked.
    """

    error: float = 0.05
    parts: tuple[float, ...] = (0.1, 0.2, 0.4, 0.7, 1.0)
    seed: int = 0

    def run(
        self,
        ask: Ask,
        signal: Signal,
        differences: TaskDifferences,
        candidates: Sequence[Candidate],
        examples: Sequence[str],
    ) -> Candidate:
        """The winner over the examples; the middle of those that are tied.

        Args:
            differences: what the answers are compared with.
            candidates: of a grid of one axis, in increasing order.
        """
        asked = Asked(
            np.full((len(candidates), len(examples)), np.nan),
            _strata(ask([], examples), differences, examples),
        )
        order = np.random.default_rng(self.seed).permutation(len(examples))
        # The fine candidates wait, unless the coarse ones cannot be judged without them.
        alive = list(range(len(candidates)))
        waiting = alive[1:-1:2] if signal.alone and len(alive) > 3 else []
        alive = [place for place in alive if place not in waiting]
        for number, part in enumerate(self.parts):
            later = self.parts[min(number + 1, len(self.parts) - 1)]
            seen = _drawn(order, asked.strata, (part, later))
            extend(ask, signal, differences, candidates, examples, asked, alive, seen)
            alive = self._left(asked, alive)
            if waiting:
                near = {place + step for place in alive for step in (-1, 1)}
                alive, waiting = sorted({*alive, *(near & set(waiting))}), []
                extend(ask, signal, differences, candidates, examples, asked, alive, seen)
                alive = self._left(asked, alive)
            if len(alive) == 1:
                break
        scores = asked.scores[alive]
        tied = np.array(alive)[scores <= scores.min() + SAME]
        return candidates[tied[break_tie(tied[:, None], "middle")]]

    def _left(self, asked: Asked, alive: list[int]) -> list[int]:
        """Those of `alive` that may still win."""
        leader = min(alive, key=lambda place: (asked.scores[place], place))
        limit = NormalDist().inv_cdf(1 - self.error)
        return [
            place
            for place in alive
            if place == leader or (gap := asked.behind(place, leader))[0] <= limit * gap[1] + SAME
        ]


def extend(
    ask: Ask,
    signal: Signal,
    differences: TaskDifferences,
    candidates: Sequence[Candidate],
    examples: Sequence[str],
    asked: Asked,
    alive: Sequence[int],
    seen: Places,
) -> None:
    """Fill in what the examples that are seen say against the candidates that are alive."""
    reach = max(map(abs, signal.neighbours), default=0)
    wanted = [p for p in range(len(candidates)) if any(abs(p - place) <= reach for place in alive)]
    named = [examples[place] for place in seen]
    evidence = ask([candidates[place] for place in wanted], named)
    rows = differences.held(signal, evidence, named)
    for place in alive:
        asked.held[place, seen] = rows[wanted.index(place)]


def _strata(
    evidence: Evidence, differences: TaskDifferences, examples: Sequence[str]
) -> npt.NDArray[np.int_]:
    """1 where a donor's answer is not the target's, 0 elsewhere or where nobody was asked: (examples,)."""
    if not evidence.target:
        return np.zeros(len(examples), dtype=np.int_)
    apart = [differences.between(donor, evidence.target, examples) for donor in evidence.donors.values()]
    return np.any(apart, axis=0).astype(np.int_)


def _drawn(order: Places, strata: npt.NDArray[np.int_], parts: tuple[float, float]) -> Places:
    """Places of the examples that are known when these parts of the strata are, at least one of each."""
    drawn = []
    for stratum, part in enumerate(parts):
        inside = order[strata[order] == stratum]
        drawn.append(inside[: int(np.ceil(part * len(inside)))])
    return np.sort(np.concatenate(drawn))
