"""Signals over scores of given texts are their formulas, written out, and two are computed by hand."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from adamms.engines.answer import Answer, Token
from adamms.errors import AdammsError
from adamms.merge.candidate import Candidate
from adamms.search.difference import ExactMatch
from adamms.search.evidence import SCORES_OF_ALL, Evidence, texts_and_cuts
from adamms.search.signals.distributions import ParentsAlignment, SequenceDivergence
from adamms.search.signals.likelihood import Likelihood
from adamms.search.signals.meaning import SemanticEntropy
from adamms.search.signals.signal import Signal

GRID = tuple(Candidate(alpha) for alpha in (0.0, 0.5, 1.0))
EXAMPLES = ("a", "b")
WORDS = ("one", "One", "two", "three  four")
Given = Mapping[str, Answer]


def token(weights: Sequence[int], chosen: int = 0) -> Token:
    """The distribution over as many tokens as there are weights, one of them chosen."""
    logs = [math.log(weight / sum(weights)) for weight in weights]
    return Token(logs[chosen], tuple(sorted(enumerate(logs), key=lambda pair: -pair[1])))


def weights(token: Token) -> list[float]:
    return [math.exp(value) for _, value in sorted(token.likeliest)]


@st.composite
def answers(draw: st.DrawFn, word: str) -> Answer:
    """With a token for each letter and for its end, unless it was cut."""
    rows = [[draw(st.integers(1, 20)) for _ in range(3)] for _ in range(len(word) + 1)]
    return Answer(word, tuple(token(row, draw(st.integers(0, 2))) for row in rows), False)


@st.composite
def evidences(draw: st.DrawFn) -> Evidence:
    words = st.sampled_from(WORDS)

    def given_by() -> dict[str, Answer]:
        return {example: draw(answers(draw(words))) for example in EXAMPLES}

    candidates = {candidate: given_by() for candidate in GRID}
    donors = {"x": given_by(), "y": {e: answer for e, answer in given_by().items() if draw(st.booleans())}}
    target = given_by()
    said = [target, *donors.values(), *candidates.values()]
    pools = {e: texts_and_cuts(row[e] for row in said if e in row) for e in EXAMPLES}
    scored = {c: {e: {t: draw(answers(t)) for t in pools[e]} for e in EXAMPLES} for c in GRID}
    return Evidence(candidates, target, donors, scored=scored)


def expected(signal: Signal, evidence: Evidence, row: int, example: str) -> float:
    parents = [one[example] for one in (evidence.target, *evidence.donors.values()) if example in one]
    everybody = [evidence.candidates[c][example] for c in GRID] + parents[1:]
    scored = [evidence.scored[candidate][example] for candidate in GRID]
    sayers = everybody if SCORES_OF_ALL in signal.needs else parents
    match signal:
        case Likelihood():
            chances = [math.exp(mean_logprob(scored[row][answer.text])) for answer in sayers]
            return -math.log(sum(chances) / len(sayers))
        case SequenceDivergence():
            around = [at for at in (row - 1, row + 1) if 0 <= at < len(GRID)]
            around = around * 2 if len(around) == 1 else around
            texts = {answer.text for answer in sayers}
            return sum(
                np.mean([apart(scored[row][text], scored[at][text]) for text in texts]) for at in around
            )
        case ParentsAlignment():
            return float(np.mean([apart(answer, scored[row][answer.text]) for answer in parents]))
        case SemanticEntropy():
            meanings: dict[str, float] = {}
            for text in {answer.text for answer in sayers}:
                meaning = " ".join(text.casefold().split())
                meanings[meaning] = meanings.get(meaning, 0) + math.exp(mean_logprob(scored[row][text]))
            return float(entropy([value / sum(meanings.values()) for value in meanings.values()]))
    raise AssertionError(signal)


def mean_logprob(answer: Answer) -> float:
    return float(np.mean([token.logprob for token in answer.tokens]))


def apart(one: Answer, other: Answer) -> float:
    pairs = zip(one.tokens, other.tokens, strict=True)
    return float(np.mean([jensenshannon(weights(a), weights(b)) ** 2 for a, b in pairs]))


SIGNALS: Sequence[Signal] = (
    *(Likelihood("parents"), Likelihood("all"), ParentsAlignment()),
    *(SequenceDivergence("parents", "sum"), SequenceDivergence("all", "sum")),
    *(SemanticEntropy("parents", 0.0), SemanticEntropy("all", 0.0)),
)


@pytest.mark.parametrize("signal", SIGNALS, ids=str)
@settings(max_examples=25)
@given(evidence=evidences())
def test_is_the_formula(signal: Signal, evidence: Evidence) -> None:
    """1e-9: sums of a few float64 in another order."""
    found = signal.differences(evidence, EXAMPLES, ExactMatch())
    wanted = [[expected(signal, evidence, row, e) for e in EXAMPLES] for row in range(len(GRID))]
    np.testing.assert_allclose(found, wanted, atol=1e-9)
    assert (found >= -1e-12).all()


@pytest.mark.parametrize("signal", SIGNALS, ids=str)
def test_without_scores_it_says_so(signal: Signal) -> None:
    plain = Evidence({candidate: {"a": Answer("x")} for candidate in GRID})
    with pytest.raises(AdammsError, match="evidence that is not there: scored"):
        signal.differences(plain, ["a"], ExactMatch())


def scored_as(*logprobs: float, cut: bool = False) -> Answer:
    return Answer("x", tuple(Token(value, ((0, value),)) for value in logprobs), cut)


def test_by_hand_the_likelihood_is_per_token_and_counts_every_answer() -> None:
    """red: (-1 - 3) / 2, twice, as target and donor say it; blue, which another donor says: -5.

    The mean of their exponentials is what counts.
    """
    low = Candidate(0.0)
    said = {"e": Answer("red")}
    donors = {"a": said, "b": {"e": Answer("blue")}}
    scored = {low: {"e": {"red": scored_as(-1.0, -3.0), "blue": scored_as(-5.0)}}}
    evidence = Evidence({low: said}, said, donors, scored=scored)
    wanted = -math.log((2 * math.exp(-2.0) + math.exp(-5.0)) / 3)
    for pool in ("parents", "all"):
        found = Likelihood(pool).differences(evidence, ["e"], ExactMatch())
        np.testing.assert_allclose(found, [[wanted]])
    alone = Likelihood("parents").differences(replace(evidence, donors={}), ["e"], ExactMatch())
    assert alone.tolist() == [[0.0]]  # the target's own answer says nothing by itself


def test_by_hand_semantic_entropy_is_over_meanings_not_texts() -> None:
    """Probabilities 0.2 and 0.1 of one meaning, 0.3 of the other: two of the same share, log 2."""
    low, texts = Candidate(0.0), ("red", "Red", "blue")
    parents = [{"e": Answer(text)} for text in texts]
    chances = {text: scored_as(math.log(chance)) for text, chance in zip(texts, (0.2, 0.1, 0.3), strict=True)}
    donors = {"a": parents[1], "b": parents[2]}
    evidence = Evidence({low: parents[0]}, parents[0], donors, scored={low: {"e": chances}})
    found = SemanticEntropy("parents", 0.2).differences(evidence, ["e"], ExactMatch())
    assert found[0, 0] == pytest.approx(math.log(2))


@pytest.mark.parametrize("signal", SIGNALS, ids=str)
def test_an_answer_that_was_cut_before_it_said_anything_does_not_count(signal: Signal) -> None:
    """Not even a thought that does not end. Where nothing else was said, nothing speaks against anyone."""
    red = {"e": Answer("red", (token([3, 1]), token([1, 1])), False)}
    cut = ({"e": Answer("", (), True)}, {"e": Answer("<think>It", (token([1, 3]),), True)})
    given = {"red": Answer("red", (token([1, 2]), token([2, 1])), False)}

    def found(candidates: Sequence[Given], target: Given, *donors: Given) -> list[float]:
        rows = dict(zip(GRID, candidates, strict=True))
        named = dict(zip("ab", donors, strict=False))
        evidence = Evidence(rows, target, named, scored={row: {"e": given} for row in GRID})
        return signal.differences(evidence, ["e"], ExactMatch())[:, 0].tolist()

    assert found([red] * 3, red, *cut) == pytest.approx(found([red] * 3, red))
    assert found([cut[0]] * 3, cut[0], *cut) == [0.0] * 3


def test_a_text_with_other_tokens_than_were_generated_is_compared_at_its_first_alone() -> None:
    low = Candidate(0.0)
    own = {"e": Answer("x", (token([1, 1, 2]), token([1, 5, 1])), False)}
    other = Answer("x", (token([1, 1, 2]), token([9, 1, 1]), token([1, 1, 1])), False)

    def found(given: Answer, parent: dict[str, Answer]) -> float:
        evidence = Evidence({low: parent}, parent, {"a": parent}, scored={low: {"e": {"x": given}}})
        return float(ParentsAlignment().differences(evidence, ["e"], ExactMatch())[0, 0])

    assert found(other, own) == pytest.approx(0.0)
    cut = {"e": Answer("x", own["e"].tokens, True)}  # another one gave it whole: only the end is too much
    wanted = jensenshannon([1 / 7, 5 / 7, 1 / 7], [9 / 11, 1 / 11, 1 / 11]) ** 2
    assert found(other, cut) == pytest.approx(wanted / 2)
