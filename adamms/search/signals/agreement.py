"""How far a candidate disagrees with others: with all of them, or with the parent that is surest.

The parents are the target and the donors, which answer as models of their own. Where a donor was not asked it
has no say.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adamms.engines.answer import Answer, normalised
from adamms.search.difference import Difference
from adamms.search.evidence import DONORS, PARENTS, TOKEN_IDS, TOKENS, Evidence, sayers, table, texts
from adamms.search.resampling import SAME, Array
from adamms.search.signals.probabilities import first_token, jensen_shannon, log_probabilities
from adamms.search.signals.signal import Signal, check_given
from adamms.search.signals.votes import Voted, alike, apart, shares, spoken, surest, where_asked


@dataclass(frozen=True)
class Disagreement(Voted):
    """The expected difference from the voters' answers, D of `Voted`.

    With exact match it is the share of the votes for another answer. In general it is the risk of
    minimum-Bayes-risk decoding (Kumar & Byrne 2004, NAACL, N04-1022; Bertsch et al. 2023, arXiv:2310.01387),
    over answers of several models instead of several answers of one: the loss is the difference, and the
    voters' weights stand for the probabilities of their answers.
    """

    because = "its answers are those of most candidates and donors"

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        return self.votes(evidence, examples, difference)[0][: len(evidence.candidates)]


@dataclass(frozen=True)
class Vote(Signal):
    """The difference from the answer that candidates and donors vote for.

    That is the medoid, the answer with the least expected difference from theirs as in `Disagreement`; with
    exact match the one with the most votes. The first in the alphabet wins among equals.

    Args:
        weighted: whether a vote counts by the probability that the voter gives its answer.
    """

    weighted: bool

    because = "its answers are most often what the candidates and donors vote for"
    needs = (PARENTS, DONORS, TOKENS)

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        check_given(evidence, "donors")
        voters = sayers(evidence, "all")
        votes = [spoken(voter, examples) for voter in voters]
        sure = where_asked(log_probabilities if self.weighted else alike, voters, examples)
        risks = (apart(votes, difference) * shares(sure)).sum(axis=1)  # (voters, examples)
        risks[np.isneginf(sure)] = np.inf
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

    because = (
        "its answers differ least from those of the parent that is the surer of its own, example by example"
    )
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

    because = "its first tokens' probabilities are nearest to the mean of the parents'"
    needs = (PARENTS, DONORS, TOKENS, TOKEN_IDS)
    alone = True

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        check_given(evidence, "donors")
        known = sayers(evidence, "parents")
        means = {e: _mean([parent[e] for parent in known if e in parent]) for e in examples}
        rows = [evidence.candidates[candidate] for candidate in evidence.order]
        return np.array([[jensen_shannon(first_token(row[e]), means[e]) for e in examples] for row in rows])


def _mean(answers: Sequence[Answer]) -> dict[int, float]:
    """The mean of the first token's distributions."""
    found = [first_token(answer) for answer in answers]
    names = {name for one in found for name in one}
    return {name: sum(one.get(name, 0.0) for one in found) / len(found) for name in names}
