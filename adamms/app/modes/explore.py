"""mode=explore: a page with a slider over one live engine."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated

from annotated_types import Ge, Le
from pydantic import PositiveInt

from adamms.app.distance import distances, verify
from adamms.app.explorer.dials import dials_of, weighed
from adamms.app.explorer.explorer import Explorer
from adamms.app.explorer.server import check_gradio, listen, serve
from adamms.app.live import check_runnable, check_target
from adamms.app.modes.common import map_models
from adamms.app.questions import load_questions
from adamms.app.settings import Run
from adamms.data.example import Label
from adamms.engines.base import EngineSettings
from adamms.merge.candidate import Candidate
from adamms.report.console import Console
from adamms.report.result import Result
from adamms.search.candidates import subset


def explore(
    run: Run,
    console: Console,
    host: str,
    port: Annotated[int, Ge(1), Le(65535)] | None,
    examples: PositiveInt,
    likeliest: PositiveInt,
) -> Result:
    """Open the models, ask the donors, and serve the page until it is ended.

    Args:
        host, port: where; port None for the first free one.
        examples: of each task that are on the page.
        likeliest: tokens whose probabilities are shown at every place of an answer.

    Raises:
        AdammsError: no gradio, a port that is taken; whatever is wrong with the models or the data.
    """
    check_gradio()
    listener = listen(host, port)
    with listener, opened(run, console, examples, likeliest) as (explorer, labels):
        serve(explorer, listener, labels)
    return Result(title=f"Explored {explorer.merges.models.target.name}", timings=console.timings)


@contextmanager
def opened(
    run: Run, console: Console, examples: int, likeliest: int
) -> Iterator[tuple[Explorer, Mapping[str, Label]]]:
    """What the page shows, with the donors' answers, and the labels; the engine ends with the body."""
    assert isinstance(run.engine, EngineSettings)
    engine = replace(run.engine, logprobs=max(likeliest, run.engine.logprobs))
    run = weighed(replace(run, engine=engine, scorer=None, score_control=False))
    questions = load_questions(run, console)
    drawn = subset([(example.id, example.task) for example in questions.inputs], examples, run.seed)
    shown = [example for example in questions.inputs if example.id in drawn[example.task]]
    check_target(run, console, shown)
    merges = map_models(run, console)
    check_runnable(run, merges.models.target)
    checks = verify(run, console, merges) or distances(console, merges)
    start = Candidate.of({dial.key: dial.now for dial in dials_of(run)})
    merges = merges.measured([*run.grid, start], console.stage)
    with Explorer(run, console, merges, shown, checks) as explorer:
        explorer.ask_donors(shown)
        yield explorer, questions.data.answers
