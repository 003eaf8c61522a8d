"""Sentences are honest about ties, luck, and about parents that are better."""

from dataclasses import replace
from typing import Any

import pytest

from adamms.data.example import Example
from adamms.evaluate.evaluation import Evaluation, Scores
from adamms.merge.candidate import Candidate
from adamms.report import findings, words
from adamms.report.answered import Answered
from adamms.report.cost import Cost
from adamms.report.page.report import page
from adamms.report.result import Result
from adamms.search.choice import Choice, Selection, Several, Trust
from adamms.search.doubts import ALONE

A = [Candidate(step / 10) for step in range(11)]


def choice(
    index: int, differences: dict[int, float], wins: dict[int, float], tied: tuple[int, ...], **more: Any
) -> Choice:
    return Choice(
        A[index],
        {A[i]: value for i, value in differences.items()},
        tuple(A[i] for i in tied),
        wins[index],
        {A[i]: value for i, value in wins.items()},
        100,
        **more,
    )


CLEAR = ({1: 9.0, 2: 3.0, 3: 8.0}, {1: 0.0, 2: 0.97, 3: 0.03}, (2,))


def test_the_probability_leads_and_the_share_of_the_resamples_follows():
    said = findings.how_good(choice(2, *CLEAR, trust=Trust(0.93, 2.0)))
    assert said == (
        "alpha = 0.2 was chosen: its answers change least against its neighbours on the grid, D = 3, over "
        "100 examples. With a probability of 93% it is within 2 points of the best on the grid. It wins in "
        "97% of the bootstrap resamples."
    )


@pytest.mark.parametrize(
    ("slope", "doubts", "other"), [(0.0, (), True), (0.4, (), False), (0.0, ("Why.",), False)]
)
def test_a_low_probability_says_what_to_do(slope: float, doubts: tuple[str, ...], other: bool):
    said = findings.how_good(choice(2, *CLEAR, trust=Trust(0.79, 1.0, slope), doubts=doubts))
    assert "With a probability of 79% it is within 1 point of the best on the grid. That is LOW: " in said
    assert said.index("LOW") < said.index("97%")
    assert ("search=trusted" in said) == other
    assert "keep the target, or compare the answers before using the merge." in said


def test_doubts_come_before_everything_but_the_choice():
    said = findings.how_good(choice(2, *CLEAR, trust=Trust(0.5, 2.0), doubts=("First why.", "Then why.")))
    assert "over 100 examples. First why. Then why. With a probability of 50%" in said
    assert "stable" not in said


@pytest.mark.parametrize("compared", ["", "exact match"])
def test_what_answers_are_compared_by_is_said_unless_it_is_exact_match(compared: str):
    why = "the root of token overlap, corrected for chance, because most answers have more than 3 words"
    assert f" Answers are compared by {why}. " in findings.how_good(choice(2, *CLEAR, compared=why))
    assert "compared" not in findings.how_good(choice(2, *CLEAR, compared=compared))


def test_the_only_candidate_that_could_win_has_no_share_of_the_resamples():
    said = findings.how_good(choice(2, {2: 3.0}, {2: 1.0}, (2,), doubts=(ALONE,)))
    assert "Nothing else could win: every other candidate lies at an end of the grid." in said
    assert "resamples" not in said
    assert "100%" not in said


def test_a_likely_choice_names_its_rival():
    said = findings.how_good(choice(2, {1: 9.0, 2: 3.0, 3: 4.5}, {1: 0.0, 2: 0.7, 3: 0.3}, (2,)))
    assert "It wins in 70% of the bootstrap resamples, 0.3 in 30%." in said


def test_a_tie_and_a_low_share_are_said_plainly():
    said = findings.how_good(
        choice(
            3,
            {1: 9.0, 2: 3.0, 3: 3.0, 4: 3.0, 5: 7.0, 6: 8.0},
            {1: 0.02, 2: 0.25, 3: 0.35, 4: 0.33, 5: 0.05, 6: 0.0},
            (2, 3, 4),
        )
    )
    assert "D = 3, as 0.2, 0.4 have, over 100 examples." in said
    assert "It wins in 35% of the bootstrap resamples, 0.4 in 33% and 0.2 in 25%" in said
    assert "choose among 0.2-0.4: the data does not tell these 3 apart" in said


