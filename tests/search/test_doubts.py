"""Confidence says no more than the data do: what cannot support a choice has its sentence."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from strategies import chosen, paper, shipped, trusted

from adamms.engines.answer import Answer, Token
from adamms.merge.candidate import Candidate
from adamms.search.choice import DOUBTED, Choice, Selection, Trust
from adamms.search.difference import Difference
from adamms.search.doubts import (
    ALL_DIFFER,
    ALL_FAR,
    ALL_TIE,
    ALONE,
    MANY_CUT,
    MANY_THOUGHTS_CUT,
    MOST_EMPTY,
    NO_CHANGE,
    SOME_TIE,
    TOO_FEW,
)
from adamms.search.evidence import Evidence, recorded
from adamms.search.signals.agreement import Disagreement
from adamms.search.strategy import Strategy

COUNT = 40
Said = Callable[[int, int], str]  # place on the grid, example -> text


def calm(i: int, e: int) -> str:
    """Answers that change once along the grid, few of them beside 0.2."""
    return f"{e} {i >= (1 if e < 8 else 3 if e < 10 else 4 if e < 20 else 9)}"


def grid(count: int = 5) -> list[Candidate]:
    return [Candidate(i / 10) for i in range(count)]


def choose(said: Said, count: int = COUNT, strategy: Strategy | None = None, steps: int = 5) -> Choice:
    answers = {c: {str(e): said(i, e) for e in range(count)} for i, c in enumerate(grid(steps))}
    tasks = {"t": [str(e) for e in range(count)]}
    selection = chosen(strategy or paper(resamples=200), answers, tasks)
    assert selection.tasks["t"] == selection.overall
    return selection.overall


def probability(choice: Choice) -> float:
    assert choice.trust is not None
    return choice.trust.probability


AUTO = shipped("search=trusted").difference
EVERY = [paper(resamples=200), trusted(signal=Disagreement(0, "mean", 0, 0.0), slope=0.4, resamples=200)]


def test_data_without_a_fault_leave_no_doubt() -> None:
    choice = choose(calm)
    assert choice.candidate == Candidate(0.2)
    assert choice.doubts == ()
    assert choice.trust == replace(choice.trust, tolerance=2.0, slope=0.0)


@pytest.mark.parametrize("strategy", EVERY)
@pytest.mark.parametrize(
    ("said", "doubts"),
    [
        (lambda i, e: f"{i} {e}", [ALL_DIFFER, ALL_TIE]),
        (lambda i, e: f"{i % 2} {e}", [ALL_DIFFER, ALL_TIE]),
        (lambda i, e: f"{e}", [NO_CHANGE]),
        (lambda i, e: f"{e}" + " " * i, [NO_CHANGE]),
        (lambda i, e: "", [MOST_EMPTY, NO_CHANGE]),
        (lambda i, e: " \n"[: i % 2], [MOST_EMPTY, NO_CHANGE]),
    ],
    ids=["all differ", "neighbours differ", "all equal", "all equal but for spaces", "empty", "blank"],
)
def test_what_says_nothing_has_its_sentence_and_a_low_probability(
    strategy: Strategy, said: Said, doubts: list[str]
) -> None:
    choice = choose(said, strategy=strategy)
    assert set(doubts) - {ALL_TIE} <= set(choice.doubts)
    assert probability(choice) <= DOUBTED
    if strategy is EVERY[0]:  # D is the same for all three that may win: so is the share of the resamples
        assert list(choice.doubts) == doubts
        assert choice.wins == pytest.approx({Candidate(i / 10): 1 / 3 for i in (1, 2, 3)})
        assert choice.confidence == pytest.approx(1 / 3)


def drawn(*seed: int) -> str:
    """Twelve words, by chance."""
    letters = np.random.default_rng(seed).integers(0, 25, 12)
    return " ".join("bcdefghijklmnopqrstuvwxyz"[letter] * 3 for letter in letters)


@pytest.mark.parametrize("strategy", [replace(each, difference=AUTO) for each in EVERY])
@pytest.mark.parametrize(
    ("said", "doubt"),
    [
        (lambda i, e: drawn(i, e), ALL_FAR),
        (lambda i, e: f"in this picture there is what we can see here {drawn(i, e)}", ALL_FAR),
        (lambda i, e: f"in this picture we see {drawn(e)}", NO_CHANGE),
        (lambda i, e: f"In  this picture we see {drawn(0)}" + " " * i, NO_CHANGE),
        (lambda i, e: "" if e % 9 else drawn(i, e), MOST_EMPTY),
        (lambda i, e: "in this picture we see nothing" if i in (0, 4) else drawn(i, e), ALL_FAR),
    ],
    ids=["chance", "chance in one frame", "nothing changes", "one sentence", "most empty", "equal ends"],
)
def test_sentences_that_say_nothing_are_doubted_as_words_are(
    strategy: Strategy, said: Said, doubt: str
) -> None:
    for repeat in range(3):
        choice = choose(lambda i, e, by=1000 * repeat: said(i, e + by), strategy=strategy)
        assert doubt in choice.doubts
        assert probability(choice) <= DOUBTED


@pytest.mark.parametrize("logprob", [-0.01, -3.0], ids=["sure", "unsure"])
@pytest.mark.parametrize(
    "said",
    [
        lambda i, e: f"{i} {e}",
        lambda i, e: drawn(i, e),
        lambda i, e: f"we can see here that there is {drawn(i, e)}",
        lambda i, e: "",
        lambda i, e: " \n"[: i % 2],
    ],
    ids=["words", "sentences", "sentences in one frame", "empty", "blank"],
)
def test_the_recommended_search_as_it_is_states_no_more_than_half_of_what_says_nothing(
    said: Said, logprob: float
) -> None:
    """With a donor, probabilities and answers that are spared: all differ, or all are empty."""
    order, examples = grid(11), [str(e) for e in range(COUNT)]
    rows = [
        {e: Answer(said(i, int(e)), (Token(logprob, ()),)) for e in examples} for i in range(len(order) + 1)
    ]

    def ask(candidates: Sequence[Candidate], examples: Sequence[str]) -> Evidence:
        found = {c: {e: rows[order.index(c)][e] for e in examples} for c in candidates}
        texts = {e: {row[e].text: row[e] for row in (rows[0], rows[-1])} for e in examples}
        return Evidence(found, rows[0], {"donor": rows[-1]}, scored=dict.fromkeys(candidates, texts))

    selection = shipped("search=trusted").choose(ask, order, {"a": examples[::2], "b": examples[1::2]})
    for choice in (selection.overall, *selection.tasks.values()):
        assert probability(choice) <= DOUBTED


def test_sentences_that_hold_together_are_not_doubted() -> None:
    """No two are the same text, and one word in twelve changes from alpha to alpha."""
    strategy = paper(difference=AUTO, resamples=200)
    choice = choose(lambda i, e: f"{drawn(e)} {'bcdef'[i]}{e}", strategy=strategy)
    assert set(choice.doubts) <= {ALL_TIE, SOME_TIE}
    assert choice.compared.startswith("the root of token overlap")
    exact = choose(lambda i, e: f"{drawn(e)} {'bcdef'[i]}{e}", strategy=paper(resamples=200))
    assert ALL_DIFFER in exact.doubts


@pytest.mark.parametrize(("share", "doubtful"), [(0.95, True), (0.85, True), (0.6, False)])
def test_nearly_all_is_enough(share: float, doubtful: bool) -> None:
    """Answers that differ between all neighbours; the others never change."""
    choice = choose(lambda i, e: f"{e} {i if e < share * 100 else ''}", count=100)
    assert (ALL_DIFFER in choice.doubts) == doubtful


def test_empty_answers_that_agree_win_and_are_doubted() -> None:
    """Beyond 0.2 the model says nothing: no answer changes there."""
    choice = choose(lambda i, e: "" if i > 2 else f"{i} {e}", steps=7)
    assert choice.candidate > Candidate(0.3)
    assert MOST_EMPTY in choice.doubts
    assert probability(choice) <= DOUBTED


@pytest.mark.parametrize(("cut_off", "doubts"), [(0.5, {MANY_THOUGHTS_CUT, MOST_EMPTY}), (0.1, set())])
def test_thoughts_that_do_not_end_are_empty_answers_that_were_cut(cut_off: float, doubts: set[str]) -> None:
    """Logs do not say what was cut; the missing end of a thought does."""
    choice = choose(lambda i, e: f"<think>{i}" + ("" if e < cut_off * COUNT else f"</think>{calm(i, e)}"))
    assert set(choice.doubts) & {MANY_THOUGHTS_CUT, MOST_EMPTY, MANY_CUT} == doubts


def test_one_example_in_twenty_that_changes_is_no_saturation() -> None:
    choice = choose(lambda i, e: f"{e} {i if e % 20 == 0 else ''}", count=100)
    assert choice.doubts == (ALL_TIE,)


@pytest.mark.parametrize(("count", "few"), [(3, True), (19, True), (20, False)])
def test_few_examples(count: int, few: bool) -> None:
    choice = choose(lambda i, e: calm(i, e % 40), count=count)
    assert (TOO_FEW in choice.doubts) == few
    if few:
        assert probability(choice) <= DOUBTED


class Numbers(Difference):
    """As far from each other as they are."""

    name = "numbers"

    def __call__(self, left: Sequence[str], right: Sequence[str]) -> np.ndarray:
        return np.array([min(1, abs(float(a) - float(b))) for a, b in zip(left, right, strict=True)])


@pytest.mark.parametrize(("step", "doubtful"), [(0.9, True), (0.3, False)])
def test_a_graded_difference_is_saturated_where_answers_are_as_far_as_unrelated_ones(
    step: float, doubtful: bool
) -> None:
    """Every text differs from every other; how far is what counts."""
    strategy = paper(difference=Numbers(), resamples=50)
    choice = choose(lambda i, e: str(9 * e + step * i + 1e-3 * e * (i == 2)), strategy=strategy)
    assert (ALL_FAR in choice.doubts) == doubtful
    assert ALL_DIFFER not in choice.doubts


@pytest.mark.parametrize(
    ("cut", "doubtful"),
    [
        (lambda e: e < 20, True),
        (lambda e: e < 4, False),
        (lambda e: None, False),
        (lambda e: e < 1 or None, True),
    ],
    ids=["half", "a tenth", "unknown", "all that is known"],
)
def test_answers_that_were_cut(cut: Callable[[int], bool | None], doubtful: bool) -> None:
    answers = {
        c: {str(e): Answer(calm(i, e), cut=cut(e)) for e in range(COUNT)} for i, c in enumerate(grid())
    }
    tasks = {"t": [str(e) for e in range(COUNT)]}
    choice = paper(resamples=50).choose(recorded(answers), grid(), tasks).overall
    assert (MANY_CUT in choice.doubts) == doubtful
    if doubtful:
        assert probability(choice) <= DOUBTED


def test_every_task_has_its_own_doubts() -> None:
    """One is fine, one saturated, one has five examples."""
    answers = {
        c: {f"fine{e}": calm(i, e) for e in range(COUNT)}
        | {f"full{e}": f"{i} {e}" for e in range(COUNT)}
        | {f"few{e}": calm(i, e) for e in range(5)}
        for i, c in enumerate(grid())
    }
    tasks = {
        name: [e for e in answers[Candidate(0.0)] if e.startswith(name)] for name in ("fine", "full", "few")
    }
    selection = chosen(paper(resamples=200), answers, tasks)
    assert selection.tasks["fine"].doubts == ()
    assert selection.overall.doubts == ("full, few: The data cannot support a choice for the task alone.",)
    assert selection.tasks["full"].doubts == (ALL_DIFFER, ALL_TIE)
    assert TOO_FEW in selection.tasks["few"].doubts
    assert probability(selection.tasks["full"]) <= DOUBTED
    assert probability(selection.tasks["few"]) <= DOUBTED


def test_a_tie_of_some_is_said_and_the_probability_follows_the_answers() -> None:
    """0.1 and 0.2 answer alike, so it does not matter which of them is taken."""
    choice = choose(lambda i, e: f"{e} {i >= 3 and e < 1}", steps=6)
    assert choice.tied == (Candidate(0.1), Candidate(0.4))
    assert choice.doubts == (SOME_TIE,)
    assert probability(choice) > 0.75


def test_the_only_one_that_could_win_was_not_chosen() -> None:
    choice = choose(lambda i, e: f"{e} {i if e < 10 else ''}", steps=3)
    assert choice.candidate == Candidate(0.1)
    assert choice.doubts == (ALONE,)


def test_what_is_known_of_tasks_from_elsewhere_is_a_doubt_of_them_and_of_all_if_of_all() -> None:
    """As of logs: that one was given twice."""
    selection = chosen(
        paper(resamples=50),
        {c: {f"{t}{e}": calm(i, e) for t in "ab" for e in range(COUNT)} for i, c in enumerate(grid())},
        {t: [f"{t}{e}" for e in range(COUNT)] for t in "ab"},
    )
    found = selection.doubted({"a": ["One log twice.", "Another."], "b": ["One log twice."]})
    assert found.tasks["a"].doubts == ("One log twice.", "Another.")
    assert found.overall.doubts == ("One log twice.", "a: Another.")
    assert probability(found.tasks["b"]) <= DOUBTED
    partly = selection.doubted({"a": ["Another."], "b": []})
    assert partly.tasks["b"] == selection.tasks["b"]
    assert partly.overall == replace(selection.overall, doubts=("a: Another.",))


def test_doubts_only_lower_a_probability() -> None:
    low, high = (choose(calm).doubted(), replace(choose(calm), trust=Trust(0.97, 2.0)).doubted("why"))
    assert low.doubts == ()
    assert probability(high) == DOUBTED
    assert probability(replace(high, trust=Trust(0.2, 2.0)).doubted("again")) == 0.2
    assert replace(choose(calm), trust=None).doubted("why").trust is None


@pytest.mark.parametrize("search", ["adamms", "trusted", "coefficients"])
def test_every_search_states_a_probability_and_only_the_fitted_signal_has_a_slope(search: str) -> None:
    assert shipped(f"search={search}").tolerance == 2.0
    fitted, unfitted = (0.1, 15.0), (0.0, 20.0)
    wanted = {
        (): fitted if search == "trusted" else unfitted,
        ("search/signal=trusted",): fitted,
        ("search/signal=surest_parent",): unfitted,
    }
    for signal, numbers in wanted.items():
        strategy = shipped(f"search={search}", *signal)
        assert (strategy.slope, strategy.chance) == numbers


def test_selections_of_before_read_back() -> None:
    choice = choose(calm)
    record = json.loads(json.dumps(Selection({"t": choice}, choice).to_json()))
    assert record["overall"]["doubts"] == []
    for one in (record["tasks"]["t"], record["overall"]):
        for key in ("trust", "doubts", "because", "counts_changes"):
            del one[key]
    assert Selection.from_json(record).overall == replace(choice, trust=None)
    assert choice.counts_changes
    record["overall"]["because"] = "of another signal"
    assert not Selection.from_json(record).overall.counts_changes
