"""Standard errors and intervals: the formula's where there is one, and pairs where two are compared."""

import json
from statistics import fmean, stdev

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from adamms.evaluate.estimate import Estimate
from adamms.evaluate.evaluation import Evaluation, Scores, draw
from adamms.merge.candidate import Candidate

LOW, HIGH = Candidate(0.1), Candidate(0.2)


def model(**tasks: list[float]) -> Scores:
    return Scores.of({task: {f"{task}{i:04}": p for i, p in enumerate(own)} for task, own in tasks.items()})


def made(seed: int, count: int, share: float) -> list[float]:
    """Right or wrong, `share` of them right."""
    return [float(right) for right in np.random.default_rng(seed).random(count) < share]


@pytest.mark.parametrize("count", [2, 5, 400])
def test_the_error_of_a_mean_is_that_of_the_formula(count: int) -> None:
    points = [float(p) for p in np.random.default_rng(1).random(count)]
    found = model(a=points).estimate("a")
    assert found is not None
    assert found.value == pytest.approx(100 * fmean(points))
    assert found.error == pytest.approx(100 * stdev(points) / count**0.5, rel=0.06)


def test_the_interval_of_a_mean_of_many_is_that_of_the_normal_distribution() -> None:
    points = made(2, 1000, 0.6)
    found = model(a=points).estimate("a")
    assert found is not None
    assert found.interval is not None
    half = 1.96 * 100 * stdev(points) / 1000**0.5
    assert found.interval == pytest.approx((found.value - half, found.value + half), abs=0.12 * half)


def test_tasks_are_drawn_from_by_themselves() -> None:
    """The mean over tasks of very different sizes: the variances of the tasks add up, and nothing else."""
    tasks = {"few": made(3, 12, 0.5), "same": made(3, 12, 0.5), "many": made(4, 300, 0.8)}
    found = model(**tasks).estimate()
    expected = 100 * sum(stdev(own) ** 2 / len(own) for own in tasks.values()) ** 0.5 / 3
    assert found is not None
    assert found.error == pytest.approx(expected, rel=0.06)


def test_two_models_are_compared_example_by_example() -> None:
    """Their difference has the error of the differences, which is smaller than that of two strangers."""
    one = made(5, 200, 0.6)
    other = [1 - p if i % 20 == 0 else p for i, p in enumerate(one)]
    found = model(a=other).estimate("a", less=model(a=one))
    differences = [a - b for a, b in zip(other, one, strict=True)]
    assert found is not None
    assert found.value == pytest.approx(100 * fmean(differences))
    assert found.error == pytest.approx(100 * stdev(differences) / 200**0.5, rel=0.06)
    assert found.error < 0.5 * 100 * (2 * stdev(one) ** 2 / 200) ** 0.5


def test_models_that_err_alike_differ_by_nothing() -> None:
    points = made(6, 50, 0.5)
    assert model(a=points).estimate(None, less=model(a=points)) == Estimate(0.0, 0.0, (0.0, 0.0))


def test_the_order_of_the_examples_does_not_matter() -> None:
    points = {f"e{i}": p for i, p in enumerate(made(7, 30, 0.5))}
    turned = Scores.of({"a": dict(reversed(points.items()))})
    assert turned.estimate("a", less=Scores.of({"a": points})) == Estimate(0.0, 0.0, (0.0, 0.0))


def test_a_difference_is_told_apart_where_its_interval_excludes_0() -> None:
    worse, better = [0.0] * 30 + [1.0] * 70, [0.0] * 10 + [1.0] * 90
    sure, unsure = model(a=better), model(a=[0.0, *worse[1:31], *worse[31:]])
    found = sure.estimate(None, less=model(a=worse))
    assert found is not None
    assert found.told_apart
    nothing = unsure.estimate(None, less=model(a=worse))
    assert nothing is not None
    assert not nothing.told_apart
    turned = model(a=worse).estimate(None, less=sure)
    assert turned is not None
    assert turned.told_apart
    assert not Estimate(50.0).told_apart  # nobody knows how exact it is


