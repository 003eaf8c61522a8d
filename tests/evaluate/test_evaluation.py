"""Oracle, regret and the JSON of an evaluation."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamms.evaluate.estimate import Estimate
from adamms.evaluate.evaluation import Evaluation, Scores
from adamms.merge.candidate import Candidate


@pytest.fixture
def evaluation() -> Evaluation:
    scores = {0.5: (60.0, 70.0), 0.0: (50.0, 40.0), 0.25: (90.0, 40.0), 1.0: (0.0, 80.0)}
    return Evaluation(
        candidates={Candidate(alpha): Scores({"a": a, "b": b}) for alpha, (a, b) in scores.items()},
        donors={"onevision": Scores({"a": 10.0, "b": 20.0})},
        control={Candidate(0.5): Scores({"a": 55.0, "b": 45.0})},
    )


def test_the_oracle_is_the_best_mean_and_the_lowest_alpha_among_equals(evaluation: Evaluation) -> None:
    assert evaluation.score(Candidate(0.25)) == evaluation.score(Candidate(0.5)) == 65
    assert evaluation.oracle() == Candidate(0.25)


def test_regret_is_what_the_choice_loses(evaluation: Evaluation) -> None:
    assert evaluation.regret(Candidate(0.5)) == Estimate(0.0)
    assert evaluation.regret(Candidate(0.0)) == Estimate(20.0)
    assert evaluation.regret(Candidate(1.0)) == Estimate(25.0)


def test_oracle_and_regret_of_one_task(evaluation: Evaluation) -> None:
    assert evaluation.oracle("a") == Candidate(0.25)
    assert evaluation.oracle("b") == Candidate(1.0)
    assert evaluation.regret(Candidate(0.5), "a") == Estimate(30.0)
    assert evaluation.regret(Candidate(1.0), "b") == Estimate(0.0)


def test_what_is_unknown_has_no_oracle_and_no_regret(evaluation: Evaluation) -> None:
    assert Evaluation({}).oracle() is None
    assert evaluation.oracle("c") is None
    assert evaluation.regret(Candidate(0.3)) is None
    assert evaluation.regret(Candidate(0.5), "c") is None


def test_the_mean_over_tasks_is_not_weighted() -> None:
    assert Scores({"a": 100.0, "b": 0.0, "c": 50.0}).mean == 50
    assert Scores({}).on(None) is None


def test_json_has_the_candidates_in_order(evaluation: Evaluation) -> None:
    content = json.loads(json.dumps(evaluation.to_json()))
    assert set(content) == {"examples", "candidates", "donors", "control", "oracle"}
    assert list(content["candidates"]) == ["0", "0.25", "0.5", "1"]
    unknown = {"errors": {}, "mean_error": None, "points": {}}
    assert content["candidates"]["0"] == {"tasks": {"a": 50.0, "b": 40.0}, "mean": 45.0} | unknown
    assert content["donors"] == {"onevision": {"tasks": {"a": 10.0, "b": 20.0}, "mean": 15.0} | unknown}
    assert content["control"] == {"0.5": {"tasks": {"a": 55.0, "b": 45.0}, "mean": 50.0} | unknown}
    assert content["oracle"] == 0.25


def test_points_are_numbers_in_the_order_of_the_examples_which_are_named_once() -> None:
    """But for a model that has answered others; one that answered them in another order has that of all."""
    one = Scores.of({"a": {"x": 1.0, "y": 0.5}, "b": {"z": 0.0}})
    turned = Scores.of({"a": {"y": 0.0, "x": 1.0}})
    other = Scores.of({"a": {"x": 1.0}, "c": {"w": 1.0}})
    content = Evaluation({Candidate(0.0): one, Candidate(0.5): turned}, {"d": other}).to_json()
    assert content["examples"] == {"a": ["x", "y"], "b": ["z"], "c": ["w"]}
    assert json.dumps(content["candidates"]["0"]["points"]) == '{"a": [1, 0.5], "b": [0]}'
    assert content["candidates"]["0.5"]["points"] == {"a": [1, 0]}
    assert "examples" not in content["candidates"]["0.5"]
    assert content["donors"]["d"]["examples"] == {"a": ["x"]}
    assert content["donors"]["d"]["points"] == {"a": [1], "c": [1]}


ids = st.lists(st.text(min_size=1, max_size=2), unique=True, min_size=1, max_size=3)
points = ids.flatmap(lambda own: st.fixed_dictionaries(dict.fromkeys(own, st.floats(0, 1))))
scores = st.one_of(
    st.fixed_dictionaries({"a": st.floats(0, 100), "b": st.floats(0, 100)}).map(Scores),
    st.dictionaries(st.sampled_from(["a", "b", "ü"]), points, min_size=1).map(Scores.of),
)
candidates = st.sampled_from(
    [
        *(Candidate(alpha) for alpha in (0.0, 0.1, 1 / 3, 1.0)),
        Candidate(0.3, (("merge.density", 0.2),)),
        Candidate(None, (("merge.density", 1 / 3),)),
    ]
)
by_candidate = st.dictionaries(candidates, scores, max_size=4)


@given(
    st.builds(
        Evaluation,
        by_candidate,
        st.dictionaries(st.sampled_from(["x", "y"]), scores),
        by_candidate,
        st.none() | scores,
    )
)
def test_json_reads_back(evaluation: Evaluation) -> None:
    assert Evaluation.from_json(json.loads(json.dumps(evaluation.to_json()))) == evaluation


def test_no_scores_have_no_mean() -> None:
    assert Scores({}).to_json()["mean"] is None
    assert Scores.from_json(Scores({}).to_json()) == Scores({})


def test_scores_that_were_written_before_there_were_points_still_read() -> None:
    assert Scores.from_json({"tasks": {"a": 50.0}, "mean": 50.0}) == Scores({"a": 50.0})


def test_points_that_were_written_with_their_ids_still_read() -> None:
    points = {"a": {"x": 1.0, "y": 0.0}}
    assert Scores.from_json({"tasks": {"a": 50.0}, "points": points}) == Scores.of(points)
