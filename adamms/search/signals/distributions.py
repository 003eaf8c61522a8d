"""How distributions over the next token differ all along a text, not only at its first token.

The text is given to every model, so that the distributions at a position all follow the same words.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from adamms.engines.answer import Answer, Token
from adamms.merge.candidate import Candidate
from adamms.search.difference import Difference
from adamms.search.evidence import (
    DONORS,
    PARENTS,
    SCORES,
    TOKEN_IDS,
    TOKENS,
    Evidence,
    said,
    texts_and_cuts,
)
from adamms.search.resampling import Array
from adamms.search.signals.consistency import NEIGHBOURS, Rule, along_axes
from adamms.search.signals.likelihood import Pooled
from adamms.search.signals.probabilities import distribution, jensen_shannon
from adamms.search.signals.signal import Signal, check_given


@dataclass(frozen=True)
class SequenceDivergence(Pooled):
    """The Jensen-Shannon divergence (nats) between neighbours' distributions along the pool's texts.

    The mean over the positions of a text, then over the texts. It also sees changes that reach no answer.
    Only the likeliest tokens are known; the others count as impossible.

    Args:
        pool: whose texts; see `Pooled`.
        rule: as in `Consistency`.
    """

    rule: Rule

    because = "its tokens' probabilities change least against its neighbours on the grid"
    alone = False

    @property
    def needs(self) -> tuple[str, ...]:
        return (*super().needs, TOKENS)

    @property
    def neighbours(self) -> tuple[int, ...]:
        return NEIGHBOURS[self.rule]

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        check_given(evidence, "scored")
        rows = [evidence.scored[candidate] for candidate in evidence.order]
        pools = {e: texts_and_cuts(said(evidence, self.pool, e)) for e in examples}

        def between(i: int, j: int) -> Array:
            pairs = [[(rows[i][e][text], rows[j][e][text]) for text in pools[e]] for e in examples]
            return np.array(
                [np.mean([divergence(a.tokens, b.tokens) for a, b in each] or [0.0]) for each in pairs]
            )

        return along_axes(evidence.order, self.rule, between)


@dataclass(frozen=True)
class ParentsAlignment(Signal):
    """The Jensen-Shannon divergence (nats) between each parent and the candidate along the parent's answer.

    The mean over the answer's positions, then over the parents. It is the logits' part of what Expert Merging
    (arXiv:2509.25712, section 3) minimises by gradients. There every expert has inputs of its own task, the
    divergence is that of Kullback and Leibler over softened distributions of all tokens, and hidden states
    are aligned, too. Here nobody knows which parent is whose, all parents count alike on all inputs, and only
    the likeliest tokens are known.

    Where the text, given to a candidate, has more or fewer tokens than the parent generated (`Engine.score`),
    the first position alone counts. Token ids must mean the same to all.
    """

    because = "its tokens' probabilities are nearest to each parent's own along that parent's answers"
    needs = (PARENTS, DONORS, SCORES, TOKENS, TOKEN_IDS)
    alone = True

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        check_given(evidence, "scored")

        def against(candidate: Candidate, example: str) -> float:
            scored = evidence.scored[candidate][example]
            own = said(evidence, "parents", example)
            return float(np.mean([_apart(answer, scored[answer.text]) for answer in own] or [0.0]))

        return np.array([[against(c, e) for e in examples] for c in evidence.order])


def divergence(one: Iterable[Token], other: Iterable[Token]) -> float:
    """The mean over the positions of the divergence between two models' distributions (nats)."""
    pairs = zip(one, other, strict=True)
    return float(np.mean([jensen_shannon(distribution(a), distribution(b)) for a, b in pairs]))


def _apart(own: Answer, scored: Answer) -> float:
    """The divergence along what a parent generated from what a candidate says of the same text."""
    length = len(own.tokens)
    ends_beyond = own.cut is True and len(scored.tokens) == length + 1  # another gave the same text whole
    compared = length if ends_beyond or len(scored.tokens) == length else 1
    return divergence(own.tokens[:compared], scored.tokens[:compared])
