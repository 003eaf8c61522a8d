"""What answers count where candidates and donors vote: how sure their voters are, and how reliable.

Knows nothing of what is voted for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from pydantic import NonNegativeFloat

from adamms.search.difference import Difference
from adamms.search.evidence import PARENTS, SURENESS, Answers, Evidence, sayers, texts
from adamms.search.resampling import Array
from adamms.search.signals.probabilities import Tokens, log_probabilities, sureness
from adamms.search.signals.signal import Signal

ROUNDS = 3  # in which reliabilities are found


@dataclass(frozen=True)
class Voted(Signal):
    """Base of signals in which all candidates, and the donors if asked, vote on every answer of a task.

    The vote of v on an example e, with the probability p that v gives to its answer, has the weight

        w_ve ~ p_ve^sureness exp(-c_v distinctness) / R_v^reliability          summing to 1 over v
        D_ve = sum over voters u of w_ue * difference(v, u)
        R_v  = (1 + sum over e of D_ve) / (1 + number of examples)

    c_v is `likeness`, from 0 to 1: how many of v's words belong to another task. A model that does not
    know a task answers another question, however sure it is, so it counts less than those that do.

    Who disagrees with all others on a task counts less there. w and R are found in turn, `ROUNDS` times, from
    R = 1. So Dawid & Skene (1979, Applied Statistics 28, 20) weigh observers without knowing the truth; CRH
    (Li et al. 2014, SIGMOD, 1187) does it by any difference. With `reliability` 2 votes weigh like
    measurements, by the inverse of the square of their error.

    Args:
        sureness: power of the probability. If the donors were asked, to each example the surest of all
            parents votes once more, as a voter of its own. With 0 no log-probabilities are needed.
        tokens: how that probability is made of the tokens'; see `probabilities.sureness`. For answers of two
            tokens, a word and its end, `mean` to the power of 2 is `sum` to the power of 1.
        reliability: power of R; 0: all voters are equally reliable.
        distinctness: how much likeness to answers to other tasks lowers a weight; 0: they are not looked at.
    """

    sureness: NonNegativeFloat
    tokens: Tokens
    reliability: NonNegativeFloat
    distinctness: NonNegativeFloat

    @property
    def needs(self) -> tuple[str, ...]:
        return (PARENTS, SURENESS) if self.sureness else (PARENTS,)

    @property
    def across(self) -> bool:
        return self.distinctness > 0

    def votes(
        self, evidence: Evidence, examples: Sequence[str], difference: Difference
    ) -> tuple[Array, Array]:
        """D, and the logarithm of w but for a constant, of all candidates, the donors and last the target.

        Between donors and target stands the surest parent. Without donors there are only candidates. The
        target's weight is what it would be: it votes as a candidate.

        Returns:
            Both of shape (those, examples); a weight is minus infinity where one was not asked.
        """
        known = sayers(evidence, "all")
        if self.sureness and evidence.donors:
            known.append(surest(evidence, examples))
        voters = len(known)
        if evidence.donors:
            known.append(evidence.target)
        sure = where_asked(self._sure, known, examples) + self._distinct(evidence, examples, len(known))
        differ = apart([spoken(one, examples) for one in known], difference)

        def risks(logs: Array) -> Array:
            return np.asarray((differ[:, :voters] * shares(logs[:voters])).sum(axis=1))

        logs, asked = sure, np.isfinite(sure)
        for _ in range(ROUNDS):
            error = (1 + np.where(asked, risks(logs), 0).sum(axis=1)) / (1 + asked.sum(axis=1))
            logs = sure - self.reliability * np.log(error)[:, None]
        return risks(logs), logs

    def _sure(self, voter: Answers, examples: Sequence[str]) -> Array:
        if not self.sureness:
            return alike(voter, examples)
        return self.sureness * sureness(voter, examples, self.tokens)

    def _distinct(self, evidence: Evidence, examples: Sequence[str], rows: int) -> Array:
        """The logarithms of what that counts: one for each of so many rows, those of `votes`."""
        if not evidence.likeness:
            return np.zeros((rows, 1))
        own = -self.distinctness * np.array(evidence.likeness)
        found = np.repeat(own[: len(own) if evidence.donors else -1, None], len(examples), axis=1)
        if rows == len(found):
            return found
        parents = np.array([own[-1], *own[len(evidence.candidates) : -1]])
        return np.insert(found, -1, parents[surest_parents(evidence, examples)], axis=0)


def surest(evidence: Evidence, examples: Sequence[str]) -> Answers:
    """To each example the answer of the parent that gives its own the highest probability."""
    known = sayers(evidence, "parents")
    pairs = zip(surest_parents(evidence, examples).tolist(), examples, strict=True)
    return {example: known[parent][example] for parent, example in pairs}


def surest_parents(evidence: Evidence, examples: Sequence[str]) -> npt.NDArray[np.int_]:
    """Its place among the parents, the target and then the donors; shape (examples,)."""
    sure = where_asked(log_probabilities, sayers(evidence, "parents"), examples)
    return np.asarray(sure.argmax(axis=0))


def spoken(voter: Answers, examples: Sequence[str]) -> list[str]:
    """What a voter says to each example; "" where it was not asked, and has no weight."""
    found = dict(zip(asked := [e for e in examples if e in voter], texts(voter, asked), strict=True))
    return [found.get(example, "") for example in examples]


def where_asked(
    sure: Callable[[Answers, Sequence[str]], Array], voters: Sequence[Answers], examples: Sequence[str]
) -> Array:
    """Log-probabilities of answers, by `sure`; minus infinity where one was not asked: (voters, examples)."""
    found = np.full((len(voters), len(examples)), -np.inf)
    for row, voter in zip(found, voters, strict=True):
        places = [place for place, example in enumerate(examples) if example in voter]
        if places:
            row[places] = sure(voter, [examples[place] for place in places])
    return found


def alike(voter: Answers, examples: Sequence[str]) -> Array:
    """Every answer counts once: the logarithm of 1."""
    return np.zeros(len(examples))


def shares(logs: Array) -> Array:
    """Weights that add up to 1 for every example, from their logarithms: (voters, examples)."""
    weights = np.exp(logs - logs.max(axis=0))  # 1 for the largest: nothing underflows
    return np.asarray(weights / weights.sum(axis=0))


def apart(rows: Sequence[Sequence[str]], difference: Difference) -> Array:
    """How far the answers of every two are from each other: (rows, rows, examples).

    Every two different texts are compared once.
    """
    columns = list(zip(*rows, strict=True))
    different = [list(dict.fromkeys(column)) for column in columns]
    pairs = [(e, *pair) for e, given in enumerate(different) for pair in combinations(range(len(given)), 2)]
    most = max(map(len, different))
    table = np.zeros((len(columns), most, most))
    if pairs:
        at, one, other = np.array(pairs).T
        left, right = ([different[e][n] for e, n in zip(at, side, strict=True)] for side in (one, other))
        table[at, one, other] = table[at, other, one] = difference(left, right)
    codes = [[given.index(text) for text in c] for given, c in zip(different, columns, strict=True)]
    row = np.array(codes).T  # (rows, examples)
    return np.asarray(table[np.arange(len(columns)), row[:, None], row[None]])
