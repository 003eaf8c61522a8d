"""D before a search has ended is D at its end, as early as it can be known, or nobody says any."""

import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command import read_run

from adamms.app.asker import Asker
from adamms.app.questions import Questions
from adamms.app.settings import Run
from adamms.app.so_far import so_far, tell_so_far
from adamms.data.example import Dataset, Example, Label
from adamms.engines.answer import Answer, Token
from adamms.merge.candidate import Candidate
from adamms.report.console import Console
from adamms.report.result import Result

TASKS = {"read": [f"r{n}" for n in range(22)], "count": [f"c{n}" for n in range(22)]}
EXAMPLES = {id: Example(id, task, "what?") for task, ids in TASKS.items() for id in ids}
GRID = "search.grid=[0,0.2,0.4,0.6,0.8,1]"
LATTICE = "merge=ties search.grid={merge.density: [0.1, 0.2, 0.3, 0.4], merge.alpha: [0.2, 0.5, 0.8]}"
WORDS = ["the", "a", "red", "blue", "dog", "cat", "two", "three", "sits", "runs", "on", "under", "mat"]


def spoken(who: object, id: str, text: str | None = None) -> Answer:
    """Of whoever it is, always the same words and log-probabilities."""
    drawn = random.Random(f"{who} {id} {text}")
    text = " ".join(drawn.choices(WORDS, k=drawn.choice([1, 9, 12]))) if text is None else text
    tokens = [{token: -drawn.uniform(0.1, 3) for token in (1, 2, 3)} for _ in text.split()]
    return Answer(text, tuple(Token.of(1, each, each[1], 3) for each in tokens), cut=False)


class Speaker:
    """An engine that needs no model: what it says depends on who is in it."""

    who: object = None

    def load(self, recipe: Any) -> None:
        self.who = recipe

    def generate(self, examples: Sequence[Example]) -> Iterator[tuple[str, Answer]]:
        for example in examples:
            yield example.id, spoken(self.who, example.id)

    def score(self, said: Sequence[tuple[Example, str]]) -> Iterator[tuple[int, Answer]]:
        for place, (example, text) in enumerate(said):
            yield place, spoken(self.who, example.id, text)


class Merges:
    alpha_0_is_target = True

    def accepts(self, candidate: Candidate) -> bool:
        return True

    def at(self, candidate: Candidate) -> str:
        return str(candidate)

    def control(self, candidate: Candidate) -> str:
        return f"control {candidate}"


def asked(run: Run, tmp_path: Path, **more: Any) -> tuple[Asker, list[tuple[int, dict[Candidate, float]]]]:
    """One who asks, and what is known whenever a candidate has answered or scored: (how many did, D)."""
    donors = {"a": {id: spoken("donor", id) for id in EXAMPLES}}
    asker = Asker(Console(), Merges(), Speaker(), EXAMPLES, run.strategy.needs, donors, tmp_path, **more)
    found: list[tuple[int, dict[Candidate, float]]] = []

    def after(_: Candidate) -> None:
        selection = so_far(run, asker, TASKS).selection
        known = [] if selection is None else [selection.overall, *selection.tasks.values()]
        found.append((len(found) + 1, dict(max((each.differences for each in known), key=len, default={}))))

    asker.after = after
    return asker, found


# Overrides -> of so many steps (candidates that answered, or scored) after which step D of how many is known.
EARLY = {
    "search.signal.rule=sum": {3: 1, 4: 2, 6: 4},
    "search.signal.rule=previous search.endpoints=one_sided": {2: 2, 3: 3, 6: 6},
    "search.signal.rule=sum search.smoothing=1": {4: 1, 5: 2, 6: 4},
    "search/difference=equivalent": {3: 1, 4: 2, 6: 4},
    "search/difference=overlap": {2: 0, 4: 1, 5: 2, 6: 4},  # both ends are asked first
    "search/difference=auto": {2: 0, 4: 1, 5: 2, 6: 4},
    "search/signal=entropy": {1: 1, 3: 3, 6: 6},
    "search/signal=surest_parent": {1: 1, 3: 3, 6: 6},
    "search/signal=parents_divergence": {1: 1, 3: 3, 6: 6},
    "search/signal=neighbour_divergence": {3: 1, 4: 2, 6: 4},
    "search/signal=basin": {4: 1, 5: 2, 6: 6},
    "search/signal=stability": {6: 0, 7: 1, 9: 3, 12: 6},
    "search/signal=beyond_control evaluate.control=true": {6: 0, 7: 1, 9: 3, 12: 6},
    "search/signal=likelihood": {6: 0, 7: 1, 9: 3, 12: 6},
    "search/signal=likelihood search.signal.pool=all": {6: 0, 7: 1, 9: 3, 12: 6},
    "search/signal=semantic_entropy": {6: 0, 7: 1, 9: 3, 12: 6},
    "search/signal=parents_alignment": {6: 0, 7: 1, 9: 3, 12: 6},
    "search/signal=sequence_divergence": {6: 0, 8: 0, 9: 1, 12: 4},
    "search/signal=sequence_divergence search.signal.pool=all": {6: 0, 8: 0, 9: 1, 12: 4},
    "search/signal=disagreement": {5: 0, 6: 6},
    "search/signal=vote": {5: 0, 6: 6},
    "search=trusted search.bisection=null": {6: 0, 8: 0, 9: 1, 12: 6},
    "search=trusted": {6: 0, 9: 0, 12: 0},
    f"{LATTICE}": {6: 0, 7: 0, 8: 1, 12: 2},
    f"search/signal=entropy {LATTICE}": {1: 1, 5: 5, 12: 12},
}


