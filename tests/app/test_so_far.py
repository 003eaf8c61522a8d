"""D before a search has ended is D at its end, or nobody says any."""

import pytest
from command import read_run

from adamms.app.so_far import so_far
from adamms.engines.answer import Answer
from adamms.search.evidence import recorded

WORDS = [f"word{n}" for n in range(17)]


@pytest.mark.parametrize(
    ("difference", "said"), [("exact_match", 2), ("equivalent", 2), ("overlap", 0), ("auto", 0)]
)
def test_what_is_said_does_not_change_any_more(difference: str, said: int) -> None:
    run = read_run("search.grid=[0,0.2,0.4,0.6,0.8,1]", f"search/difference={difference}")
    tasks = {"read": [f"e{n}" for n in range(9)]}
    answers = {
        candidate: {
            id: Answer(" ".join(WORDS[(n * n + place * (n % 3)) % 5 :][: 9 + place]))
            for n, id in enumerate(tasks["read"])
        }
        for place, candidate in enumerate(sorted(run.grid))
    }
    end = run.strategy.choose(recorded(answers), sorted(run.grid), tasks).overall.differences
    first = dict(list(answers.items())[:4])
    found = so_far(run, first, tasks).selection
    known = {} if found is None else dict(found.overall.differences)
    assert known.items() <= end.items()
    assert len(known) == said