def test_a_rival_that_hardly_ever_wins_is_not_named():
    said = findings.how_good(choice(2, CLEAR[0], {1: 0.001, 2: 0.82, 3: 0.179}, (2,)))
    assert said.endswith("It wins in 82% of the bootstrap resamples, 0.3 in 18%.")


@pytest.mark.parametrize(("index", "side"), [(1, "lowest"), (3, "highest")])
def test_a_choice_at_the_edge_comes_with_a_warning(index: int, side: str):
    flat = {1: 5.0, 2: 5.0, 3: 5.0} | {index: 1.0}
    said = findings.how_good(choice(index, flat, {1: 0.0, 2: 0.0, 3: 0.0} | {index: 1.0}, (index,)))
    assert f"It is the {side} alpha that could win" in said


def test_the_doubts_of_single_tasks_are_grouped_by_reason():
    fine, few = choice(2, *CLEAR), choice(2, *CLEAR, doubts=("Few.", "Cut."))
    tasks = {"read": few, "spell": fine, "count": replace(few, doubts=("Few.",))}
    found = Result("t", selection=Selection(tasks, fine))
    assert findings.doubts(found) == ["read, count: Few.", "read: Cut."]
    assert findings.doubts(Result("t", selection=Selection({"read": few}, few))) == []
    assert findings.doubts(Result("t")) == []
    # What the choice over all tasks says is not said again, and nowhere twice on a page.
    said = replace(fine, doubts=("read: Cut.",))
    assert findings.doubts(Result("t", selection=Selection(tasks, said))) == ["read, count: Few."]
    both = Selection({"read": few, "spell": few}, replace(fine, doubts=("Cut.",)))
    assert findings.doubts(Result("t", selection=both)) == ["read, spell: Few."]
    every = Selection(
        dict.fromkeys(("read", "spell", "count", "double"), few), replace(fine, doubts=("Cut.",))
    )
    assert findings.doubts(Result("t", selection=every)) == ["all 4 tasks: Few."]
    assert "Cut." in findings.paragraphs(Result("t", selection=Selection(tasks, said)))[0]
    assert "Cut." not in findings.paragraphs(Result("t", selection=Selection(tasks, said)), doubts=False)[0]


def scored(percent: float, count: int = 400) -> Scores:
    """Of `count` examples the first ones are right: who is right more often is right where the other is."""
    return Scores.of({"t": {f"{i:04}": float(i < percent / 100 * count) for i in range(count)}})


def with_scores(result: Result, means: dict[int, float], donor: float, control: float) -> Result:
    winner = choice(2, {1: 9.0, 2: 3.0, 3: 8.0}, {1: 0.0, 2: 1.0, 3: 0.0}, (2,))
    evaluation = Evaluation(
        {A[i]: scored(value) for i, value in means.items()},
        {"a": scored(donor)},
        {A[1]: scored(control), A[2]: scored(control - 1)},
    )
    return replace(result, selection=Selection({"t": winner}, winner), evaluation=evaluation)


def test_a_merge_that_beats_everything(result: Result):
    good = with_scores(result, {0: 60.0, 1: 70.0, 2: 90.0, 3: 80.0}, donor=75.0, control=65.0)
    said = findings.verdict(good)
    assert (
        "scores 90.0 ± 1.5 % (accuracy, ± one standard error), the best of the grid (regret 0.0 ± 0.0)."
        in said
    )
    assert "The better parent, donor a, has 75.0 ± 2.1: the merge is better by 15.0 points, 95 % int" in said
    assert "a fixed alpha = 0.1 would score 70.0 ± 2.2." in said
    control = findings.control_finding(good)
    assert (
        "best point is alpha = 0.1 with 65.0 ± 2.4 %, below the chosen merge by 25.0 points, 95 %" in control
    )


