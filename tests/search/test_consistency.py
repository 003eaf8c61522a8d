"""The three rules, endpoints and smoothing against brute force written from the formulas."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamms.search.contest import eligible, smooth
from adamms.search.difference import ExactMatch
from adamms.search.signals.consistency import NEIGHBOURS, contributions

ALPHABET = ["yes", "Yes", "no", ""]

# answers[i][e]: answer of candidate i to example e
grids = st.integers(2, 7).flatmap(
    lambda candidates: st.integers(1, 8).flatmap(
        lambda examples: st.lists(
            st.lists(st.sampled_from(ALPHABET), min_size=examples, max_size=examples),
            min_size=candidates,
            max_size=candidates,
        )
    )
)


def differ(a: str, b: str) -> bool:
    return a.lower() != b.lower()


def changes(answers: list[list[str]]) -> np.ndarray:
    match = ExactMatch()
    return np.stack([match(answers[i], answers[i + 1]) for i in range(len(answers) - 1)])


def brute_force(answers: list[list[str]], rule: str, endpoints: str) -> dict[int, int]:
    """Candidate that may win -> D, by the definitions."""
    last = len(answers) - 1

    def count(i: int, j: int) -> int:
        return sum(differ(a, b) for a, b in zip(answers[i], answers[j], strict=True))

    found = {}
    for i in range(last + 1):
        if rule == "previous":
            if i > 0:
                found[i] = count(i, i - 1)
        elif 0 < i < last:
            if rule == "sum":
                found[i] = count(i, i - 1) + count(i, i + 1)
            else:
                examples = range(len(answers[i]))
                found[i] = sum(
                    any(differ(answers[i][e], answers[j][e]) for j in (i - 1, i + 1)) for e in examples
                )
        if i == 0 and endpoints == "one_sided":
            found[0] = count(0, 1) * (2 if rule == "sum" else 1)
    return found


@pytest.mark.parametrize("rule", ["sum", "either", "previous"])
@pytest.mark.parametrize("endpoints", ["interior", "one_sided"])
@given(grids)
def test_rules_and_endpoints_are_the_formulas(rule: str, endpoints: str, answers: list[list[str]]) -> None:
    added = contributions(changes(answers), rule)
    assert added.shape == (len(answers), len(answers[0]))
    allowed = eligible(len(answers), NEIGHBOURS[rule], endpoints)
    found = {i: int(added[i].sum()) for i in range(len(answers)) if allowed[i]}
    assert found == brute_force(answers, rule, endpoints)


def smooth_list(values: list[float], width: int) -> list[float]:
    """The authors' function."""
    return [float(np.mean(values[max(0, i - width) : i + width + 1])) for i in range(len(values))]


@given(
    st.lists(st.integers(0, 100), min_size=3, max_size=10),
    st.integers(0, 4),
    st.sampled_from(["sum", "either", "previous"]),
    st.sampled_from(["interior", "one_sided"]),
)
def test_smoothing_is_the_authors_formula_over_those_that_may_win(
    scores: list[int], width: int, rule: str, endpoints: str
) -> None:
    allowed = eligible(len(scores), NEIGHBOURS[rule], endpoints)
    smoothed = smooth(np.array(scores, dtype=float), allowed, width)
    inside = [score for score, ok in zip(scores, allowed, strict=True) if ok]
    np.testing.assert_allclose(smoothed[allowed], smooth_list(list(map(float, inside)), width), rtol=1e-14)
    stacked = smooth(np.array([scores, scores], dtype=float), allowed, width)  # as the bootstrap uses it
    np.testing.assert_array_equal(stacked, [smoothed, smoothed])


def test_exact_match_folds_case_and_white_space_and_nothing_else() -> None:
    left = ["Yes", "yes", "STRASSE", "no", " a  b", "", "a."]
    right = ["yes", "YES", "straße", "yes", "a\nb", "", "a"]
    assert ExactMatch()(left, right).tolist() == [0, 0, 0, 1, 0, 0, 1]


def test_exact_match_wants_equally_many_answers() -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        ExactMatch()(["a"], ["a", "b"])
