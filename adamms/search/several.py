"""Several coefficients instead of one: an optimiser goes on where the choice on the grid stands.

What it finds counts only if it is better on examples that it has not seen. Knows no labels and no models.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import numpy as np
from annotated_types import Gt, Le
from pydantic import PositiveInt

from adamms.errors import AdammsError
from adamms.merge.candidate import Candidate
from adamms.search.candidates import Axis
from adamms.search.choice import Choice, Selection, Several
from adamms.search.evidence import Array, Ask, table
from adamms.search.racing import SAME
from adamms.search.trust import trust
from adamms.search.trusted import TrustedSelector, examples_of

# D that a candidate is charged for its squared distance from the start: decides among equals only.
NEAR = 1e-3
# How often a candidate that cannot be merged is moved half the way back to the start.
RETREATS = 5

Place = Array  # shape (axes,), in [0, 1]


@dataclass(frozen=True)
class CoefficientsSelector(TrustedSelector):
    """Chooses on the grid as its base does, then has CMA-ES look for several coefficients that are better.

    The optimiser (Hansen, The CMA Evolution Strategy: A Tutorial, arXiv 1604.00772; package `cma`) starts
    from the choice over all and sees half of the examples of every task. Its best candidate is compared with
    that choice on the other half, and taken only if it is better there. That choice has seen all examples,
    which favours it. Tasks keep their choices on the grid.

    Args:
        trials: candidates that the optimiser may ask at most.
        level: share of bootstrap resamples in which its best one must have the smaller D.
        step: its first standard deviation, as a part of every range.
        space: key of the configuration -> where it may lie; see `within`.
    """

    trials: PositiveInt = 60
    level: Annotated[float, Gt(0), Le(1)] = 0.9
    step: Annotated[float, Gt(0), Le(1)] = 0.2
    space: Mapping[str, Axis] = field(default_factory=dict)

    def within(self, space: Mapping[str, Axis]) -> "CoefficientsSelector":
        """The same, in this space."""
        return replace(self, space=space)

    def check(self, candidates: Sequence[Candidate]) -> None:
        """Raise AdammsError if it has nowhere to go from this grid, or its signal needs a grid."""
        super().check(candidates)
        if self.signal.reach != 0:
            raise AdammsError(
                f"search.signal is {type(self.signal).__name__}, which judges candidates by each other; "
                "several coefficients need a signal that judges each alone, as SurestParent"
            )
        if len(self.space) < 2:
            raise AdammsError(
                f"search.space has {len(self.space)} coefficients; expected at least 2, for one "
                "there is search.grid"
            )
        for candidate in candidates:
            for key, value in candidate.settings.items():
                axis = self.space.get(key)
                if axis is not None and not axis.lowest <= value <= axis.highest:
                    raise AdammsError(
                        f"search.space: {key} is [{axis.lowest:g}, {axis.highest:g}], but search.grid has "
                        f"{value:g}; expected a range with the whole grid in it"
                    )

    def search(
        self, ask: Ask, candidates: Sequence[Candidate], tasks: Mapping[str, Sequence[str]]
    ) -> Selection:
        """Choose on the grid, look for something better, and compare the two."""
        shown, kept = self._halves(tasks)
        selection = super().search(ask, candidates, tasks)
        single = selection.overall.candidate
        tried = self._tried(ask, single, shown)
        best = min(tried, key=lambda c: (round(tried[c], 9), self._distance(c, single)))
        held = self._held(ask, [single, best], kept)
        before, after = held[single], held[best]
        resampled = self._redrawn(np.stack([before, after]))  # (resamples, 2)
        several = Several(
            single=single,
            best=best,
            tried=len(tried) - 1,
            seen=len(shown),
            examples=len(kept),
            differences=(float(before.sum()), float(after.sum())),
            confidence=float((resampled[:, 1] < resampled[:, 0] - SAME).mean()),
            level=self.level,
        )
        overall = replace(selection.overall, several=several)
        if several.better:
            overall = self._taken(ask, candidates, overall, several, kept)
        return replace(selection, overall=overall)

    def _taken(
        self,
        ask: Ask,
        candidates: Sequence[Candidate],
        overall: Choice,
        several: Several,
        kept: Sequence[str],
    ) -> Choice:
        """The choice of the optimiser's candidate, over the examples that were kept from it."""
        spared = self.race is not None or self.bisection is not None
        rivals = [c for c in candidates if not spared or overall.wins.get(c, 0) > 0 or c == several.single]
        evidence = ask(list(dict.fromkeys([*rivals, several.best])), kept)
        held = dict(zip(evidence.order, self.signal.differences(evidence, kept), strict=True))
        said, winner = table(evidence.candidates, kept), list(held).index(several.best)
        gaps = self._redrawn(np.stack(list(held.values())) - held[several.best]) / len(kept)
        apart = self._redrawn((said != said[winner]).astype(float)) / len(kept)
        return replace(
            overall,
            candidate=several.best,
            differences={candidate: float(row.sum()) for candidate, row in held.items()},
            tied=(several.best,),
            confidence=several.confidence,
            wins=dict.fromkeys(held, 0.0)
            | {several.single: 1 - several.confidence, several.best: several.confidence},
            examples=len(kept),
            trust=trust(gaps, apart, winner, self.tolerance, self.seed),
        )

    def _tried(self, ask: Ask, single: Candidate, examples: Sequence[str]) -> dict[Candidate, float]:
        """D over these examples of the start and of every candidate that the optimiser asks."""
        import cma

        found = {c: float(row.sum()) for c, row in self._held(ask, [single], examples).items()}
        origin = self._place(single)
        options = {"bounds": [0, 1], "tolx": 1e-3, "verbose": -9, "verb_log": 0, "verb_disp": 0}
        generator = np.random.default_rng(self.seed)
        own: dict[str, Any] = {"seed": np.nan, "randn": lambda *shape: generator.standard_normal(shape)}
        walk = cma.CMAEvolutionStrategy(origin, self.step, options | own)
        while len(found) <= self.trials and not walk.stop():
            places = walk.ask()
            left = self.trials + 1 - len(found)
            asked = self._generation(ask, single, places[:left], examples, found)
            if len(asked) < len(places):
                break
            charges = [
                found[c] + self._charge(c, place, origin) for c, place in zip(asked, places, strict=True)
            ]
            walk.tell(places, charges)
        return found

    def _generation(
        self,
        ask: Ask,
        single: Candidate,
        places: Sequence[Place],
        examples: Sequence[str],
        found: dict[Candidate, float],
    ) -> list[Candidate]:
        """The candidates at these places, or between there and the start if they cannot be merged there.

        Args:
            found: candidate -> D, to which theirs is added.
        """
        origin = self._place(single)
        asked = [single] * len(places)
        waiting = list(range(len(places)))
        for retreat in range(RETREATS + 1):
            for index in waiting:
                asked[index] = self._candidate(single, origin + (places[index] - origin) / 2**retreat)
            new = [c for c in dict.fromkeys(asked[index] for index in waiting) if c not in found]
            if new:
                found |= {c: float(row.sum()) for c, row in self._held(ask, new, examples).items()}
            waiting = [index for index in waiting if asked[index] not in found]
        for index in waiting:
            asked[index] = single
        return asked

    def _held(
        self, ask: Ask, candidates: Sequence[Candidate], examples: Sequence[str]
    ) -> dict[Candidate, Array]:
        """Candidate -> what every example holds against it, of those that can be merged."""
        evidence = ask(list(dict.fromkeys(candidates)), examples)
        if not evidence.candidates:
            return {}
        return dict(zip(evidence.order, self.signal.differences(evidence, examples), strict=True))

    def _redrawn(self, held: Array) -> Array:
        """The sums over examples drawn anew, again and again: shape (resamples, candidates)."""
        sums: Array = self._resamples(held.shape[1]) @ held.T
        return sums

    def _halves(self, tasks: Mapping[str, Sequence[str]]) -> tuple[list[str], list[str]]:
        """The examples that the optimiser sees, and those kept from it: half of every task.

        Raises:
            AdammsError: no task has two examples.
        """
        everything = examples_of(tasks)
        shown = set()
        for task, examples in tasks.items():
            shown |= set(random.Random(f"{self.seed} {task}").sample(list(examples), len(examples) // 2))
        if not shown:
            raise AdammsError(
                "every task has one example; several coefficients need 2: half of them are kept back"
            )
        return [e for e in everything if e in shown], [e for e in everything if e not in shown]

    def _place(self, candidate: Candidate) -> Place:
        settings = candidate.settings
        return np.array([axis.place(settings.get(key, axis.start)) for key, axis in self.space.items()])

    def _candidate(self, single: Candidate, place: Place) -> Candidate:
        """The candidate there; what is no coefficient stays as the choice on the grid has it."""
        values = {key: axis.value(float(x)) for (key, axis), x in zip(self.space.items(), place, strict=True)}
        return Candidate.of(single.settings | values)

    def _distance(self, candidate: Candidate, single: Candidate) -> float:
        return float(((self._place(candidate) - self._place(single)) ** 2).sum())

    def _charge(self, candidate: Candidate, place: Place, origin: Place) -> float:
        """What the optimiser is told beside D: to stay near, and away from what cannot be merged."""
        return float(NEAR * ((place - origin) ** 2).sum() + np.abs(place - self._place(candidate)).sum())
