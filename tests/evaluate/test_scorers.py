"""Exact accuracy, also of an extracted answer, ANLS, token F1: what they accept, and what is published."""

import pytest
from configured import content
from hypothesis import given
from hypothesis import strategies as st

from adamms.app.config.build import build
from adamms.data.example import Label
from adamms.errors import AdammsError
from adamms.evaluate.scorers import Anls, ExactAccuracy, ExtractedAccuracy, TokenF1


@pytest.mark.parametrize(
    ("answer", "truth", "right"),
    [
        ("red", "red", True),
        (" Red.\n", "red", True),
        ("RED", "red ", True),
        ("STRASSE", "straße", True),
        ("red .", "red", True),
        ("a  red\ncar", "A red car", True),
        ("\uff32\uff25\uff24", "red", True),
        ("don\u2019t\u200b", "don't", True),
        ("reddish", "red", False),
        ("", "red", False),
        ("", ".", False),
        ("3.5", "35", False),
        ("10\u00b2", "102", False),
        ("yes, red", "red", False),
    ],
)
def test_case_spacing_and_a_final_stop_do_not_matter(answer: str, truth: str, right: bool) -> None:
    assert ExactAccuracy()(answer, Label((truth,))) == right


def test_any_accepted_answer_is_right() -> None:
    label = Label(("red", "dark red"))
    assert [ExactAccuracy()(text, label) for text in ("Dark red.", "red", "dark")] == [1, 1, 0]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Yes", "yes"),
        ("Yes, there is.", "yes"),
        ("**No**", "no"),
        ("No, there is no car.", "no"),
        ("No it is not", "no"),
        ("No\nThe car is blue.", "no"),
        ("The answer is yes.", "yes"),
        ("\uff39\uff45\uff53", "yes"),
        ("not", None),
        ("I do not know", None),
        ("No idea.", None),
        ("No one is there.", None),
        ("Yesterday", None),
        ("yes or no", None),
        ("", None),
    ],
)
def test_a_sentence_that_says_yes_or_no_counts_as_it(answer: str, said: str | None) -> None:
    for label in ("Yes", "no."):
        assert ExactAccuracy()(answer, Label((label,))) == (said == label.strip(".").lower())


def anls(answer: str, *accepted: str) -> float:
    return float(build(content("evaluate/anls")["scorer"], "evaluate.scorer")(answer, Label(accepted)))


@pytest.mark.parametrize(
    ("answer", "accepted", "score"),
    [
        ("kitten", ("sitting",), 1 - 3 / 7),
        ("Delta Airlines", ("delta airlines", "delta"), 1.0),
        ("delta airline", ("Delta  Airlines",), 1 - 1 / 14),
        ("abcd", ("abxy",), 0.0),  # NL = 0.5 is not below the threshold
        ("abcd", ("abcx",), 0.75),
        ("", ("x",), 0.0),
        ("x", ("abc", "xy", "x1"), 0.0),
    ],
)
def test_anls_by_hand(answer: str, accepted: tuple[str, ...], score: float) -> None:
    assert anls(answer, *accepted) == pytest.approx(score)


letters = st.text("abA ", max_size=7)


@given(letters, st.lists(letters, min_size=1, max_size=3))
def test_anls_is_the_definition_in_the_paper(answer: str, accepted: list[str]) -> None:
    """max_j s(a_j, o), s = 1 - NL if NL < 0.5 else 0; Levenshtein's distance by its recursion."""

    def distance(one: str, other: str) -> int:
        if not one or not other:
            return len(one) + len(other)
        if one[0] == other[0]:
            return distance(one[1:], other[1:])
        shorter = ((one[1:], other), (one, other[1:]), (one[1:], other[1:]))
        return 1 + min(distance(*pair) for pair in shorter)

    def similarity(one: str, other: str) -> float:
        one, other = (" ".join(text.lower().split()) for text in (one, other))
        share = distance(one, other) / max(len(one), len(other)) if one or other else 0.0
        return 1 - share if share < 0.5 else 0.0

    expected = max(similarity(text, answer) for text in accepted)
    assert Anls(threshold=0.5)(answer, Label(tuple(accepted))) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("answer", "accepted", "score"),
    [
        ("The green five!", ("a green five",), 1.0),
        ("a green five", ("a red five", "nothing"), 0.5),
        ("five five", ("five",), 2 / 3),  # 1 word shared, of 2 and of 1
        ("five", ("two", "five and two"), 0.5),
        ("the", ("an .",), 1.0),
        ("", ("two",), 0.0),
    ],
)
def test_token_f1_by_hand(answer: str, accepted: tuple[str, ...], score: float) -> None:
    assert TokenF1()(answer, Label(accepted)) == pytest.approx(score)


words = st.lists(st.sampled_from(["five", "Two", "the", ".", "red,"]), max_size=6).map(" ".join)


@given(words, words)
def test_token_f1_is_the_harmonic_mean_of_precision_and_recall(answer: str, accepted: str) -> None:
    """Shared words are taken away one by one, as they are found."""
    said, left = (
        [w.strip(".,").lower() for w in t.split() if w not in ("the", ".")] for t in (answer, accepted)
    )
    truth, shared = len(left), 0
    for word in said:
        if word in left:
            left.remove(word)
            shared += 1
    if not said or not truth:
        expected = float(len(said) == truth)
    else:
        precision, recall = shared / len(said), shared / truth
        expected = 2 * precision * recall / (precision + recall) if shared else 0.0
    assert TokenF1()(answer, Label((accepted,))) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("answer", "accepted", "right"),
    [
        ("Five and one. The answer is: Six.", "six", True),
        ("Answer: five. No, answer = six", "it is five and the next is six . answer : six", True),
        ("answer: five\nThat is all", "five", True),
        ("answer: fifty-five", "five", False),
        ("six", "six", True),
        ("it is six", "six", False),
        ("the answer is yes, there is one", "yes", True),
        ("**Answer:** 42", "42", True),
        ("**Answer: 42** because 6 * 7", "42", True),
        ("The answer is: **42**.", "42", True),
        ("__Answer__: *42*.\nThat is all.", "42", True),
        ("The final answer is:\n\n**42**", "42", True),
        ("6 * 7 = \\boxed{42}, which is it.", "42", True),
        ("The answer is $\\boxed{42}$.", "42", True),
        ("the answer is 5 * 3", "5 * 3", True),
        ("answer: 0.5.", "0.5", True),
        ("the answer isn't 42", "42", False),
    ],
)
def test_the_last_match_is_the_answer(answer: str, accepted: str, right: bool) -> None:
    scorer = build(content("evaluate/extracted")["scorer"], "evaluate.scorer")
    assert scorer(answer, Label((accepted,))) == right


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("answer (", r"pattern is 'answer \(', which is no regular expression: "),
        ("(a)(b)", "2 groups; expected"),
    ],
)
def test_a_bad_pattern_is_named(pattern: str, message: str) -> None:
    with pytest.raises(AdammsError, match=message):
        ExtractedAccuracy(pattern)
