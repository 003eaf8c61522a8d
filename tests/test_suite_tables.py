"""The tables of `tests/benchmarks/signals.py` say what searches on a pair of written-down answers did."""

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from adamms.engines.answer import Answer, Token
from adamms.merge.candidate import Candidate
from adamms.search.evidence import Evidence

BENCHMARKS = Path(__file__).resolve().parent / "benchmarks"
GRID = [Candidate(place / 4) for place in range(5)]
EXAMPLES = [f"e{number}" for number in range(40)]
TASKS = {"a": EXAMPLES[:20], "b": EXAMPLES[20:]}


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("signals")


def says(*changes: int) -> list[dict[str, Answer]]:
    """Of every place on the grid: the answer to the first `changes[place]` examples is another one there."""
    tokens = (Token(-0.1, ()), Token(0.0, ()))
    return [
        {
            example: Answer(f"x{place}" if number < many else "x", tokens)
            for number, example in enumerate(EXAMPLES)
        }
        for place, many in enumerate(changes)
    ]


def likely(place: int) -> Answer:
    """A text as it is scored there: likeliest in the middle."""
    return Answer("x", (Token(-0.1 - abs(place - 2), ()), Token(0.0, ())))


def test_what_a_search_lost_asked_and_loaded_is_in_the_tables(
    signals: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    suite, judged = importlib.import_module("suite"), importlib.import_module("judged")
    rows = says(9, 8, 1, 2, 12)
    scored = {
        candidate: {e: {row[e].text: likely(place) for row in (rows[0], rows[-1])} for e in EXAMPLES}
        for place, candidate in enumerate(GRID)
    }
    evidence = Evidence(dict(zip(GRID, rows, strict=True)), rows[0], {"donor": rows[-1]}, scored=scored)
    pair = suite.Pair("near", 14, evidence, TASKS, np.array([50.0, 60, 70, 72, 40]))
    names = (signals.PAPER, signals.RECOMMENDED)
    searches = {name: suite.strategy(*signals.SEARCHES[name]) for name in names}
    found = judged.judge(pair, searches, signals.RECOMMENDED, [0.0], signals.RACED)
    paper, trusted = (found.findings[name] for name in names)
    assert (paper.candidate, paper.regret, paper.loads) == (GRID[2], 2.0, 5)
    assert (paper.cost.answers, paper.cost.tokens, paper.cost.scored_tokens) == (5 * 40, 5 * 40 * 2, 0)
    assert 40 * 4 < trusted.cost.answers < 6 * 40
    assert all(
        one.same and one.lost == 0 and one.tasks == (2, 2) for one in found.spared[signals.RECOMMENDED]
    )
    assert len(found.spared["margin 0"]) == judged.DRAWS
    for show in (signals.show_searches, signals.show_regimes, signals.show_spared, signals.show_reliability):
        show([found, found])
    lines = capsys.readouterr().out.splitlines()
    assert f"{signals.PAPER:24}   2.00  0.00    2.0       0/2" in lines[1]
    assert any(line.startswith("semantic entropy") and "left out: it needs more" in line for line in lines)
    assert any(line.split()[:3] == [signals.RECOMMENDED, "6/6", "6/6"] for line in lines)


def test_groups_and_seeds_are_named_and_what_is_neither_is_refused(
    signals: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = importlib.import_module("suite")
    assert suite.arguments("").parse_args(["--regimes", "long,near", "--seeds", "0,1"]).seeds == [0, 1]
    with pytest.raises(SystemExit):
        suite.arguments("").parse_args(["--regimes", "wrods"])
    assert "Nearest: words" in capsys.readouterr().err
