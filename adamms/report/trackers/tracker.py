"""The interface of trackers, which record runs beside the output folder, and the one that records nothing.

Sees the configuration as plain data.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from adamms.report.result import Result

Record = Callable[[Result], None]


@dataclass(frozen=True)
class Job:
    """What a run is called on the command line, and where it stands among others.

    Args:
        choices: config group -> the option chosen, e.g. "merge" -> "ties".
        overrides: the settings as they were typed, e.g. "search.signal.rule=either".
        sweep: the folder that the jobs of one multirun share; None of a run on its own.
        pair: the models in words, where they are not the configured ones.
    """

    choices: Mapping[str, str] = field(default_factory=dict)
    overrides: Sequence[str] = ()
    sweep: str | None = None
    pair: str | None = None


class Tracker(Protocol):
    """One run is one context: it is given a function that records what the run found."""

    def run(self, settings: Mapping[str, Any], job: Job) -> AbstractContextManager[Record]:
        """Keep track of a run from its start; an exception that passes through marks it as failed.

        Args:
            settings: the whole configuration, resolved: plain dicts, lists, numbers and texts.
            job: the run's place among others.
        """
        ...


class NoTracker:
    """Keeps track of nothing: what a run leaves is in its output folder."""

    @contextmanager
    def run(self, settings: Mapping[str, Any], job: Job) -> Iterator[Record]:
        yield lambda result: None