def test_a_merge_that_does_not_help_is_said_to(result: Result):
    bad = with_scores(result, {0: 92.0, 1: 91.0, 2: 90.0, 3: 80.0}, donor=75.0, control=95.0)
    said = findings.verdict(bad)
    assert "best of the grid is alpha = 0 with 92.0 ± 1.4 %, a regret of 2.0 ± 0.7 points." in said
    assert "The better parent, the target, has 92.0 ± 1.4: the merge is NOT better, but worse by 2.0" in said
    control = findings.control_finding(bad)
    assert (
        "ABOVE the chosen merge by 5.0 points, 95 % interval 3.0 to 7.3: here the donor is not wh" in control
    )


def test_what_the_examples_do_not_tell_apart_is_said_plainly(result: Result):
    """A point more on 400 examples, or on as few as a task of the suite has: it may be luck."""
    one_more = with_scores(result, {0: 60.0, 1: 70.0, 2: 90.0, 3: 80.0}, donor=89.5, control=90.0)
    assert (
        "The better parent, donor a, has 89.5 ± 1.5: the merge is not told apart from it (difference 0.5 "
        "points, 95 % interval 0.0 to 1.3)."
    ) in findings.verdict(one_more)
    assert (
        "with 90.0 ± 1.5 %, not told apart from the chosen merge (difference 0.0 points, 95 % interval 0.0 "
        "to 0.0): nothing shows that the donor helps here."
    ) in findings.control_finding(one_more)


def test_few_examples_tell_nothing_apart(result: Result):
    """Two examples that both differ: the interval has no width, and says nothing."""
    few = {c: Scores.of({"t": {"1": float(c == A[2]), "2": float(c == A[2])}}) for c in A[:4]}
    found = with_scores(result, {0: 0.0, 1: 0.0, 2: 100.0, 3: 0.0}, donor=0.0, control=0.0)
    found = replace(found, evaluation=Evaluation(few, {"a": few[A[0]]}, {A[1]: few[A[1]]}))
    gap = "(difference 100.0 points, 95 % interval 100.0 to 100.0; few examples: only 2 differ)"
    assert f": the merge is not told apart from it {gap}." in findings.verdict(found)
    assert f"not told apart from the chosen merge {gap}" in findings.control_finding(found)
    assert "; not told apart, few examples" in page(found)


def test_without_points_nothing_is_said_to_be_better(result: Result):
    """What was found before points were kept."""
    old = Evaluation({A[2]: Scores({"t": 90.0})}, {"a": Scores({"t": 75.0})}, {A[1]: Scores({"t": 60.0})})
    found = replace(with_scores(result, {2: 90.0}, donor=75.0, control=65.0), evaluation=old)
    said = f"{findings.verdict(found)} {findings.control_finding(found)}"
    assert "scores 90.0 % (accuracy), the best of the grid. The better parent, donor a, has 75.0 (" in said
    assert said.count("points; how exact that is, is not known)") == 2
    assert "±" not in said
    assert "is better" not in said
    assert findings.exactness(found) == ""


def test_the_cost_is_in_generated_and_in_scored_tokens(result: Result):
    def said(cost: Cost | None) -> str:
        return findings.cost(replace(result, cost=cost))

    assert said(None) == ""
    assert said(Cost(4400, None)) == "The search asked for 4,400 answers."
    assert said(Cost(4831, 9662)) == "The search asked for 4,831 answers of 9,662 tokens together."
    assert said(Cost(12, None, 30, 1200)) == (
        "The search asked for 12 answers, and scored 30 given texts of 1,200 tokens."
    )


def test_a_choice_that_seldom_wins_is_not_told_apart_from_the_one_that_does():
    said = findings.how_good(
        choice(2, {1: 4.0, 2: 3.0, 3: 8.0, 4: 9.0}, {1: 0.95, 2: 0.05, 3: 0.0, 4: 0.0}, (2,))
    )
    assert "wins in 5% of the bootstrap resamples, 0.1 in 95%." in said
    assert "choose among 0.1, 0.2: the data does not tell these 2 apart" in said


