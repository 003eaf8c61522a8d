"""Votes weigh as the formula says, written out vote by vote; reliable voters outvote a careless majority."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import shipped

from adamms.engines.answer import Answer, Token
from adamms.errors import AdammsError
from adamms.merge.candidate import Candidate
from adamms.search.difference import Difference, ExactMatch, Overlap
from adamms.search.evidence import Evidence
from adamms.search.likeness import likeness
from adamms.search.signals.agreement import Disagreement
from adamms.search.signals.likelihood import VotedLikelihood
from adamms.search.signals.panel import Panel
from adamms.search.signals.votes import Voted, apart
from adamms.search.task_differences import TaskDifferences

GRID = tuple(Candidate(alpha) for alpha in (0.0, 0.5, 1.0))
EXAMPLES = ("a", "b", "c", "d")
WORDS = ("one", "two", "two three", "one three two")
Given = Mapping[str, Answer]
OVERLAP = Overlap(True, None, False)


def answer(rng: np.random.Generator, text: str | None = None) -> Answer:
    tokens = tuple(Token(float(value), ()) for value in -rng.exponential(1.0, rng.integers(1, 4)))
    return Answer(text or str(rng.choice(WORDS)), tokens, False)


@st.composite
def evidences(draw: st.DrawFn) -> Evidence:
    """Of three candidates and two donors, one of which was not asked everything."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    candidates = {c: {e: answer(rng) for e in EXAMPLES} for c in GRID}
    donors = {
        "x": {e: answer(rng) for e in EXAMPLES},
        "y": {e: answer(rng) for e in EXAMPLES if draw(st.booleans())},
    }
    target = {e: answer(rng) for e in EXAMPLES}
    scored = {c: {e: {text: answer(rng, text) for text in WORDS} for e in EXAMPLES} for c in GRID}
    like: list[float] = rng.uniform(0, 1, len(GRID) + 3).tolist() if draw(st.booleans()) else []
    return Evidence(candidates, target, donors, scored=scored, likeness=like)


class Reference:
    """The docstring of `Voted`, one vote after the other."""

    def __init__(self, signal: Voted, evidence: Evidence, difference: Difference) -> None:
        self.signal, self.difference = signal, difference
        self.parents: list[Given] = [evidence.target, *evidence.donors.values()]
        self.voters: list[Given] = [*(evidence.candidates[c] for c in GRID), *evidence.donors.values()]
        if signal.sureness and evidence.donors:
            self.voters.append({e: self._surest(e) for e in EXAMPLES})
        self.speakers = [*self.voters, evidence.target]
        self.like = evidence.likeness or [0.0] * (len(GRID) + 3)
        self.error = [1.0] * len(self.speakers)
        for _ in range(3):
            self.error = [
                (1 + sum(self.held(one, e) for e in EXAMPLES if e in one)) / (1 + len(one))
                for one in self.speakers
            ]

    def distinct(self, place: int, example: str) -> float:
        """Of a voter or the target, which is the last; the surest parent stands before it."""
        donors = len(GRID), len(GRID) + 1
        if place == len(self.speakers) - 1:
            place = -1
        elif place > donors[-1]:
            parents = dict(zip((-1, *donors), self.parents, strict=True))
            wanted = self._surest(example)
            place = next(n for n, parent in parents.items() if parent.get(example) is wanted)
        return math.exp(-self.like[place])

    def _surest(self, example: str) -> Answer:
        asked = [parent[example] for parent in self.parents if example in parent]
        return max(asked, key=lambda answer: sum(token.logprob for token in answer.tokens))

    def weight(self, place: int, example: str) -> float:
        logs = [token.logprob for token in self.speakers[place][example].tokens]
        log = sum(logs) / (len(logs) if self.signal.tokens == "mean" else 1)
        own = self.distinct(place, example) ** self.signal.distinctness
        return own * math.exp(log) ** self.signal.sureness / self.error[place] ** self.signal.reliability

    def held(self, one: Given, example: str) -> float:
        votes = [
            (self.weight(place, example), voter[example].text)
            for place, voter in enumerate(self.voters)
            if example in voter
        ]
        against = [w * self.difference([text], [one[example].text])[0] for w, text in votes]
        return float(sum(against) / sum(w for w, _ in votes))

    def surprise(self, scored: Mapping[str, Given], example: str) -> float:
        places = [len(self.speakers) - 1, len(GRID), len(GRID) + 1]
        asked = [place for place in places if example in self.speakers[place]]
        shares = np.array([self.weight(place, example) for place in asked])
        texts = [self.speakers[place][example].text for place in asked]
        given = [np.exp(np.mean([t.logprob for t in scored[example][text].tokens])) for text in texts]
        return float(-np.log(shares @ np.array(given) / shares.sum()))


