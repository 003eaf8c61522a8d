"""Several coefficients instead of one: an optimiser goes on from the choice on the grid.

What it finds counts only if it is better on examples that it has not seen. Knows no labels and no models.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any

import numpy as np
from annotated_types import Gt, Le
from pydantic import PositiveInt

from adamms.errors import AdammsError
from adamms.merge.candidate import Candidate
from adamms.search.candidates import Axis
from adamms.search.choice import Choice, Selection, Several
from adamms.search.doubts import selection
from adamms.search.evidence import Ask
from adamms.search.resampling import SAME, Array
from adamms.search.strategy import Strategy, examples_of
from adamms.search.task_differences import TaskDifferences

# What is added to D for the squared distance from the start: it decides among candidates with equal D only.
NEAR = 1e-3
# How often a candidate that cannot be merged is moved half of the way back to the start.
RETREATS = 5

Place = Array  # shape (coefficients,), in [0, 1]
Held = dict[Candidate, Array]  # candidate -> what each example says against it, shape (examples,)
Holding = Callable[[Sequence[Candidate], Sequence[str]], Held]


@dataclass(frozen=True)
class Coefficients(Strategy):
    """Chooses on the grid as a `Strategy` does, then has CMA-ES look for several coefficients.

    CMA-ES (Hansen, The CMA Evolution Strategy: A Tutorial, arXiv:1604.00772; package `cma`) starts from the
    choice over all and sees half of the examples of every task. Its best candidate is compared with that
    choice on the other half, and taken only if it is better there. The comparison favours the choice on the
    grid, which was made on all examples. Tasks keep their choices on the grid.

    Args:
        trials: candidates that the optimiser may ask at most.
        step: its first standard deviation, as a share of every range.
        level: share of bootstrap resamples in which its best candidate must have the smaller D to be taken.
        space: key of the configuration -> its range.
    """

    trials: PositiveInt
    step: Annotated[float, Gt(0), Le(1)]
    level: Annotated[float, Gt(0), Le(1)]
    space: Mapping[str, Axis] = field(default_factory=dict)

    def check(self, candidates: Sequence[Candidate]) -> None:
        """Raise AdammsError if the signal needs a grid, or the grid does not lie in the space."""
        super().check(candidates)
        if not self.signal.alone:
            raise AdammsError(
                f"search.signal is {type(self.signal).__name__}, which judges candidates by each other; "
                "several coefficients need a signal that judges each alone: search/signal=surest_parent"
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
                        f"{value:g}; expected a range that contains the whole grid"
                    )

    def choose(
        self, ask: Ask, candidates: Sequence[Candidate], tasks: Mapping[str, Sequence[str]]
    ) -> Selection:
        """Choose on the grid, look for something better, and compare the two."""
        shown, kept = self._halves(tasks)
        on_grid, differences = self._on_grid(ask, candidates, tasks)
        holding = partial(self._held, ask, differences)
        single = on_grid.overall.candidate
        tried = self._tried(holding, single, shown)
        best = min(tried, key=lambda c: (round(tried[c], 9), self._distance(c, single)))
        held = holding([single, best], kept)
        resampled = self._resampled(np.stack([held[single], held[best]]))  # (resamples, 2)
        several = Several(
            single=single,
            best=best,
            tried=len(tried) - 1,
            seen=len(shown),
            examples=len(kept),
            differences=(float(held[single].sum()), float(held[best].sum())),
            confidence=float((resampled[:, 1] < resampled[:, 0] - SAME).mean()),
            level=self.level,
        )
        overall = replace(on_grid.overall, several=several)
        if not several.better:
            return replace(on_grid, overall=overall)
        return selection(on_grid.tasks, self._taken(ask, differences, candidates, overall, several, kept))

    def _taken(
        self,
        ask: Ask,
        differences: TaskDifferences,
        candidates: Sequence[Candidate],
        overall: Choice,
        several: Several,
        kept: Sequence[str],
    ) -> Choice:
        """The choice of the optimiser's candidate, over the examples that the optimiser has not seen."""
        evidence = ask(list(dict.fromkeys([*candidates, several.best])), kept)
        held = differences.held(self.signal, evidence, kept)
        order = evidence.order
        taken = replace(
            overall,
            candidate=several.best,
            differences={candidate: float(row.sum()) for candidate, row in zip(order, held, strict=True)},
            tied=(several.best,),
            confidence=several.confidence,
            wins=dict.fromkeys(order, 0.0)
            | {several.single: 1 - several.confidence, several.best: several.confidence},
            examples=len(kept),
            intervals={},
            inferred=0.0,
            guessed=0.0,
        )
        near = [place for place, other in enumerate(order) if other != several.best]
        return self._judged(taken, evidence, differences, kept, self._resampled(held), near)

    def _tried(self, holding: Holding, single: Candidate, examples: Sequence[str]) -> dict[Candidate, float]:
        """D over these examples of the start and of every candidate that the optimiser asks."""
        import cma

        found = {c: float(row.sum()) for c, row in holding([single], examples).items()}
        origin = self._place(single)
        options = {"bounds": [0, 1], "tolx": 1e-3, "verbose": -9, "verb_log": 0, "verb_disp": 0}
        generator = np.random.default_rng(self.seed)
        own: dict[str, Any] = {"seed": np.nan, "randn": lambda *shape: generator.standard_normal(shape)}
        walk = cma.CMAEvolutionStrategy(origin, self.step, options | own)
        while len(found) <= self.trials and not walk.stop():
            places = walk.ask()
            left = self.trials + 1 - len(found)
            asked = self._generation(holding, single, places[:left], examples, found)
            if len(asked) < len(places):
                break
            costs = [found[c] + self._cost(c, place, origin) for c, place in zip(asked, places, strict=True)]
            walk.tell(places, costs)
        return found

    def _generation(
        self,
        holding: Holding,
        single: Candidate,
        places: Sequence[Place],
        examples: Sequence[str],
        found: dict[Candidate, float],
    ) -> list[Candidate]:
        """The candidates at these places; where one cannot be merged, one between there and the start.

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
                found |= {c: float(row.sum()) for c, row in holding(new, examples).items()}
            waiting = [index for index in waiting if asked[index] not in found]
        for index in waiting:
            asked[index] = single
        return asked

    def _held(
        self,
        ask: Ask,
        differences: TaskDifferences,
        candidates: Sequence[Candidate],
        examples: Sequence[str],
    ) -> Held:
        """What speaks against these candidates; without those that cannot be merged."""
        evidence = ask(list(dict.fromkeys(candidates)), examples)
        if not evidence.candidates:
            return {}
        rows = differences.held(self.signal, evidence, examples)
        return dict(zip(evidence.order, rows, strict=True))

    def _halves(self, tasks: Mapping[str, Sequence[str]]) -> tuple[list[str], list[str]]:
        """The examples that the optimiser sees, half of every task, and the others.

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
        """The candidate there; settings that the space does not name stay as in `single`."""
        values = {key: axis.value(float(x)) for (key, axis), x in zip(self.space.items(), place, strict=True)}
        return Candidate.of(single.settings | values)

    def _distance(self, candidate: Candidate, single: Candidate) -> float:
        return float(((self._place(candidate) - self._place(single)) ** 2).sum())

    def _cost(self, candidate: Candidate, place: Place, origin: Place) -> float:
        """What the optimiser pays beside D: for its way from the start, and for what cannot be merged."""
        return float(NEAR * ((place - origin) ** 2).sum() + np.abs(place - self._place(candidate)).sum())
