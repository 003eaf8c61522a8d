"""Bisection: only what decides the choice is asked; other answers are taken from those beside them.

Both ends of the grid and a candidate between answer everything, then the candidate that wins so far and its
neighbours. Then those are asked that might win instead, as long as answers that are guessed leave that open,
and only where it is open: the examples whose guesses weigh most. A sample of what is inferred is asked as a
check. So a candidate that wins only between two that were asked can stay unseen. Knows no labels.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, Le

from adamms.merge.candidate import Candidate
from adamms.search.candidates import shape_of
from adamms.search.contest import Contest
from adamms.search.evidence import DONORS, PARENTS, SCORES, SURENESS, Ask, Evidence
from adamms.search.partial_grid import PartialGrid
from adamms.search.resampling import SAME, Array
from adamms.search.signals.signal import Signal
from adamms.search.task_differences import TaskDifferences

# At least so many inferred answers are checked, if there are so many.
LEAST = 10
# Of what guesses leave open between two candidates, the share that is asked at a time: the heaviest examples.
PART = 0.65
# What a strategy may need beside the candidates' answers, which can be inferred with them or is asked once.
INFERABLE = {PARENTS, DONORS, SURENESS, SCORES}
Share = Annotated[float, Gt(0), Le(1)]
Suited = Callable[[Evidence], TaskDifferences]
Wanted = dict[int, list[str]]  # place -> examples


@dataclass(frozen=True)
class Bisection:
    """How the answers of a grid are inferred.

    Args:
        first: where along the grid the candidate is that is asked first, beside both ends; 1: only the ends.
        margin: how many standard errors, of what is guessed, D of a candidate has to lie above the winner's
            for it to be out. 0: only the winner and its neighbours are asked.
        checked: the share of the inferred answers that is asked as a check, drawn at random; at least ten.
        error: if the checked answers differ from what was inferred by more than this on average, everything
            is asked. Of short answers it is the share that are others.
    """

    first: Share
    margin: Annotated[float, Ge(0)]
    checked: Share
    error: Share

    def over(
        self,
        ask: Ask,
        needs: Sequence[str],
        candidates: Sequence[Candidate],
        signal: Signal,
        contest: Contest,
        suited: Suited,
        seed: int,
    ) -> Ask:
        """An `Ask` that infers answers, or `ask` itself where nothing can be inferred.

        Only what is `INFERABLE` can be inferred, and only along one axis.
        In the end the winner and its neighbours have answered all examples, but for those that were inferred.

        Args:
            signal, contest: how the winner over all examples is found.
            suited: how the answers of each task are compared, by those of the first candidates asked.
            seed: of the draws of what is guessed and of what is checked.
        """
        if set(needs) - INFERABLE or sum(count > 1 for count in shape_of(candidates)) > 1:
            return ask

        def inferring(candidates: Sequence[Candidate], examples: Sequence[str]) -> Evidence:
            if len(candidates) < 3:
                return ask(candidates, examples)
            last = len(candidates) - 1
            places = sorted({0, round(self.first * last), last})
            first = ask([candidates[place] for place in places], examples)
            grid = PartialGrid(candidates, examples, first, signal, suited(first), seed)
            return self._decided(ask, grid, contest, seed)

        return inferring

    def _decided(self, ask: Ask, grid: PartialGrid, contest: Contest, seed: int) -> Evidence:
        """Ask until the winner is known."""
        checked = False
        while True:
            wanted = self._wanted(grid, contest)
            if not wanted and checked:
                return grid.evidence(grid.examples)
            found = [
                ask([grid.candidates[place]], part)
                for place, part in (wanted or self._sample(grid, seed)).items()
            ]
            if not wanted:
                if self._wrong(grid, found) > self.error:
                    return ask(grid.candidates, grid.examples)
                checked = True
            grid.add(found)

    def _wanted(self, grid: PartialGrid, contest: Contest) -> Wanted:
        """What has to be asked next: place -> examples; nothing if the winner is known."""
        held = contest.smoothed(grid.held)
        winner = contest.winner(contest.tied(held.mean(0).sum(0)))
        everywhere = np.ones(len(grid.examples), dtype=bool)
        for places in ([winner], contest.beside(winner)):
            if wanted := grid.open(places, everywhere):
                return wanted
        ahead = held - held[:, :, [winner]]  # (draws, examples, candidates)
        variance = ahead.var(0, ddof=1)
        open_ = np.where(variance > SAME, variance, 0.0)  # less is rounding
        for rival in self._rivals(ahead.mean(0).sum(0), np.sqrt(open_.sum(0)), contest):
            nearby = [rival, *contest.beside(rival), *contest.beside(winner)]
            for places in ([rival], nearby, list(range(len(grid.candidates)))):
                weights = open_[:, rival] * grid.guessed[:, places].any(1)
                if weights.any():
                    return grid.open(places, heaviest(weights))
        return {}

    def _rivals(self, ahead: Array, error: Array, contest: Contest) -> Iterator[int]:
        """Who might still win, the likeliest first.

        Args:
            ahead: D of every candidate minus the winner's.
            error: its standard error, by what is guessed.
        """
        errors = ahead / np.maximum(error, SAME)
        able = contest.allowed & (error > SAME) & (errors < self.margin)
        return (int(place) for place in np.argsort(errors, kind="stable") if able[place])

    def _sample(self, grid: PartialGrid, seed: int) -> Wanted:
        """The inferred answers that are checked."""
        examples, places = np.nonzero(grid.inferred)
        count = min(len(places), max(LEAST, round(self.checked * len(places))))
        drawn = np.random.default_rng(seed).permutation(len(places))[:count]
        sample: Wanted = {}
        for number in np.sort(drawn):
            sample.setdefault(int(places[number]), []).append(grid.examples[examples[number]])
        return sample

    def _wrong(self, grid: PartialGrid, found: Sequence[Evidence]) -> float:
        """How much the answers found differ from those that were inferred, on average."""
        inferred = grid.evidence(grid.examples)
        apart = [
            grid.differences.between(given, inferred.candidates[candidate], list(given))
            for evidence in found
            for candidate, given in evidence.candidates.items()
        ]
        return float(np.mean(np.concatenate(apart))) if apart else 0.0


def heaviest(weights: Array) -> npt.NDArray[np.bool_]:
    """The fewest that have a `PART` of all weight.

    >>> heaviest(np.array([1.0, 4.0, 0.0, 2.0])).tolist()
    [False, True, False, True]
    """
    order = np.argsort(-weights, kind="stable")
    count = np.searchsorted(np.cumsum(weights[order]), PART * weights.sum() - SAME) + 1
    found = np.zeros(len(weights), dtype=bool)
    found[order[:count]] = True
    return found & (weights > 0)