def test_likely_winners_are_the_fewest_that_reach_the_level():
    found = choice(2, {1: 1.0, 2: 1.0, 3: 1.0}, {1: 0.5, 2: 0.4, 3: 0.1}, (1, 2, 3))
    assert findings.likely_winners(found) == [A[1], A[2]]


def test_spans_follow_the_grid():
    assert words.spans([A[5], A[1], A[2], A[3]], A) == "0.1-0.3, 0.5"
    assert words.spans([A[1], A[2]], A) == "0.1, 0.2"
    assert words.spans([], A) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1e3, "1.00 kB"),
        (15.2e9, "15.2 GB"),
        (392_700, "393 kB"),
        (99.97e6, "100 MB"),
    ],
)
def test_sizes_have_three_digits(value: float, text: str):
    assert words.scaled(value, "B") == text


def test_long_times_are_in_minutes_and_hours():
    assert [words.seconds(s) for s in (3.21, 119.94, 150.0, 3600 * 3 + 120)] == [
        "3.2 s",
        "119.9 s",
        "2 min 30 s",
        "3 h 02 min",
    ]


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "-"), (0.85, "0.850"), (1523.25, "1523"), (62.5, "62.50"), (-0.5, "-0.500"), (12345.6, "12346")],
)
def test_a_number_in_somebody_elses_unit(value: float | None, said: str) -> None:
    assert words.metric(value) == said


TRIED = Candidate(0.5, (("merge.rules.attn.factor", 0.7),))
UNSEEN = "over 40 examples that the optimiser did not see,"


@pytest.mark.parametrize(
    ("best", "differences", "confidence", "said"),
    [
        (TRIED, (12.0, 7.0), 0.96, f"better than alpha = 0.2: {UNSEEN} D is 7 instead of 12, and smaller in "
         "96% of the resamples."),
        (TRIED, (12.0, 11.0), 0.6, f"no better than alpha = 0.2: {UNSEEN} the best of 30 candidates, "
         "rules.attn.factor=0.7, alpha=0.5, has D = 11 instead of 12, and a smaller one in only 60% of the "
         "resamples; 90% are asked for."),
        (A[2], (12.0, 12.0), 0.0, "no better than alpha = 0.2: over the 50 examples that the optimiser saw, "
         "none of 30 candidates has a smaller D."),
    ],
)  # fmt: skip
def test_several_coefficients(
    best: Candidate, differences: tuple[float, float], confidence: float, said: str
) -> None:
    found = Several(A[2], best, 30, 50, 40, differences, confidence, 0.9)
    said = f"Several coefficients are {said}"
    assert findings.several(found) == said
    alone = choice(2, {1: 9.0, 2: 3.0, 3: 8.0}, {1: 0.0, 2: 0.97, 3: 0.03}, (2,))
    assert findings.how_good(replace(alone, several=found)) == f"{findings.how_good(alone)} {said}"


def test_scores_and_the_regret_are_said_with_their_standard_errors(result: Result):
    found = with_scores(result, {2: 60.0, 3: 80.0}, donor=50.0, control=50.0)
    assert (
        "scores 60.0 ± 2.4 % (accuracy, ± one standard error); the best of the grid is alpha = 0.3 with "
        "80.0 ± 2.0 %, a regret of 20.0 ± 2.0 points."
    ) in findings.verdict(found)
    assert findings.exactness(found).startswith("± is one standard error over the 1600 labelled examples")


def test_thoughts_are_counted(result: Result):
    texts = {A[0]: "<think>a</think> b", A[1]: "<think>a", A[2]: "b", A[3]: "<think>\n\n</think>\n\nb"}
    one = Answered(Example("1", "t", "q"), texts)
    said = findings.thoughts(replace(result, answered=(one,)))
    assert said.startswith("2 of 4 answers begin with a thought, which was cut out before they were compared")
    assert said.endswith("1 of them end in it and count as empty.")
    assert findings.thoughts(replace(result, answered=())) == ""
