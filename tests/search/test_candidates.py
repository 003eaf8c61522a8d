"""The grid and the seeded subset."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamms.errors import AdammsError
from adamms.merge.candidate import Candidate
from adamms.search.candidates import grid, subset


def test_the_grid_in_order() -> None:
    assert grid([0, 0.1, 0.5, 1]) == [Candidate(0), Candidate(0.1), Candidate(0.5), Candidate(1)]
    assert [str(c) for c in grid([0.0, 0.1 + 0.2, 1.0])] == ["0", "0.3", "1"]


@pytest.mark.parametrize("alphas", [[], [0.1, 0.1], [0.2, 0.1], [0, 0.5, 0.4, 1]])
def test_a_grid_that_does_not_increase_is_refused(alphas: list[float]) -> None:
    with pytest.raises(AdammsError, match=r"search\.grid is \[.*\]; expected increasing alphas in \[0, 1\]"):
        grid(alphas)


@pytest.mark.parametrize("alpha", [-0.1, 1.5, float("nan"), "0.1", True])
def test_a_candidate_outside_0_to_1_is_refused(alpha: object) -> None:
    with pytest.raises(AdammsError, match="alpha is"):
        grid([alpha])  # type: ignore[list-item]


def examples(**counts: int) -> list[tuple[str, str]]:
    return [(f"{task}{i}", task) for task, count in counts.items() for i in range(count)]


def test_all_of_every_task_in_the_order_of_the_data() -> None:
    data = [("3", "b"), ("1", "a"), ("2", "b")]
    assert subset(data, None, seed=0) == {"b": ["3", "2"], "a": ["1"]}
    assert subset(data, 2, seed=0) == {"b": ["3", "2"], "a": ["1"]}
    assert subset([], None, seed=0) == {}


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 30), st.integers(0, 99))
def test_at_most_so_many_of_each_task_in_order_and_independent_of_other_tasks(
    a: int, b: int, per_task: int, seed: int
) -> None:
    data = examples(a=a, b=b)
    drawn = subset(data, per_task, seed)
    assert drawn == subset(data, per_task, seed)
    for task, count in (("a", a), ("b", b)):
        ids = [example for example, of in data if of == task]
        assert len(drawn.get(task, [])) == min(per_task, count)
        assert drawn.get(task, []) == [example for example in ids if example in set(drawn.get(task, []))]
    alone = subset(examples(a=a), per_task, seed)
    assert alone.get("a") == drawn.get("a")


def test_the_seed_decides_the_draw() -> None:
    data = examples(a=200)
    draws = {tuple(subset(data, 20, seed)["a"]) for seed in range(5)}
    assert len(draws) == 5


def test_the_draw_is_the_same_in_another_process() -> None:
    code = (
        "from adamms.search.candidates import subset\nprint(subset([(str(i), 'a') for i in range(99)], 5, 7))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str(subset([(str(i), "a") for i in range(99)], 5, 7))
