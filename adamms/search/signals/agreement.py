"""How far a candidate disagrees with others: with all of them, or with the parent that is surest.

The parents are the target and the donors, which answer as models of their own. Where a donor was not asked it
has no say.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import NonNegativeFloat

from adamms.engines.answer import Answer, normalised
from adamms.search.difference import Difference
from adamms.search.evidence import DONORS, PARENTS, SURENESS, TOKENS, Answers, Array, Evidence, table, texts
from adamms.search.signals.probabilities import first_token, jensen_shannon, log_probabilities, sureness
from adamms.search.signals.signal import Signal, check_given


@dataclass(frozen=True)
class Disagreement(Signal):
    """The share of the voters that give another answer. Voters are all candidates, and the donors if asked.

    Args:
        sureness: a voter's weight is the probability of its answer (the geometric mean over its tokens) to
            this power. If the donors were asked, the surest of all parents votes once more. With 0 every
            voter counts once, and no log-probabilities are needed.
    """

    sureness: NonNegativeFloat

    @property
    def needs(self) -> tuple[str, ...]:
        return (PARENTS, SURENESS) if self.sureness else (PARENTS,)

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        voters = _voters(evidence)
        if self.sureness and evidence.donors:
            voters.append(surest(evidence, examples))
        votes = [_votes(voter, examples) for voter in voters]
        candidates = votes[: len(evidence.candidates)]
        others = np.stack([[difference(own, vote) for vote in votes] for own in candidates])
        if not self.sureness:  # others: (candidates, voters, examples)
            asked = np.array(
                [[example in voter for example in examples] for voter in voters], dtype=np.float64
            )
            return np.asarray((others * asked).sum(axis=1) / asked.sum(axis=0))
        sure = np.stack([_where_asked(sureness, voter, examples) for voter in voters])
        weights = np.exp(self.sureness * (sure - sure.max(axis=0)))  # 1 for the surest: nothing underflows
        return np.asarray((others * (weights / weights.sum(axis=0))).sum(axis=1))


@dataclass(frozen=True)
class Vote(Signal):
    """The difference from the answer that gets the most votes of all candidates and donors.

    Args:
        weighted: whether a vote counts by the probability that the voter gives its answer. Among answers with
            equal votes the first in the alphabet wins.
    """

    weighted: bool

    needs = (PARENTS, DONORS, TOKENS)

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        check_given(evidence, "donors")
        voters = _voters(evidence)
        votes = np.array([[normalised(text) for text in _votes(voter, examples)] for voter in voters])
        sure = log_probabilities if self.weighted else _alike
        weights = np.exp([_where_asked(sure, voter, examples) for voter in voters])
        winners = [_most(votes[:, place], weights[:, place]) for place in range(len(examples))]
        return np.stack([difference(own, winners) for own in table(evidence.candidates, examples)])


@dataclass(frozen=True)
class SurestParent(Signal):
    """The difference from the answer of the parent that gives its own the highest probability.

    A parent that was taught a skill is sure of its answers; one that forgot it, or never had it, is less so.
    Examples are decided one by one. Among equally sure parents the target counts.
    """

    needs = (PARENTS, DONORS, TOKENS)
    alone = True

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        check_given(evidence, "donors")
        wanted = texts(surest(evidence, examples), examples)
        return np.stack([difference(own, wanted) for own in table(evidence.candidates, examples)])


@dataclass(frozen=True)
class ParentsDivergence(Signal):
    """The Jensen-Shannon divergence (nats) between a candidate's first token and the mean of the parents'.

    Token ids must mean the same to all of them.
    """

    needs = (PARENTS, DONORS, TOKENS)
    alone = True

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        check_given(evidence, "donors")
        known = parents(evidence)
        means = {e: _mean([parent[e] for parent in known if e in parent]) for e in examples}
        rows = [evidence.candidates[candidate] for candidate in evidence.order]
        return np.array([[jensen_shannon(first_token(row[e]), means[e]) for e in examples] for row in rows])


def parents(evidence: Evidence) -> list[Answers]:
    """The target's answers, then the donors'."""
    return [evidence.target, *evidence.donors.values()]


def surest(evidence: Evidence, examples: Sequence[str]) -> Answers:
    """To each example the answer of the parent that gives its own the highest probability."""
    known = parents(evidence)
    sure = np.stack([_where_asked(log_probabilities, parent, examples) for parent in known])
    pairs = zip(sure.argmax(axis=0).tolist(), examples, strict=True)
    return {example: known[parent][example] for parent, example in pairs}


def _votes(voter: Answers, examples: Sequence[str]) -> list[str]:
    """What a voter says to each example; "" where it was not asked, and has no weight."""
    said = dict(zip(asked := [e for e in examples if e in voter], texts(voter, asked), strict=True))
    return [said.get(example, "") for example in examples]


def _where_asked(
    sure: Callable[[Answers, Sequence[str]], Array], voter: Answers, examples: Sequence[str]
) -> Array:
    """Log-probabilities of a voter's answers, by `sure`; minus infinity where it was not asked."""
    places = [place for place, example in enumerate(examples) if example in voter]
    found = np.full(len(examples), -np.inf)
    if places:
        found[places] = sure(voter, [examples[place] for place in places])
    return found


def _alike(voter: Answers, examples: Sequence[str]) -> Array:
    """Every answer counts once: the logarithm of 1."""
    return np.zeros(len(examples))


def _mean(answers: Sequence[Answer]) -> dict[int, float]:
    """The mean of the first token's distributions."""
    found = [first_token(answer) for answer in answers]
    names = {name for one in found for name in one}
    return {name: sum(one.get(name, 0.0) for one in found) / len(found) for name in names}


def _voters(evidence: Evidence) -> list[Answers]:
    """All candidates' answers, then the donors'."""
    return [*(evidence.candidates[candidate] for candidate in evidence.order), *evidence.donors.values()]


def _most(answers: npt.NDArray[np.str_], weights: Array) -> str:
    """The answer with the largest weight."""
    names, places = np.unique(answers, return_inverse=True)  # in the alphabet's order
    return str(names[np.bincount(places, weights).argmax()])