def overrides(text: str) -> list[str]:
    """'a=1 b={c: 2, d: 3}' -> its overrides."""
    parts: list[str] = []
    for word in text.split(" "):
        parts = (
            [*parts, word]
            if word.startswith("search") or "=" in word
            else [*parts[:-1], f"{parts[-1]} {word}"]
        )
    return parts


@pytest.mark.parametrize("given", EARLY)
def test_what_is_said_is_as_early_as_it_can_be_and_does_not_change(given: str, tmp_path: Path) -> None:
    run = read_run(*([] if LATTICE in given else [GRID]), *overrides(given))
    asker, found = asked(run, tmp_path)
    end = run.strategy.choose(asker, sorted(run.grid), TASKS)
    for _, known in found:
        assert known.items() <= end.overall.differences.items()
    counts = {step: len(known) for step, known in found}
    assert {step: counts.get(step, 0) for step in EARLY[given]} == EARLY[given]


def test_every_signal_is_tried() -> None:
    folder = Path(__file__).parents[2] / "conf/search/signal"
    tried = " ".join(EARLY)
    apart = {"consistency", "trusted"}  # the default; search=trusted
    same = {"log_probability", "probability"}  # as entropy: each by its own answers
    signals = {file.stem for file in folder.glob("*.yaml")} - apart - same
    assert {name for name in signals if f"signal={name}" not in tried} == set()


def test_several_coefficients_say_d_of_tasks_alone(tmp_path: Path) -> None:
    space = "search.space={merge.alpha: [0, 1], merge.rules.attn.factor: [0, 2]}"
    run = read_run(
        GRID,
        "search=coefficients",
        "merge.rules={attn: {roles: [attn], factor: 1}}",
        space,
        "search.trials=4",
    )
    asker, _ = asked(run, tmp_path)
    for candidate in sorted(run.grid):
        asker([candidate], list(EXAMPLES))
    selection = so_far(run, asker, TASKS).selection
    assert selection is not None
    assert not selection.overall.differences
    assert [len(choice.differences) for choice in selection.tasks.values()] == [6, 6]


@pytest.mark.parametrize("labelled", [["r1"], ["r1", "x"]], ids=["all searched", "one is not"])
def test_the_score_is_known_with_the_answers(labelled: list[str], tmp_path: Path) -> None:
    run = read_run(GRID)
    told: list[tuple[Mapping[Candidate, float], bool]] = []

    def hear(known: Any, part: bool = False) -> None:
        result: Result = known()
        if result.evaluation is not None:
            told.append(({c: s.mean for c, s in result.evaluation.candidates.items()}, part))

    console = Console()
    console.record = SimpleNamespace(progress=lambda stage: None, so_far=hear)  # type: ignore[assignment]
    asker = Asker(console, Merges(), Speaker(), EXAMPLES, (), {}, tmp_path)
    right = spoken(Candidate(0.2), "r1").text
    data = Dataset(
        "", (*EXAMPLES.values(), Example("x", "read", "what?")), {id: Label((right,)) for id in labelled}
    )
    questions = Questions(data, TASKS)
    asker.after = lambda candidate: tell_so_far(run, asker, questions, candidate)
    asker([Candidate(0.0), Candidate(0.2)], list(EXAMPLES))
    part = len(labelled) > 1
    assert told == [({Candidate(0.0): 0.0}, part), ({Candidate(0.2): 100.0}, part)]
