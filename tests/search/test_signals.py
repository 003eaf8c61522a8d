"""Signals are their formulas, written out one answer at a time; none needs a label."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy

from adamms.engines.answer import Answer, Token
from adamms.errors import AdammsError
from adamms.merge.candidate import Candidate
from adamms.search.difference import Difference, ExactMatch, Overlap
from adamms.search.evidence import PARENTS, TOKENS, Evidence
from adamms.search.signals.agreement import Disagreement, ParentsDivergence, SurestParent, Vote
from adamms.search.signals.confidence import Entropy, Improbability, Surprisal
from adamms.search.signals.consistency import Basin, Consistency, NeighbourDivergence
from adamms.search.signals.controls import Instability, LikeControl
from adamms.search.signals.signal import Signal

WORDS = ("one", "Two", "two", "three", "two three", "one three two")
GRID = tuple(Candidate(alpha) for alpha in (0.0, 0.3, 0.6, 1.0))
EXAMPLES = ("a", "b", "c", "d", "e")


def answer_of(drawn: Iterator[int]) -> Answer:
    """A word and its end, each with the distribution over three tokens that it was drawn from."""
    tokens = []
    for _ in range(2):
        weights = [1 + next(drawn) % 20 for _ in range(3)]
        likeliest = sorted(
            ((name, math.log(weight / sum(weights))) for name, weight in enumerate(weights)),
            key=lambda pair: -pair[1],
        )
        tokens.append(Token(likeliest[0][1], tuple(likeliest)))
    return Answer(WORDS[next(drawn) % len(WORDS)], tuple(tokens))


@st.composite
def evidences(draw: st.DrawFn) -> Evidence:
    """Of 75 answers. They are made of one draw: drawn number by number they took ten times as long."""
    size = 75 * 7 + len(EXAMPLES)
    drawn = iter(draw(st.binary(min_size=size, max_size=size)))

    def given_by() -> dict[str, Answer]:
        return {example: answer_of(drawn) for example in EXAMPLES}

    return Evidence(
        {candidate: given_by() for candidate in reversed(GRID)},
        given_by(),
        {"x": given_by(), "y": {e: answer for e, answer in given_by().items() if next(drawn) % 2}},
        {candidate: given_by() for candidate in GRID},
        {candidate: given_by() for candidate in GRID},
    )


def said(answers: Mapping[str, Answer], example: str) -> str:
    return answers[example].text.casefold()


def first(answers: Mapping[str, Answer], example: str) -> npt.NDArray[np.float64]:
    """Probabilities of the three tokens in the first place, by id."""
    return np.exp([value for _, value in sorted(answers[example].tokens[0].likeliest)])


def expected(signal: Signal, evidence: Evidence, row: int, example: str, difference: Difference) -> float:
    """The formula for one candidate and one example: who was not asked has no say."""

    def apart(one: str, other: str) -> float:
        return float(difference([one], [other])[0])

    all_of = [evidence.candidates[candidate] for candidate in GRID]
    voters = [*all_of, *(donor for donor in evidence.donors.values() if example in donor)]
    parents = [evidence.target, *voters[len(all_of) :]]
    own, mine = all_of[row][example], said(all_of[row], example)
    around = [at for at in (row - 1, row + 1) if 0 <= at < len(GRID)]
    around = around * 2 if len(around) == 1 else around
    match signal:
        case Consistency():
            return sum(apart(said(all_of[at], example), mine) for at in around)
        case Basin(width):
            steps = [row + step for step in range(-width, width + 1) if step]
            inside = [1 - apart(said(all_of[at], example), mine) for at in steps if 0 <= at < len(GRID)]
            return 1 - sum(inside) / len(steps)
        case NeighbourDivergence():
            rows = [first(given, example) for given in all_of]
            return sum(jensenshannon(rows[at], rows[row]) ** 2 for at in around)
        case Surprisal(tokens):
            return -sum(token.logprob for token in own.tokens) / (len(own.tokens) if tokens == "mean" else 1)
        case Improbability():
            return 1 - math.prod(math.exp(token.logprob) for token in own.tokens)
        case Entropy(tokens):
            found = [entropy(np.exp([v for _, v in token.likeliest])) for token in own.tokens]
            return float(np.mean(found) if tokens == "mean" else np.sum(found))
        case Vote(weighted):
            votes = [(said(v, example), _probability(v[example], "sum") if weighted else 1.0) for v in voters]
            risks = {word: sum(w * apart(word, other) for other, w in votes) for word, _ in votes}
            least = min(risks.values()) + 1e-9 * sum(weight for _, weight in votes)
            return apart(mine, min(word for word, risk in risks.items() if risk <= least))
        case SurestParent():
            sure = [sum(token.logprob for token in parent[example].tokens) for parent in parents]
            return apart(mine, said(parents[sure.index(max(sure))], example))
        case ParentsDivergence():
            mean = np.mean([first(parent, example) for parent in parents], axis=0)
            return jensenshannon(first(all_of[row], example), mean) ** 2
        case Instability():
            return apart(said(evidence.disturbed[GRID[row]], example), mine)
        case LikeControl():
            return 1 - apart(said(evidence.control[GRID[row]], example), mine)
    raise AssertionError(signal)


def _probability(answer: Answer, tokens: str) -> float:
    """Of the tokens' probabilities the geometric mean, or the product."""
    each = [math.exp(token.logprob) for token in answer.tokens]
    return math.prod(each) ** (1 / len(each) if tokens == "mean" else 1)