@given(st.integers(2, 200), st.integers(1, 12))
def test_two_models_are_told_apart_only_where_the_sign_test_does(count: int, differing: int) -> None:
    """All examples that differ speak for one model, which is the most that so few can say."""
    differing = min(count, differing)
    found = model(a=[1.0] * count).estimate(
        None, less=model(a=[0.0] * differing + [1.0] * (count - differing))
    )
    assert found is not None
    assert found.differing == differing
    if binomtest(differing, differing).pvalue >= 0.05:
        assert not found.told_apart
        assert not found.turned.told_apart
    assert not (found.told_apart and found.of_few)


def test_few_examples_do_not_tell_two_models_apart() -> None:
    """Two examples that both differ have an interval without width."""
    found = model(a=[1.0, 1.0]).estimate(None, less=model(a=[0.0, 0.0]))
    assert found == Estimate(100.0, 0.0, (100.0, 100.0), differing=2)
    assert found.of_few
    more = model(a=[1.0] * 6).estimate(None, less=model(a=[0.0] * 6))
    assert more is not None
    assert more.told_apart
    assert not more.of_few


def test_models_that_are_drawn_together_have_the_draws_of_each_alone() -> None:
    """Also where one has answered other examples; one of a model of its own for every task keeps them."""
    lists = [made(seed, 40, 0.5) for seed in range(3)]
    other = Scores.of({"a": {"x": 1.0, "y": 0.0}})
    together = [*(model(a=own, b=own[:9]) for own in lists), other]
    draw(together)
    for own, found in zip(lists, together, strict=False):
        alone = model(a=own, b=own[:9])
        draw([alone])
        assert set(found.resampled) == {"a", "b"}
        for task, drawn in alone.resampled.items():
            assert found.resampled[task] == pytest.approx(drawn, abs=1e-9)
    assert set(other.resampled) == {"a"}
    best = Scores.of_tasks({"a": together[0], "b": together[1]})
    assert best.resampled["b"] is together[1].resampled["b"]


def test_what_cannot_be_known_is_not_said() -> None:
    """One example, no points, other examples, other tasks: the score is known, its error is not."""
    assert model(a=[1.0]).estimate("a") == Estimate(100.0)
    assert model(a=[1.0], b=[1.0, 0.0]).estimate() == Estimate(75.0)
    assert Scores({"a": 40.0}).estimate() == Estimate(40.0)
    assert Scores({}).estimate() is None
    assert model(a=[1.0, 0.0]).estimate("b") is None
    others = Scores.of({"a": {"x": 1.0, "y": 1.0}})
    assert model(a=[1.0, 0.0]).estimate("a", less=others) == Estimate(-50.0)
    assert model(a=[1.0, 1.0]).estimate("a") == Estimate(100.0, 0.0, (100.0, 100.0))


def test_in_every_resample_the_oracle_is_found_anew() -> None:
    """An oracle that is only lucky: the regret is 0 here, and would not be on other examples."""
    one = made(8, 100, 0.5)
    two = one[50:] + one[:50]
    found = Evaluation({LOW: model(a=one), HIGH: model(a=two)})
    assert not any(model.resampled for model in found.models)  # nothing is drawn before it is asked for
    estimate, other = found.regret(LOW), found.regret(HIGH)
    differences = found.candidates[HIGH].resampled["a"] - found.candidates[LOW].resampled["a"]
    assert estimate is not None
    assert other is not None
    assert estimate.value == other.value == 0
    assert estimate.error == pytest.approx(float(np.maximum(differences, 0).std()), abs=1e-9)
    assert Evaluation({LOW: model(a=one)}).regret(LOW) == Estimate(0.0, 0.0)
    assert found.regret(Candidate(0.5)) is None
    assert Evaluation({LOW: Scores({"a": 1.0})}).regret(LOW) == Estimate(0.0)


points = st.dictionaries(st.text(min_size=1, max_size=3), st.floats(0, 1), min_size=1, max_size=5)


@given(st.dictionaries(st.sampled_from(["a", "ü b"]), points, min_size=1))
def test_points_read_back_and_come_to_the_same_errors(found: dict[str, dict[str, float]]) -> None:
    scores = Scores.of(found)
    content = json.loads(json.dumps(scores.to_json()))
    read = Scores.from_json(content)
    assert read == scores
    assert read.estimate() == scores.estimate()
    assert set(content["errors"]) == {task for task, own in found.items() if len(own) > 1}
    assert (content["mean_error"] is None) == any(len(own) < 2 for own in found.values())
