"""Letters of options: given by their places, or the options' own."""

import pytest

from adamms.data.options import Options


@pytest.mark.parametrize(
    ("options", "lines", "texts"),
    [
        ("red|blue", "A. red|B. blue", "A=red B=blue"),
        ("A. red|B. blue", "A. red|B. blue", "A=red B=blue"),
        ("(A) red|(B) blue", "(A) red|(B) blue", "A=red B=blue"),
        ("a) red|b) blue", "a) red|b) blue", "A=red B=blue"),
        ("A:red|B.blue", "A:red|B.blue", "A=red B=blue"),
        ("\uff21. red|\uff22. blue", "\uff21. red|\uff22. blue", "A=red B=blue"),
        ("B. red|A. blue", "B. red|A. blue", "B=red A=blue"),
        ("B|A", "B|A", "B=B A=A"),
        ("A. red|blue", "A. red|B. blue", "A=red B=blue"),
        ("J. Smith|K. Jones", "A. J. Smith|B. K. Jones", "A=J. Smith B=K. Jones"),
        ("A.M.|P.M.", "A. A.M.|B. P.M.", "A=A.M. B=P.M."),
        ("A cat|B", "A. A cat|B", "A=A cat B=B"),
    ],
)
def test_no_option_is_lettered_twice(options: str, lines: str, texts: str) -> None:
    found = Options.of(options.split("|"))
    assert "|".join(found.lines) == lines
    assert " ".join(f"{letter}={text}" for letter, text in found.texts.items()) == texts


def test_no_options() -> None:
    assert Options.of([]) == Options()