SIGNALS: Sequence[Signal] = (
    *(Consistency("sum"), Basin(3), Basin(1), NeighbourDivergence("sum")),
    *(Surprisal("sum"), Surprisal("mean"), Improbability(), Entropy("sum"), Entropy("mean")),
    *(Vote(True), Vote(False), SurestParent()),
    *(ParentsDivergence(), Instability(), LikeControl()),
)


@pytest.mark.parametrize("signal", SIGNALS, ids=str)
@given(evidence=evidences(), difference=st.sampled_from([ExactMatch(), Overlap(True, None, False)]))
def test_is_the_formula(signal: Signal, evidence: Evidence, difference: Difference) -> None:
    """1e-9: sums of a few float64 in another order."""
    examples = EXAMPLES[::-1]
    found = signal.differences(evidence, examples, difference)
    wanted = [[expected(signal, evidence, row, e, difference) for e in examples] for row in range(len(GRID))]
    np.testing.assert_allclose(found, wanted, atol=1e-9)
    assert (found >= 0).all()


@pytest.mark.parametrize("signal", SIGNALS, ids=str)
def test_what_is_missing_is_named(signal: Signal) -> None:
    plain = {candidate: {example: Answer("x") for example in EXAMPLES} for candidate in GRID}
    if not signal.needs:
        found = signal.differences(Evidence(plain), EXAMPLES, ExactMatch())
        assert (found == found[:, :1]).all()
        return
    named = {TOKENS: "search.logprobs=10", PARENTS: "donors"}
    message = named.get(signal.needs[0], signal.needs[0])
    with pytest.raises(AdammsError, match=message):
        signal.differences(Evidence(plain), EXAMPLES, ExactMatch())


@given(evidence=evidences())
def test_of_a_word_and_its_end_the_mean_squared_is_the_sum(evidence: Evidence) -> None:
    """To the last bit, so either is the recommended signal where answers are one word."""
    mean, whole = (
        Disagreement(power, tokens, 2.0, 0.0).differences(evidence, EXAMPLES, ExactMatch())
        for power, tokens in ((2.0, "mean"), (1.0, "sum"))
    )
    assert np.array_equal(mean, whole)


@given(length=st.integers(1, 400))
def test_a_long_unsure_answer_weighs_as_a_short_one(length: int) -> None:
    """Sums of 400 log-probabilities are far below what a float holds; their means are not."""

    def answer(text: str, logprob: float, tokens: int) -> Answer:
        return Answer(text, (Token(logprob, ()),) * tokens)

    said = [answer("a", -6.0, length), answer("b", -6.0, 1), answer("b", -6.0, 2)]
    evidence = Evidence({c: {"x": text} for c, text in zip(GRID, said, strict=False)})
    found = Disagreement(3.0, "mean", 0.0, 0.0).differences(evidence, ["x"], ExactMatch())[:, 0]
    np.testing.assert_allclose(found, [2 / 3, 1 / 3, 1 / 3], atol=1e-9)


def test_the_surest_parent_is_told_apart_one_by_one() -> None:
    """The target is right and sure of the first example, the donor of the second: the middle has both."""

    def answer(text: str, logprob: float) -> Answer:
        return Answer(text, (Token(logprob, ((0, logprob),)),))

    grid = [Candidate(alpha) for alpha in (0.0, 0.5, 1.0)]
    target = {"a": answer("yes", -0.1), "b": answer("no", -2.0)}
    donor = {"a": answer("no", -1.0), "b": answer("yes", -0.1)}
    middle = {"a": answer("yes", -0.5), "b": answer("YES", -0.5)}
    evidence = Evidence(dict(zip(grid, (target, middle, donor), strict=True)), target, {"d": donor})
    assert SurestParent().differences(evidence, ["a", "b"], ExactMatch()).sum(1).tolist() == [1, 0, 1]
