"""Grids of several axes: D, who may win, smoothing and ties against brute force over dictionaries."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import chosen, paper
from test_consistency import grids
from test_selection import along_alpha

from adamms.errors import AdammsError
from adamms.merge.candidate import Candidate
from adamms.search.candidates import grid, lattice, shape_of
from adamms.search.choice import Choice

KEYS = ("merge.density", "merge.scaling", "merge.alpha")
Place = tuple[int, ...]
Cells = dict[Place, list[str]]

shapes = st.lists(st.integers(1, 4), min_size=2, max_size=3).map(tuple)


@st.composite
def cells(draw: st.DrawFn) -> tuple[Place, Cells]:
    """Answers of every place of a grid to a few examples."""
    shape = draw(shapes.filter(lambda shape: sum(count > 1 for count in shape) > 1))
    count = draw(st.integers(1, 4))
    text = st.lists(st.sampled_from(["yes", "no", "maybe"]), min_size=count, max_size=count)
    return shape, {place: draw(text) for place in product(*map(range, shape))}


def candidate(place: Place) -> Candidate:
    return Candidate.of({key: (step + 1) / 10 for key, step in zip(KEYS[-len(place) :], place, strict=True)})


def select(answers: Cells, **options: Any) -> Choice:
    given = {candidate(p): {str(e): text for e, text in enumerate(row)} for p, row in answers.items()}
    everything = [str(e) for e in range(len(next(iter(answers.values()))))]
    return chosen(paper(**{"resamples": 5, **options}), given, {"task": everything}).overall


def moved(place: Place, axis: int, step: int) -> Place:
    return (*place[:axis], place[axis] + step, *place[axis + 1 :])


def difference(answers: Cells, place: Place, rule: str) -> int:
    """D by its definition: over the axes, what the rule says of the neighbours along each."""
    total = 0
    for axis in range(len(place)):
        below, above = moved(place, axis, -1), moved(place, axis, 1)
        near = [other for other in (below, above) if other in answers]
        if not near:
            continue
        for e, own in enumerate(answers[place]):
            changed = {other: answers[other][e] != own for other in near}
            if rule == "sum":  # an end counts its only neighbour twice
                total += sum(changed.values()) * (3 - len(near))
            elif rule == "either":
                total += any(changed.values())
            else:
                total += changed[below if below in answers else above]
    return total


def may_win(place: Place, shape: Place, rule: str, endpoints: str) -> bool:
    for step, count in zip(place, shape, strict=True):
        if count > 2:
            if step == 0 and endpoints == "interior":
                return False
            if step == count - 1 and rule != "previous":
                return False
    return True


def box(place: Place, allowed: set[Place], half_width: int) -> Iterator[Place]:
    """Those that may win, at most so many steps away along every axis."""
    for other in allowed:
        if all(abs(a - b) <= half_width for a, b in zip(place, other, strict=True)):
            yield other


def tie_break(tied: list[Place], rule: str) -> Place:
    def steps(a: Place, b: Place) -> int:
        return sum(abs(x - y) for x, y in zip(a, b, strict=True))

    def middle(some: list[Place]) -> Place:
        return min(sorted(some), key=lambda place: sum(steps(place, other) for other in some))

    if rule == "lowest":
        return min(tied)
    if rule == "middle":
        return middle(tied)
    basins: list[set[Place]] = []
    for place in tied:  # union of all that it touches
        touched = [basin for basin in basins if any(steps(place, other) == 1 for other in basin)]
        basins = [basin for basin in basins if basin not in touched] + [{place}.union(*touched)]
    return middle(sorted(min(basins, key=lambda basin: (-len(basin), min(basin)))))


@pytest.mark.parametrize("ties", ["lowest", "middle", "widest_basin"])
@pytest.mark.parametrize("rule", ["sum", "either", "previous"])
@given(cells(), st.sampled_from(["interior", "one_sided"]), st.integers(0, 1))
def test_the_choice_on_several_axes_is_brute_forces(
    rule: str, ties: str, grid: tuple[Place, Cells], endpoints: str, smoothing: int
) -> None:
    shape, answers = grid
    allowed = {place for place in answers if may_win(place, shape, rule, endpoints)}
    raw = {place: difference(answers, place, rule) for place in allowed}
    smoothed = {}
    for place in sorted(allowed):
        near = list(box(place, allowed, smoothing))
        smoothed[place] = sum(raw[other] for other in near) / len(near)
    least = min(smoothed.values())
    tied = [place for place, value in smoothed.items() if value <= least + 1e-9]
    choice = select(answers, rule=rule, ties=ties, endpoints=endpoints, smoothing=smoothing)
    assert choice.differences == pytest.approx({candidate(p): value for p, value in smoothed.items()})
    assert list(choice.tied) == [candidate(place) for place in tied]
    assert choice.candidate == candidate(tie_break(tied, ties))
    assert sum(choice.wins.values()) == pytest.approx(1)


@pytest.mark.parametrize("key", ["merge.alpha", "merge.density"])
@given(
    grids.filter(lambda answers: len(answers) > 2),
    st.sampled_from(["sum", "either", "previous"]),
    st.sampled_from(["interior", "one_sided"]),
    st.sampled_from(["lowest", "middle", "widest_basin"]),
    st.integers(0, 2),
    st.booleans(),
)
def test_one_axis_is_chosen_from_as_alphas_are(
    key: str, answers: list[list[str]], rule: str, endpoints: str, ties: str, smoothing: int, fixed: bool
) -> None:
    """Whatever its name, and with another axis of a single value beside it."""
    options = {"rule": rule, "endpoints": endpoints, "ties": ties, "smoothing": smoothing, "resamples": 20}
    beside = {"merge.scaling": 2.0} if fixed else {}
    axis = [Candidate.of({key: i / 10, **beside}) for i in range(len(answers))]
    rows = [{str(e): text for e, text in enumerate(row)} for row in answers]
    tasks = {"t": list(rows[0])}
    strategy = paper(**options)
    alphas = chosen(strategy, along_alpha(answers), tasks).overall
    found = chosen(strategy, dict(zip(axis, rows, strict=True)), tasks).overall
    assert found.candidate.settings[key] == alphas.candidate.alpha
    assert [c.settings[key] for c in found.tied] == [c.alpha for c in alphas.tied]
    assert list(found.differences.values()) == list(alphas.differences.values())
    assert list(found.wins.values()) == list(alphas.wins.values())


def test_selection_json_of_other_candidates_names_what_they_set() -> None:
    answers = {place: ["a" if sum(place) < 4 else str(place)] for place in product(range(3), range(4))}
    content = select(answers).to_json()
    assert "alpha" not in content
    assert content["candidate"] == {"merge.scaling": 0.2, "merge.alpha": 0.2}
    assert content["tied"] == [{"merge.scaling": 0.2, "merge.alpha": 0.2}]
    assert list(content["differences"]) == ["scaling=0.2, alpha=0.2", "scaling=0.2, alpha=0.3"]


def test_a_lattice_is_every_combination_in_order() -> None:
    axes = {"merge.alpha": [0, 0.5], "merge.density": [0.1, 0.2, 0.4]}
    found = lattice(axes)
    assert [str(c) for c in found] == [
        f"density={density}, alpha={alpha}" for density in ("0.1", "0.2", "0.4") for alpha in ("0", "0.5")
    ]
    assert shape_of(found) == (3, 2)
    assert lattice({"merge.alpha": [0, 0.1]}) == grid([0, 0.1])


@pytest.mark.parametrize("left_out", [0, 3, 5])
def test_candidates_that_are_no_grid_are_refused(left_out: int) -> None:
    found = lattice({"merge.alpha": [0, 0.5, 1], "merge.density": [0.1, 0.2]})
    del found[left_out]
    with pytest.raises(AdammsError, match="5 candidates are no grid; expected all combinations of"):
        paper().check(found)


@pytest.mark.parametrize("count", [1, 2])
def test_one_axis_that_is_too_short_is_refused_with_a_single_value_beside_it(count: int) -> None:
    found = lattice({"merge.alpha": [0.5], "merge.density": [0.1, 0.2][:count]})
    with pytest.raises(AdammsError, match=rf"has {count} candidates; .* needs at least 3"):
        paper().check(found)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({}, "search.grid has no axes"),
        ({"merge.density": []}, r"merge\.density is \[\]; expected numbers"),
        ({"merge.density": [0.1, True]}, r"merge\.density is \[0\.1, True\]; expected numbers"),
        ({"merge.density": [0.1, float("inf")]}, r"merge\.density is .*; expected numbers"),
        ({"merge.density": [0.2, 0.1]}, r"merge\.density is \[0\.2, 0\.1\]; expected increasing numbers"),
        ({"merge.density": [0.2], "merge.alpha": [0.2, 2]}, "alpha is 2; expected a number in"),
    ],
)
def test_axes_that_are_no_increasing_numbers_are_refused(axes: dict[str, Any], message: str) -> None:
    with pytest.raises(AdammsError, match=message):
        lattice(axes)


# ---------------------------------------------------------------- candidates


def test_a_candidate_is_its_settings() -> None:
    one = Candidate.of({"merge.alpha": 0.3, "merge.density": 0.2})
    other = Candidate.of({"merge.density": 0.2, "merge.alpha": 0.3})
    assert one == other
    assert len({one, other, Candidate(0.3)}) == 2
    assert str(one) == "density=0.2, alpha=0.3"
    assert one.to_json() == {"merge.density": 0.2, "merge.alpha": 0.3}
    assert one.overrides == "merge.density=0.2 merge.alpha=0.3"
    assert (str(Candidate(0.3)), Candidate(0.3).to_json()) == ("0.3", 0.3)
    assert Candidate(0.3).overrides == "merge.alpha=0.3"
    assert str(Candidate.of({"merge.seed": 1234567})) == "seed=1234567"
    with pytest.raises(AdammsError, match="sets nothing"):
        Candidate()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), unique=True))
def test_candidates_are_ordered_by_their_settings(places: list[Place]) -> None:
    assert sorted(map(candidate, places)) == list(map(candidate, sorted(places)))
