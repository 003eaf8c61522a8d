"""How far a candidate disagrees with others: with all of them, or with the parent that is surest.

The parents are the target and the donors, which answer as models of their own. Where a donor was not asked it
has no say.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from pydantic import NonNegativeFloat

from adamms.engines.answer import Answer, normalised
from adamms.search.difference import Difference
from adamms.search.evidence import (
    DONORS,
    PARENTS,
    SURENESS,
    TOKEN_IDS,
    TOKENS,
    Answers,
    Evidence,
    sayers,
    table,
    texts,
)
from adamms.search.resampling import SAME, Array
from adamms.search.signals.probabilities import (
    Tokens,
    first_token,
    jensen_shannon,
    log_probabilities,
    sureness,
)
from adamms.search.signals.signal import Signal, check_given


@dataclass(frozen=True)
class Disagreement(Signal):
    """The expected difference from the voters' answers. Voters are all candidates, and the donors if asked.

    With exact match it is the share of the voters that give another answer. In general it is the risk of
    minimum-Bayes-risk decoding (Kumar & Byrne 2004, NAACL, N04-1022; Bertsch et al. 2023, arXiv:2310.01387),
    over answers of several models instead of several answers of one: the loss is the difference, and the
    voters' weights stand for the probabilities of their answers.

    Args:
        sureness: a voter's weight is the probability of its answer to this power. If the donors were asked,
            the surest of all parents votes once more. With 0 every voter counts once, and no
            log-probabilities are needed.
        tokens: how that probability is made of the tokens'; see `probabilities.sureness`. For answers of two
            tokens, a word and its end, `mean` to the power of 2 is `sum` to the power of 1.
    """

    sureness: NonNegativeFloat
    tokens: Tokens

    @property
    def needs(self) -> tuple[str, ...]:
        return (PARENTS, SURENESS) if self.sureness else (PARENTS,)

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        voters = sayers(evidence, "all")
        if self.sureness and evidence.donors:
            voters.append(surest(evidence, examples))
        votes = [_votes(voter, examples) for voter in voters]
        candidates = votes[: len(evidence.candidates)]
        others = np.stack([[difference(own, vote) for vote in votes] for own in candidates])
        sure = partial(sureness, tokens=self.tokens) if self.sureness else _alike
        weights = _weights(voters, examples, sure, self.sureness or 1.0)
        return np.asarray((others * weights).sum(axis=1))  # others: (candidates, voters, examples)


@dataclass(frozen=True)
class Vote(Signal):
    """The difference from the answer that candidates and donors vote for.

    That is the medoid, the answer with the least expected difference from theirs as in `Disagreement`; with
    exact match the one with the most votes. The first in the alphabet wins among equals.

    Args:
        weighted: whether a vote counts by the probability that the voter gives its answer.
    """

    weighted: bool

    needs = (PARENTS, DONORS, TOKENS)

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        check_given(evidence, "donors")
        voters = sayers(evidence, "all")
        votes = [_votes(voter, examples) for voter in voters]
        weights = _weights(voters, examples, log_probabilities if self.weighted else _alike)
        others = np.stack([[difference(own, vote) for vote in votes] for own in votes])
        asked = np.array([[example in voter for example in examples] for voter in voters])
        risks = np.where(asked, (others * weights).sum(axis=1), np.inf)  # (voters, examples)
        least = risks <= risks.min(axis=0) + SAME
        winners = [
            min(
                (vote[place] for vote, best in zip(votes, least[:, place], strict=True) if best),
                key=normalised,
            )
            for place in range(len(examples))
        ]
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

    needs = (PARENTS, DONORS, TOKENS, TOKEN_IDS)
    alone = True

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        check_given(evidence, "donors")
        known = sayers(evidence, "parents")
        means = {e: _mean([parent[e] for parent in known if e in parent]) for e in examples}
        rows = [evidence.candidates[candidate] for candidate in evidence.order]
        return np.array([[jensen_shannon(first_token(row[e]), means[e]) for e in examples] for row in rows])


def surest(evidence: Evidence, examples: Sequence[str]) -> Answers:
    """To each example the answer of the parent that gives its own the highest probability."""
    known = sayers(evidence, "parents")
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


def _weights(
    voters: Sequence[Answers],
    examples: Sequence[str],
    sure: Callable[[Answers, Sequence[str]], Array],
    power: float = 1.0,
) -> Array:
    """What each voter's answers count, by `sure` to a power, 0 where it was not asked: (voters, examples).

    They add up to 1 for every example.
    """
    found = np.stack([_where_asked(sure, voter, examples) for voter in voters])
    weights = np.exp(power * (found - found.max(axis=0)))  # 1 for the surest: nothing underflows
    return np.asarray(weights / weights.sum(axis=0))


def _mean(answers: Sequence[Answer]) -> dict[int, float]:
    """The mean of the first token's distributions."""
    found = [first_token(answer) for answer in answers]
    names = {name for one in found for name in one}
    return {name: sum(one.get(name, 0.0) for one in found) / len(found) for name in names}
