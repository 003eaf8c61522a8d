"""Signals are their formulas, written out one answer at a time; none needs a label."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from adamms.engines.answer import Answer, Token
from adamms.engines.responses import Candidate
from adamms.errors import AdammsError
from adamms.search.evidence import Evidence, Signal
from adamms.search.signals.agreement import Agreement, SurestParent, Vote
from adamms.search.signals.confidence import LogProbability, NegativeEntropy, Probability
from adamms.search.signals.consistency import Consistency, NeighbourDivergence
from adamms.search.signals.stability import Stability
from adamms.search.signals.transfer import BeyondControl

WORDS = ("one", "Two", "two", "three")
GRID = tuple(Candidate(alpha) for alpha in (0.0, 0.3, 0.6, 1.0))
EXAMPLES = ("a", "b", "c", "d", "e")


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """A word and its end, each with the distribution over three tokens that it was drawn from."""
    tokens = []
    for _ in range(2):
        weights = [draw(st.integers(1, 20)) for _ in range(3)]
        likeliest = sorted(
            ((name, math.log(weight / sum(weights))) for name, weight in enumerate(weights)),
            key=lambda pair: -pair[1],
        )
        tokens.append(Token(likeliest[0][1], tuple(likeliest)))
    return Answer(draw(st.sampled_from(WORDS)), tuple(tokens))


@st.composite
def evidences(draw: st.DrawFn) -> Evidence:
    def given_by() -> dict[str, Answer]:
        return {example: draw(answers()) for example in EXAMPLES}

    return Evidence(
        {candidate: given_by() for candidate in reversed(GRID)},
        {"x": given_by(), "y": given_by()},
        {candidate: given_by() for candidate in GRID},
        {candidate: given_by() for candidate in GRID},
    )


def said(answers: dict[str, Answer], example: str) -> str:
    return answers[example].text.casefold()


def expected(signal: Signal, evidence: Evidence, row: int, example: str) -> float:
    """The formula for one candidate and one example."""
    all_of = [evidence.candidates[candidate] for candidate in GRID]
    voters = [*all_of, *evidence.donors.values()]
    own = all_of[row][example]
    around = [at for at in (row - 1, row + 1) if 0 <= at < len(GRID)]
    around = around * 2 if len(around) == 1 else around
    match signal:
        case Consistency():
            return -sum(said(all_of[at], example) != said(all_of[row], example) for at in around)
        case NeighbourDivergence():
            first = [np.exp([v for _, v in sorted(g[example].tokens[0].likeliest)]) for g in all_of]
            return -sum(jensenshannon(first[at], first[row]) ** 2 for at in around)
        case LogProbability():
            return sum(token.logprob for token in own.tokens)
        case Probability():
            return math.prod(math.exp(token.logprob) for token in own.tokens)
        case NegativeEntropy():
            return -sum(entropy(np.exp([v for _, v in token.likeliest])) for token in own.tokens)
        case Agreement():
            return sum(said(v, example) == said(all_of[row], example) for v in voters) / len(voters)
        case Vote(weighted):
            votes: Counter[str] = Counter()
            for voter in voters:
                weight = math.exp(sum(t.logprob for t in voter[example].tokens)) if weighted else 1
                votes[said(voter, example)] += weight  # type: ignore[assignment]
            best = max(votes.values())
            winner = min(word for word, count in votes.items() if count > best - 1e-12)
            return said(all_of[row], example) == winner
        case SurestParent():
            parents = [all_of[0], *evidence.donors.values()]
            sure = [sum(token.logprob for token in parent[example].tokens) for parent in parents]
            return said(all_of[row], example) == said(parents[sure.index(max(sure))], example)
        case Stability():
            return said(evidence.disturbed[GRID[row]], example) == said(all_of[row], example)
        case BeyondControl():
            return said(evidence.control[GRID[row]], example) != said(all_of[row], example)
    raise AssertionError(signal)


SIGNALS: Sequence[Signal] = (
    *(Consistency(), NeighbourDivergence(), LogProbability(), Probability(), NegativeEntropy()),
    *(Agreement(), Vote(), Vote(weighted=False), SurestParent(), Stability(), BeyondControl()),
)


@pytest.mark.parametrize("signal", SIGNALS, ids=str)
@given(evidence=evidences())
def test_is_the_formula(signal: Signal, evidence: Evidence) -> None:
    """1e-9: sums of a few float64 in another order."""
    examples = EXAMPLES[::-1]
    found = signal.contributions(evidence, examples)
    wanted = [[expected(signal, evidence, row, e) for e in examples] for row in range(len(GRID))]
    np.testing.assert_allclose(found, wanted, atol=1e-9)


@pytest.mark.parametrize("signal", SIGNALS, ids=str)
def test_what_is_missing_is_named(signal: Signal) -> None:
    plain = {candidate: {example: Answer("x") for example in EXAMPLES} for candidate in GRID}
    if not signal.needs:
        assert not signal.contributions(Evidence(plain), EXAMPLES).any()
        return
    message = "search.logprobs=10" if signal.needs == ("tokens",) else signal.needs[0]
    with pytest.raises(AdammsError, match=message):
        signal.contributions(Evidence(plain), EXAMPLES)


def test_the_surest_parent_is_told_apart_one_by_one() -> None:
    """The target is right and sure of the first example, the donor of the second: the middle has both."""

    def answer(text: str, logprob: float) -> Answer:
        return Answer(text, (Token(logprob, ((0, logprob),)),))

    grid = [Candidate(alpha) for alpha in (0.0, 0.5, 1.0)]
    target = {"a": answer("yes", -0.1), "b": answer("no", -2.0)}
    donor = {"a": answer("no", -1.0), "b": answer("yes", -0.1)}
    middle = {"a": answer("yes", -0.5), "b": answer("YES", -0.5)}
    evidence = Evidence(dict(zip(grid, (target, middle, donor), strict=True)), {"d": donor})
    assert SurestParent().contributions(evidence, ["a", "b"]).mean(1).tolist() == [0.5, 1.0, 0.5]
