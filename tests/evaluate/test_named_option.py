"""Which option an answer names, and which one a label names."""

import pytest

from adamms.data.example import Label
from adamms.errors import AdammsError
from adamms.evaluate.named_option import named, right_letters

COLOURS = {"A": "red", "B": "blue"}

NAMES_B = [
    *("B", "b", "(B)", "B.", "B)", "B:", "[B]", "'B'", "\u201cB\u201d", "**B**", "$\\boxed{B}$", "B\u200b"),
    *(
        "\uff22",
        "\uff08\uff22\uff09",
        "b.",
        "(b)",
        "B. blue",
        "B blue",
        "b) blue",
        "B\nblue",
        "B, because it is",
    ),
    *(
        "Answer: B",
        "**Answer:** B",
        "answer B",
        "The answer is B",
        "the answer is b.",
        "The answer is (B) blue.",
    ),
    *("Option B", "option b", "B is correct", "The correct option is B.", "I think it is B", "It is (B)."),
    *("blue", "Blue.", "**Blue**", "It is blue.", "The answer is a blue car", "A blue car"),
    *(
        "(B) Blue",
        "Option (B)",
        "<answer>B</answer>",
        "Final answer: B",
        "Not A, but B.",
        "A is wrong, so B.",
    ),
    *(
        "I am not sure, but it is blue",
        "(A) is wrong. The answer is (B).",
        "Red is tempting, but the answer is blue",
    ),
]
NAMES_A = [
    *("A", "a", "A. red", "A red", "A red car", "A: red", "A - red", "A\nThe car is old.", "A is right."),
    *("The answer is A", "A, because", "A because it is", "the answer is a", "It's A."),
]
NAMES_NONE = [
    *(
        "",
        " ",
        "purple",
        "A cat is here",
        "a cat",
        "The answer is a cat",
        "The answer is A cat",
        "C",
        "Answer: C",
    ),
    *("AB", "bluebird", "I do not know", "light-blue", "It is not blue.", "Vitamin-B", "B-52", "B's"),
    *(
        "It is not B.",
        "The answer is not B",
        "The answer isn't B.",
        "B is wrong.",
        "(B) is not right",
        "neither A nor B",
    ),
    *(
        "neither A nor B",
        "A or B",
        "A and B",
        "A, B",
        "A B",
        "(A) (B)",
        "A/B",
        "red or blue",
        "The answer is A or B",
    ),
    *("A. red\nB. blue", "B. red", "The answer is B. red", "The answer is A. The answer is B."),
]


@pytest.mark.parametrize("answer", NAMES_B)
def test_the_second_option_is_named(answer: str) -> None:
    assert named(answer, COLOURS) == "B"


@pytest.mark.parametrize("answer", NAMES_A)
def test_the_first_option_is_named(answer: str) -> None:
    assert named(answer, COLOURS) == "A"


@pytest.mark.parametrize("answer", NAMES_NONE)
def test_no_option_is_named_or_two_are(answer: str) -> None:
    assert named(answer, COLOURS) is None


@pytest.mark.parametrize(
    ("answer", "options", "letter"),
    [
        ("There are 3 cats.", "3 4 3.5 13", "A"),
        ("It is 3.5.", "3 4 3.5 13", "C"),
        ("-3", "3 4", None),
        ("4 or 3", "3 4", None),
        ("It is dark red", "dark_red red", "A"),
        ("It is red", "dark_red red", "B"),
        ("It is vitamin C.", "vitamin_A vitamin_C", "B"),
        ("There is not enough information.", "red not_enough_information", "B"),
        ("Yes, there is.", "yes no", "A"),
        ("No, there is not.", "yes no", "B"),
        ("No idea", "yes no", None),
        ("I am not sure", "a_b b_c c d e f g h i", None),
        ("I", "a_b b_c c d e f g h i", "I"),
        ("mL", "ml mL", "B"),
        ("+", "+ -", "A"),
        ("C", "C A x", "C"),  # the letter, not the text of option A
    ],
)
def test_hard_cases(answer: str, options: str, letter: str | None) -> None:
    texts = [text.replace("_", " ") for text in options.split()]
    assert named(answer, dict(zip("ABCDEFGHI", texts, strict=False))) == letter


@pytest.mark.parametrize(
    ("accepted", "letters"),
    [
        ("B", "B"),
        ("(b)", "B"),
        ("Blue.", "B"),
        ("B. blue", "B"),
        ("(B) Blue", "B"),
        ("\uff22", "B"),
    ],
)
def test_a_label_is_a_letter_or_a_text(accepted: str, letters: str) -> None:
    assert right_letters(Label((accepted,), COLOURS)) == set(letters)


def test_a_label_may_accept_several_options() -> None:
    assert right_letters(Label(("A", "blue"), COLOURS)) == {"A", "B"}


def test_a_number_is_a_text_and_no_place() -> None:
    assert right_letters(Label(("3",), {"A": "2", "B": "3"})) == {"B"}
    with pytest.raises(AdammsError, match=r"the label '1' names no option; .* A\. red, B\. blue"):
        right_letters(Label(("1",), COLOURS))


@pytest.mark.parametrize("accepted", ["C", "purple", "B. red", "bluebird", "A or B"])
def test_a_label_that_names_no_option_is_refused(accepted: str) -> None:
    with pytest.raises(AdammsError, match=r"names no option; expected a letter or a text of A\. red, B"):
        right_letters(Label((accepted,), COLOURS))


def test_a_label_that_is_a_letter_and_the_text_of_another_option_is_refused() -> None:
    options = {"A": "C", "B": "A", "C": "x"}
    with pytest.raises(AdammsError, match=r"letter of 'C' and the text of option B; .*'A\. C', or 'B\. A'"):
        right_letters(Label(("A",), options))
    assert right_letters(Label(("B. A",), options)) == {"B"}
    assert right_letters(Label(("A. C",), options)) == {"A"}


BOTH = {"A": "a cat", "B": "a dog", "C": "Both A and B", "D": "None of the above"}
VITAMINS = {"A": "Vitamin C", "B": "point A", "C": "Vitamin B"}
SIGNED = {"A": "-3", "B": "3", "C": "+"}
CHINESE = {"A": "红色", "B": "蓝色"}


@pytest.mark.parametrize(
    ("answer", "options", "letter"),
    [
        ("C. Both A and B", BOTH, "C"),
        ("C. Both A and B are visible", BOTH, "C"),
        ("The answer is both A and B.", BOTH, "C"),
        ("A and B are there, so C", BOTH, None),
        ("The answer is Vitamin C.", VITAMINS, "A"),
        ("B. point A", VITAMINS, "B"),
        ("It is point A.", VITAMINS, "B"),
        ("C. Vitamin C", VITAMINS, None),
        ("A. -3", SIGNED, "A"),
        ("Answer: -3", SIGNED, "A"),
        ("Answer: 3", SIGNED, "B"),
        ("The answer is +.", SIGNED, "C"),
        ("答案是B", CHINESE, "B"),
        ("选项B。", CHINESE, "B"),
        ("这是蓝色的", CHINESE, "B"),
    ],
)
def test_letters_and_signs_in_the_options_texts_are_parts_of_them(
    answer: str, options: dict[str, str], letter: str | None
) -> None:
    assert named(answer, options) == letter
