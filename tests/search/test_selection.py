"""The choice: winners, ties, confidence, and the shape of selection.json."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import chosen, paper
from test_consistency import brute_force, grids, smooth_list

from adamms.errors import AdammsError
from adamms.merge.candidate import Candidate
from adamms.search.choice import LEAST_CHANGE, Choice, Selection, Several, Trust

long_enough = grids.filter(lambda answers: len(answers) > 2)


def along_alpha(answers: list[list[str]]) -> dict[Candidate, dict[str, str]]:
    """answers[i][e], on a grid of equal steps from 0."""
    return {Candidate(i / 10): {str(e): text for e, text in enumerate(row)} for i, row in enumerate(answers)}


def select(answers: list[list[str]], **options: Any) -> Choice:
    everything = [str(e) for e in range(len(answers[0]))]
    strategy = paper(**{"resamples": 50, **options})
    return chosen(strategy, along_alpha(answers), {"task": everything}).tasks["task"]


def from_counts(counts: list[int]) -> list[list[str]]:
    """Answers of which counts[i] of 10 differ between candidates i and i + 1."""
    rows = [["0"] * 10]
    for i, count in enumerate(counts):
        rows.append([f"{i} changed" if e < count else text for e, text in enumerate(rows[-1])])
    return rows


@pytest.mark.parametrize("ties", ["lowest", "middle", "widest_basin"])
@pytest.mark.parametrize("rule", ["sum", "either", "previous"])
@given(
    grids.filter(lambda answers: len(answers) > 2),
    st.sampled_from(["interior", "one_sided"]),
    st.integers(0, 2),
)
def test_the_winner_is_one_of_those_with_the_least_smoothed_difference(
    rule: str, ties: str, answers: list[list[str]], endpoints: str, smoothing: int
) -> None:
    expected = brute_force(answers, rule, endpoints)
    order = sorted(expected)
    scores = dict(zip(order, smooth_list([float(expected[i]) for i in order], smoothing), strict=True))
    best = [i for i in order if scores[i] <= min(scores.values()) + 1e-9]
    choice = select(answers, rule=rule, ties=ties, endpoints=endpoints, smoothing=smoothing, resamples=3)
    assert [c.alpha for c in choice.tied] == [i / 10 for i in best]
    assert {c.alpha: value for c, value in choice.differences.items()} == pytest.approx(
        {i / 10: score for i, score in scores.items()}
    )
    if ties == "lowest":
        winner = best[0]
    elif ties == "middle":
        winner = best[(len(best) - 1) // 2]
    else:
        spans = [list(range(a, b + 1)) for a in best for b in best if a <= b]
        runs = [span for span in spans if set(span) <= set(best)]
        widest = max(runs, key=lambda run: (len(run), -run[0]))
        winner = widest[(len(widest) - 1) // 2]
    assert choice.candidate.alpha == winner / 10
    assert choice.examples == len(answers[0])


@pytest.mark.parametrize(("ties", "winner"), [("lowest", 0.1), ("middle", 0.4), ("widest_basin", 0.5)])
def test_tie_rules_on_an_example(ties: str, winner: float) -> None:
    # changes between neighbours 0-1 ... 7-8; D of `sum` is 2 at 1, 4, 5, 6 and more elsewhere
    choice = select(from_counts([1, 1, 3, 1, 1, 1, 1, 5]), ties=ties)
    assert [c.alpha for c in choice.tied] == [0.1, 0.4, 0.5, 0.6]
    assert choice.candidate.alpha == winner


def test_the_ends_cannot_win_in_the_paper_and_alpha_0_can_one_sided() -> None:
    answers = from_counts([0, 2, 1, 0])
    assert select(answers).candidate == Candidate(0.3)
    assert select(answers, endpoints="one_sided").candidate == Candidate(0.0)
    assert set(select(answers).differences) == {Candidate(0.1), Candidate(0.2), Candidate(0.3)}


def test_previous_lets_the_last_win() -> None:
    assert select(from_counts([3, 2, 1]), rule="previous").candidate == Candidate(0.3)


def test_answers_that_differ_in_case_only_are_the_same() -> None:
    rows = [["a", "b"], ["A", "b"], ["a", "B"], ["x", "y"]]
    assert select(rows).differences == {Candidate(0.1): 0, Candidate(0.2): 2}


def test_one_winner_per_task_and_one_overall() -> None:
    first = from_counts([5, 0, 0, 5, 5])  # calm at 0.2
    second = from_counts([5, 5, 5, 1, 0])  # calm at 0.4
    both = [a + b + b for a, b in zip(first, second, strict=True)]
    tasks = {"first": [str(e) for e in range(10)], "second": [str(e) for e in range(10, 30)]}
    selection = chosen(paper(resamples=20), along_alpha(both), tasks)
    assert selection.tasks["first"].candidate == Candidate(0.2)
    assert selection.tasks["second"].candidate == Candidate(0.4)
    assert selection.overall.examples == 30
    assert selection.overall.differences == {
        Candidate(i / 10): selection.tasks["first"].differences[Candidate(i / 10)]
        + selection.tasks["second"].differences[Candidate(i / 10)]
        for i in (1, 2, 3, 4)
    }


def test_examples_that_no_task_names_do_not_count() -> None:
    answers = [["a", str(i)] for i in range(4)]
    choice = chosen(paper(), along_alpha(answers), {"t": ["0"]}).tasks["t"]
    assert set(choice.differences.values()) == {0}


# ---------------------------------------------------------------- confidence


@given(long_enough, st.integers(0, 5))
def test_wins_are_shares_that_add_up_to_1(answers: list[list[str]], seed: int) -> None:
    choice = select(answers, seed=seed, resamples=40)
    assert sum(choice.wins.values()) == pytest.approx(1)
    assert all(0 <= share <= 1 for share in choice.wins.values())
    assert choice.confidence == choice.wins[choice.candidate]
    assert choice.wins.keys() == choice.differences.keys()


def test_a_certain_case_has_confidence_1() -> None:
    choice = select(from_counts([10, 0, 0, 10, 10]))
    assert choice.candidate == Candidate(0.2)
    assert choice.confidence == 1.0


@pytest.mark.parametrize("ties", ["lowest", "middle", "widest_basin"])
def test_those_that_tie_share_a_win_whatever_the_tie_rule(ties: str) -> None:
    rows = [[f"{i} {e}" for e in range(10)] for i in range(5)]
    assert select(rows, ties=ties).wins == pytest.approx({Candidate(i / 10): 1 / 3 for i in (1, 2, 3)})
    rows[2] = rows[1]  # every example says that 1 and 2 agree
    expected = {Candidate(0.1): 0.5, Candidate(0.2): 0.5, Candidate(0.3): 0}
    assert select(rows, ties=ties).wins == pytest.approx(expected)


def test_confidence_is_the_share_of_resamples_that_it_wins() -> None:
    """Two examples that disagree: each is drawn alone in a quarter of the resamples."""
    rows = [["0", "0"], ["1", "0"], ["1", "1"], ["1", "2"]]
    choice = select(rows, rule="previous", ties="lowest", resamples=4000)
    # D(0.1) = 1, D(0.2) = 1, D(0.3) = 1 -> ties. Resamples: {0,0}: 0.2, 0.3; {1,1}: 0.1; {0,1}: all
    assert choice.candidate == Candidate(0.1)
    assert choice.wins[Candidate(0.1)] == pytest.approx(1 / 4 + 1 / 6, abs=0.03)
    assert choice.wins[Candidate(0.2)] == pytest.approx(1 / 8 + 1 / 6, abs=0.03)
    assert choice.wins[Candidate(0.3)] == pytest.approx(1 / 8 + 1 / 6, abs=0.03)


def test_the_bootstrap_is_decided_by_its_seed() -> None:
    rows = np.random.default_rng(0).integers(0, 3, (6, 12)).astype(str).tolist()
    assert select(rows, seed=1) == select(rows, seed=1)
    assert len({tuple(select(rows, seed=seed).wins.values()) for seed in range(4)}) > 1


# ---------------------------------------------------------------- json and errors


def test_selection_json_has_the_agreed_shape() -> None:
    tasks = {"a": ["0", "1"], "b": ["2"]}
    selection = chosen(paper(resamples=10), along_alpha(from_counts([1, 2, 3, 4])), tasks)
    content = json.loads(json.dumps(selection.to_json()))
    assert set(content) == {"tasks", "overall"}
    assert list(content["tasks"]) == ["a", "b"]
    for choice in (*content["tasks"].values(), content["overall"]):
        names = "alpha differences confidence tied wins examples because trust doubts compared intervals"
        assert set(choice) == {*names.split(), "inferred", "guessed", "counts_changes"}
        assert isinstance(choice["alpha"], float)
        assert set(choice["differences"]) == {"0.1", "0.2", "0.3"}
        assert 0 <= choice["confidence"] <= 1
        assert choice["alpha"] in choice["tied"]


@pytest.mark.parametrize(
    ("count", "options", "least"),
    [
        (1, {}, 3),
        (2, {}, 3),
        (2, {"rule": "either"}, 3),
        (1, {"rule": "previous"}, 2),
        (1, {"endpoints": "one_sided"}, 2),
    ],
)
def test_a_grid_that_is_too_short_is_refused(count: int, options: dict[str, Any], least: int) -> None:
    message = rf"search\.grid has {count} candidates; .* needs at least {least}"
    strategy = paper(**options)
    with pytest.raises(AdammsError, match=message):
        select([["a"]] * count, **options)
    with pytest.raises(AdammsError, match=message):
        strategy.check([Candidate(i / 10) for i in range(count)])


@pytest.mark.parametrize(
    ("count", "options"), [(3, {}), (2, {"rule": "previous"}), (2, {"endpoints": "one_sided"})]
)
def test_the_shortest_grid_that_is_long_enough(count: int, options: dict[str, Any]) -> None:
    assert select([["a"]] * count, **options).confidence == 1


def test_no_examples_at_all_are_refused() -> None:
    with pytest.raises(AdammsError, match="no example"):
        chosen(paper(), along_alpha([["a"]] * 3), {})
    with pytest.raises(AdammsError, match="no example"):
        chosen(paper(), along_alpha([["a"]] * 3), {"full": ["0"], "empty": []})


# ---------------------------------------------------------------- json, back again

candidates = st.one_of(
    st.sampled_from([0.0, 0.1, 1 / 3, 1.0]).map(Candidate),
    st.builds(lambda value: Candidate(0.3, (("merge.density", value),)), st.sampled_from([0.2, 2 / 3])),
    st.just(Candidate(None, (("merge.density", 0.2),))),
)
shares = st.floats(0, 1)


@st.composite
def choices(draw: st.DrawFn) -> Choice:
    order = draw(st.lists(candidates, min_size=1, max_size=5, unique=True))
    several = st.builds(
        Several, candidates, candidates, *[st.integers(0, 99)] * 3, st.tuples(shares, shares), shares, shares
    )
    return Choice(
        order[0],
        {candidate: draw(st.floats(0, 100)) for candidate in order},
        tuple(order[: draw(st.integers(1, len(order)))]),
        draw(shares),
        {candidate: draw(shares) for candidate in order},
        draw(st.integers(1, 500)),
        because=draw(st.sampled_from([LEAST_CHANGE, "of another signal"])),
        counts_changes=draw(st.booleans()),
        trust=draw(st.none() | st.builds(Trust, shares, st.floats(0.5, 5), shares)),
        several=draw(st.none() | several),
        doubts=tuple(draw(st.lists(st.text(), max_size=2))),
    )


@given(st.builds(Selection, st.dictionaries(st.sampled_from(["read", "count"]), choices()), choices()))
def test_json_reads_back(selection: Selection) -> None:
    assert Selection.from_json(json.loads(json.dumps(selection.to_json()))) == selection