SETTINGS = [
    (0.0, "mean", 0.0, 0.0),
    (3.0, "mean", 0.0, 0.5),
    (1.0, "sum", 2.0, 0.0),
    (2.0, "mean", 2.0, 1.0),
    (0.0, "mean", 1.0, 2.0),
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@given(evidence=evidences(), difference=st.sampled_from([ExactMatch(), Overlap(True, None, False)]))
def test_is_the_formula(
    settings: tuple[float, str, float, float], evidence: Evidence, difference: Difference
) -> None:
    """1e-9: sums of a few float64 in another order."""
    disagreement, likelihood = Disagreement(*settings), VotedLikelihood(*settings)  # type: ignore[arg-type]
    wanted = Reference(disagreement, evidence, difference)
    found = disagreement.differences(evidence, EXAMPLES, difference)
    held = [[wanted.held(evidence.candidates[c], e) for e in EXAMPLES] for c in GRID]
    np.testing.assert_allclose(found, held, atol=1e-9)
    assert (found >= 0).all()
    surprise = [[wanted.surprise(evidence.scored[c], e) for e in EXAMPLES] for c in GRID]
    np.testing.assert_allclose(likelihood.differences(evidence, EXAMPLES, difference), surprise, atol=1e-9)


def test_who_agrees_with_others_elsewhere_outvotes_a_majority_that_does_not() -> None:
    """Two candidates always agree; three others agree on the last example alone, against them."""
    order = [Candidate(place / 4) for place in range(5)]
    examples = [str(number) for number in range(9)]
    said = {
        c: {e: Answer("right" if n < 2 else f"{n}") for e in examples} | {"8": Answer("AB"[n > 1])}
        for n, c in enumerate(order)
    }
    for reliability, winners in ((0.0, [2, 3, 4]), (2.0, [0, 1])):
        signal = Disagreement(0.0, "mean", reliability, 0.0)
        last = signal.differences(Evidence(said), examples, ExactMatch())[:, -1]
        assert np.flatnonzero(last <= last.min() + 1e-9).tolist() == winners


def test_who_answers_one_task_as_another_is_outvoted_by_those_who_do_not() -> None:
    """Three of five say of how many what they say of the colour; the others answer both."""
    order, tasks = [Candidate(place / 4) for place in range(5)], {}
    said: dict[Candidate, dict[str, Answer]] = {c: {} for c in order}
    for number in range(8):
        for task, text in (("colour", f"it is red or blue{number}"), ("count", f"there are {number} dogs")):
            tasks[f"{task}{number}"] = task
            for place, candidate in enumerate(order):
                other = task == "count" and place < 3
                said[candidate][f"{task}{number}"] = Answer(f"it is red or blue{number}" if other else text)
    counts = [place for place, task in enumerate(tasks.values()) if task == "count"]
    for distinctness, winners in ((0.0, [0, 1, 2]), (1.0, [3, 4])):
        compared = TaskDifferences({"colour": OVERLAP, "count": OVERLAP}, tasks)
        held = compared.held(Disagreement(0.0, "mean", 0.0, distinctness), Evidence(said), list(tasks))
        against = held[:, counts].sum(1)
        assert np.flatnonzero(against <= against.min() + 1e-9).tolist() == winners


SENTENCES = {"yes": "Yes, the {} can be seen.", "no": "No, nothing like a {} is visible here."}


@pytest.mark.parametrize("bias", [0.65, 0.8, 1.0])
@pytest.mark.parametrize(
    ("words", "form", "constant", "difference"),
    [
        (("yes", "no"), None, None, ExactMatch()),
        (("A", "B", "C", "D"), None, None, ExactMatch()),
        (("yes", "no"), SENTENCES, SENTENCES, OVERLAP),
        (
            ("yes", "no"),
            SENTENCES,
            {"yes": "Yes, it is.", "no": "No, it is not."},
            Overlap(True, None, False),
        ),
        (("yes", "no"), SENTENCES, {"yes": "indeed", "no": "never"}, Overlap(True, None, False)),
    ],
    ids=["words", "letters", "sentences", "short", "strange"],
)
def test_who_says_one_thing_to_each_of_two_tasks_with_the_same_answers_does_not_win(
    words: Sequence[str],
    form: Mapping[str, str] | None,
    constant: Mapping[str, str] | None,
    difference: Difference,
    bias: float,
) -> None:
    """Four are right on most; the last says mostly the first word to one task, the second to the other."""
    order, panel = [Candidate(place / 4) for place in range(5)], shipped("search=trusted").signal
    assert isinstance(panel, Panel)
    signal = panel.members["disagreement"]
    assert signal.across
    for seed in range(3):
        rng, tasks = np.random.default_rng(seed), {}
        said: dict[Candidate, dict[str, Answer]] = {c: {} for c in order}
        for number, task in enumerate(("one", "two")):
            for place, right in enumerate(rng.permutation(words * (40 // len(words)))):
                tasks[example := f"{task}{place}"] = task
                for candidate in order:
                    last = candidate is order[-1]
                    sure, word = (bias, words[number]) if last else (0.8, str(right))
                    given = word if rng.random() < sure else str(rng.choice(words))
                    forms = constant if last else form
                    text = forms[given].format(("dog", "cat", "bus")[place % 3]) if forms else given
                    said[candidate][example] = Answer(text, (Token(-0.1, ()),))
        compared = TaskDifferences(dict.fromkeys(("one", "two"), difference), tasks)
        held = compared.held(signal, Evidence(said), list(tasks)).sum(1)
        assert held.argmin() != 4


def test_likeness_is_that_to_the_likest_other_task() -> None:
    """Of candidates, donors and the target; a donor that was not asked has nothing of its own to say."""
    tasks = {"a": "one", "b": "one", "c": "two", "d": "two", "e": "three", "f": "three"}
    texts = {
        GRID[0]: ("red", "blue", "red", "blue", "two dogs", "a cat"),
        GRID[1]: ("red", "blue", "red dog", "five", "two dogs", "a cat"),
        GRID[2]: ("red", "green", "five", "nine", "ten", "ten"),
    }
    given = {c: {e: Answer(text) for e, text in zip(tasks, row, strict=True)} for c, row in texts.items()}
    asked = {"a": Answer("red"), "b": Answer("green")}
    found = likeness(Evidence(given, given[GRID[0]], {"x": asked}), tasks, list(tasks))
    assert found == {
        # "red" is what most say to the second task, too.
        "one": pytest.approx([1.0, 0.5, 0.5, 0.5, 1.0]),
        "two": pytest.approx([1.0, 0.5, 0.5, 1.0, 1.0]),
        "three": pytest.approx([0.5, 0.5, 1.0, 1.0, 0.5]),
    }
    alone = {e: task for e, task in tasks.items() if task == "one"}
    assert likeness(Evidence(given), alone, list(alone)) == {"one": [0.0, 0.0, 0.0, 0.0]}


@given(rows=st.lists(st.lists(st.sampled_from(WORDS), min_size=3, max_size=3), min_size=1, max_size=5))
def test_all_pairs_are_compared(rows: Sequence[Sequence[str]]) -> None:
    difference = Overlap(True, None, False)
    wanted = np.array([[difference(one, other) for other in rows] for one in rows])
    np.testing.assert_array_equal(apart(rows, difference), wanted)


def test_a_parent_that_was_cut_before_it_said_anything_is_not_expected() -> None:
    """Two are left, or nothing is held against anybody."""
    red, blue, cut = (Answer(text, (Token(-1.0, ()),), text == "") for text in ("red", "blue", ""))
    scored = {GRID[0]: {"e": {text: Answer(text, (Token(-2.0, ()),)) for text in ("red", "blue")}}}
    signal = VotedLikelihood(0.0, "mean", 0.0, 0.0)
    for donors, wanted in (({"x": blue, "y": cut}, 2.0), ({"x": cut}, 0.0)):
        evidence = Evidence(
            {GRID[0]: {"e": red}}, {"e": red}, {n: {"e": a} for n, a in donors.items()}, scored=scored
        )
        assert signal.differences(evidence, ["e"], ExactMatch()) == pytest.approx(wanted)


def test_what_is_missing_is_named() -> None:
    plain = Evidence({c: {"e": Answer("x")} for c in GRID})
    with pytest.raises(AdammsError, match="scored"):
        VotedLikelihood(0.0, "mean", 0.0, 0.0).differences(plain, ["e"], ExactMatch())
    with pytest.raises(AdammsError, match=r"search\.logprobs=10"):
        Disagreement(1.0, "mean", 0.0, 0.0).differences(plain, ["e"], ExactMatch())
