"""Several coefficients: found where they are better, refused where they are not, by the numbers kept back."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from strategies import shipped, trusted

from adamms.engines.answer import Answer
from adamms.errors import AdammsError
from adamms.merge.candidate import ALPHA, Candidate
from adamms.search.candidates import Axis, grid
from adamms.search.choice import Selection
from adamms.search.coefficients import Coefficients
from adamms.search.difference import Difference
from adamms.search.evidence import Evidence
from adamms.search.resampling import Array
from adamms.search.signals.agreement import Vote
from adamms.search.signals.signal import Signal
from adamms.search.trust import trust

ATTN, MLP = "merge.rules.attn.factor", "merge.rules.mlp.factor"
SPACE = {ALPHA: Axis(0, 1, 0.3), ATTN: Axis(0, 2, 1), MLP: Axis(0, 2, 1)}
GRID = grid([i / 10 for i in range(11)])
TASKS = {task: [f"{task}{i}" for i in range(100)] for task in ("read", "count")}
SEEN = 100  # examples that the optimiser sees: half of them


@dataclass(frozen=True)
class Wrong(Signal):
    """1 where the answer is wrong."""

    alone = True

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        given = [[evidence.candidates[c][e].text == "wrong" for e in examples] for c in evidence.order]
        return np.array(given, dtype=np.float64)


@dataclass
class World:
    """Each example is answered rightly within a distance of its own from one point.

    Args:
        best: key -> where all answers are right.
        luck: share of examples that are right or wrong whatever the candidate is, drawn for each anew.
        asked: every candidate with the examples that it was asked, in order.
    """

    best: Mapping[str, float]
    luck: float = 0.0
    asked: list[tuple[Candidate, str]] = field(default_factory=list)

    def __call__(self, candidates: Sequence[Candidate], examples: Sequence[str]) -> Evidence:
        possible = [c for c in candidates if max(self.shares(c)) <= 1]
        self.asked += [(candidate, example) for candidate in possible for example in examples]
        return Evidence({c: {e: Answer(self.answer(c, e)) for e in examples} for c in possible})

    @staticmethod
    def shares(candidate: Candidate) -> tuple[float, float]:
        settings = {ATTN: 1.0, MLP: 1.0} | candidate.settings
        return settings[ALPHA] * settings[ATTN], settings[ALPHA] * settings[MLP]

    def answer(self, candidate: Candidate, example: str) -> str:
        settings = {ATTN: 1.0, MLP: 1.0} | candidate.settings
        place = np.array(
            [SPACE[key].place(settings[key]) - SPACE[key].place(self.best[key]) for key in SPACE]
        )
        generator = random.Random(example)
        reach = generator.uniform(0.02, 0.5)
        if generator.random() < self.luck:
            return random.Random(f"{example} {candidate}").choice(["right", "wrong"])
        return "right" if np.linalg.norm(place) <= reach else "wrong"

    @property
    def candidates(self) -> set[Candidate]:
        return {candidate for candidate, _ in self.asked}


ELSEWHERE = {ALPHA: 0.5, ATTN: 0.4, MLP: 1.6}
ON_THE_GRID = {ALPHA: 0.4, ATTN: 1.0, MLP: 1.0}


def coefficients(**options: object) -> Coefficients:
    made: Coefficients = shipped("search=coefficients")
    return replace(made, **{"signal": Wrong(), "space": SPACE} | options)


def search(world: World, **options: object) -> Selection:
    made = coefficients(**options)
    made.check(GRID)
    return made.choose(world, GRID, TASKS)


@pytest.mark.parametrize("seed", range(3))
def test_finds_what_is_better_within_the_budget(seed: int) -> None:
    world = World(ELSEWHERE)
    selection = search(world, seed=seed)
    overall = selection.overall
    found = overall.several
    assert found is not None
    assert found.better
    assert overall.candidate == found.best
    assert found.single in GRID
    assert len(world.candidates - set(GRID)) == found.tried <= 60
    before, after = found.differences
    # At the best point nothing is wrong, on the grid more than half is: 60 candidates get most of the way.
    assert after < 0.4 * before
    assert found.confidence > 0.99
    assert overall.wins == dict.fromkeys(GRID, 0.0) | {
        found.single: 1 - found.confidence,
        found.best: found.confidence,
    }
    assert all(choice.candidate in GRID and choice.several is None for choice in selection.tasks.values())


def test_what_cannot_be_merged_is_never_chosen_and_the_way_goes_on_beside_it() -> None:
    """Beyond a share of 1 lies the best point; its neighbours that can be merged are better than the grid."""
    world = World({ALPHA: 0.8, ATTN: 1.4, MLP: 0.5})
    found = search(world).overall.several
    assert found is not None
    assert found.better
    assert max(world.shares(found.best)) <= 1
    assert max(world.shares(found.best)) > 0.8


@pytest.mark.parametrize("luck", [0.0, 0.7])
def test_says_so_where_they_are_no_better(luck: float) -> None:
    """With luck the optimiser finds what is better on the examples that it sees, and on no others."""
    plain = search(World(ON_THE_GRID, luck))
    found = plain.overall.several
    assert found is not None
    assert plain.overall.candidate == found.single == Candidate(0.4)
    assert not found.better
    assert (found.best == found.single) == (luck == 0.0)
    strategy = trusted(signal=Wrong(), slope=0.0, chance=20.0, bisection=None)
    alone = strategy.choose(World(ON_THE_GRID, luck), GRID, TASKS)
    assert replace(plain, overall=replace(plain.overall, several=None)) == alone


def test_luck_passes_for_better_no_more_often_than_is_said() -> None:
    """Where no candidate is better than another, one search in ten takes one; 5 of 20 would be odd."""
    taken = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        drawn: dict[tuple[Candidate, str], str] = {}

        def ask(candidates: Sequence[Candidate], examples: Sequence[str]) -> Evidence:
            for key in ((c, e) for c in candidates for e in examples):
                drawn.setdefault(key, "right" if rng.uniform() < 0.8 else "wrong")  # noqa: B023
            return Evidence({c: {e: Answer(drawn[c, e]) for e in examples} for c in candidates})  # noqa: B023

        found = coefficients(resamples=200, trials=20).choose(ask, GRID, TASKS).overall.several
        assert found is not None
        taken += found.better
    assert taken < 5


def everything() -> list[str]:
    return [example for examples in TASKS.values() for example in examples]


def test_the_optimiser_sees_half_of_every_task_and_the_rest_decides() -> None:
    world = World(ELSEWHERE)
    found = search(world).overall.several
    assert found is not None
    seen = {example for candidate, example in world.asked if candidate not in {*GRID, found.best}}
    assert found.seen == len(seen) == SEEN
    assert {task: len(seen & set(examples)) for task, examples in TASKS.items()} == dict.fromkeys(TASKS, 50)
    kept = [example for example in everything() if example not in seen]
    wrong = [
        sum(world.answer(candidate, example) == "wrong" for example in kept)
        for candidate in (found.single, found.best)
    ]
    assert list(found.differences) == wrong
    assert found.examples == len(kept)


def test_how_good_it_is_goes_by_answers_as_on_the_grid() -> None:
    """A smaller D alone does not make it sure: where two answer differently, either may be right."""
    world = World(ELSEWHERE)
    overall = search(world, slope=0.4, chance=20.0).overall
    best = overall.candidate
    seen = {example for candidate, example in world.asked if candidate not in {*GRID, best}}
    kept = [example for example in everything() if example not in seen]
    said = np.array([[world.answer(c, example) for example in kept] for c in (*GRID, best)])
    drawn = np.random.default_rng(0).multinomial(len(kept), np.full(len(kept), 1 / len(kept)), size=1000)
    wrong = (said == "wrong").astype(float)
    gaps = drawn @ (wrong - wrong[-1]).T / len(kept)
    apart, tasks = (said != said[-1]).astype(float), [example.rstrip("0123456789") for example in kept]
    expected = trust(gaps, apart, tasks, len(GRID), 2.0, slope=0.4, chance=20.0, seed=0)
    assert overall.trust is not None
    # Of 1000 other draws: the standard deviation is at most 0.016.
    assert overall.trust.probability == pytest.approx(expected.probability, abs=0.05)
    assert 0.5 < expected.probability < 1  # it answers differently from the whole grid, half of the time


def test_is_the_same_every_time_and_another_by_another_seed() -> None:
    state = np.random.get_state()[1].tolist()  # type: ignore[union-attr]
    first, second = World(ELSEWHERE), World(ELSEWHERE)
    assert search(first) == search(second)
    assert first.asked == second.asked
    other = World(ELSEWHERE)
    search(other, seed=1)
    assert other.candidates != first.candidates
    assert np.random.get_state()[1].tolist() == state  # type: ignore[union-attr]  # nobody else's numbers


def test_what_is_no_coefficient_stays_as_the_grid_has_it() -> None:
    several = [
        Candidate(alpha, (("merge.density", density),)) for density in (0.2, 0.5) for alpha in (0.2, 0.6)
    ]
    world = World(ELSEWHERE)
    selection = coefficients(trials=10).choose(world, several, TASKS)
    found = selection.overall.several
    assert found is not None
    assert {c.settings["merge.density"] for c in world.candidates - set(several)} == {
        found.single.settings["merge.density"]
    }
    assert all(
        axis.lowest <= c.settings[key] <= axis.highest
        for key, axis in SPACE.items()
        for c in world.candidates - set(several)
    )


def test_what_is_recorded() -> None:
    overall = search(World(ON_THE_GRID)).overall.to_json()
    assert overall["alpha"] == 0.4
    assert overall["several"]["single"] == overall["several"]["best"] == 0.4
    assert overall["several"]["confidence"] == 0.0
    taken = search(World(ELSEWHERE)).overall.to_json()
    assert set(taken["several"]["best"]) == set(SPACE)
    assert taken["candidate"] == taken["several"]["best"]
    spared = search(World(ELSEWHERE), bisection=shipped("search=trusted").bisection)
    assert spared.tasks["read"].inferred + spared.tasks["read"].guessed > 0
    assert spared.overall.inferred + spared.overall.guessed == 0  # what several win by was all asked


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            lambda: coefficients(signal=Vote(True)),
            "search.signal is Vote, which judges candidates by each other",
        ),
        (
            lambda: coefficients(space={ALPHA: SPACE[ALPHA]}),
            "search.space has 1 coefficients; expected at least 2",
        ),
        (
            lambda: coefficients(space=SPACE | {ALPHA: Axis(0, 0.5, 0.3)}),
            r"search.space: merge.alpha is \[0, 0.5\], but search.grid has 0.6",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_any_answer(
    made: Callable[[], Coefficients], message: str
) -> None:
    with pytest.raises(AdammsError, match=message):
        made().check(GRID)


def test_one_example_a_task_leaves_nothing_to_keep_back() -> None:
    world = World(ELSEWHERE)
    with pytest.raises(AdammsError, match="several coefficients need 2"):
        coefficients().choose(world, GRID, {"read": ["a"], "count": ["b"]})
    assert not world.asked


@pytest.mark.parametrize(("span", "value"), [((0, 1), 0.123), ((0, 2), 0.247), ((0.5, 0.7), 0.5247)])
def test_values_are_short(span: tuple[float, float], value: float) -> None:
    axis = Axis(*span, span[0])
    assert axis.value(0.12345) == value
    assert axis.value(0) == span[0]
    assert axis.value(1) == span[1]
