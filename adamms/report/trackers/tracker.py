"""The interface of trackers, which record runs beside the output folder, and the one that records nothing.

Sees the configuration as plain data.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from adamms.report.result import Result, StageTiming


class Record(Protocol):
    """Hears how far a run is, what is known of candidates so far, and what it found."""

    def progress(self, stage: StageTiming) -> None:
        """Hear how far a stage is; often, and from any thread."""
        ...

    def so_far(self, known: Callable[[], Result], part: bool = False) -> None:
        """Hear what is known of some candidates before the end.

        Args:
            known: makes the result of what is known, with nothing else in it; not called if nobody keeps it.
            part: whether its scores are over a part of the labelled examples.
        """
        ...

    def __call__(self, result: Result) -> None:
        """Record what the run found."""
        ...


class NoRecord:
    """Keeps nothing."""

    def progress(self, stage: StageTiming) -> None:
        pass

    def so_far(self, known: Callable[[], Result], part: bool = False) -> None:
        pass

    def __call__(self, result: Result) -> None:
        pass


@dataclass(frozen=True)
class Job:
    """What a run is called on the command line, and where it stands among others.

    Args:
        choices: config group -> the option chosen, e.g. "merge" -> "ties".
        overrides: the settings as they were typed, e.g. "search.signal.rule=either".
        sweep: the folder that the jobs of one multirun share; None of a run on its own.
        varying: keys of the overrides that have several values in the multirun.
        pair: the models in words, where they are not the configured ones.
    """

    choices: Mapping[str, str] = field(default_factory=dict)
    overrides: Sequence[str] = ()
    sweep: str | None = None
    varying: Sequence[str] = ()
    pair: str | None = None


class Tracker(Protocol):
    """One run is one context: it is given the `Record` of the run."""

    def run(
        self, settings: Mapping[str, Any], job: Job, say: Callable[[str], None]
    ) -> AbstractContextManager[Record]:
        """Keep track of a run from its start; an exception that passes through marks it as failed.

        Args:
            settings: the whole configuration, resolved: plain dicts, lists, numbers and texts.
            job: the run's place among others.
            say: prints a line, which run.log keeps, too.
        """
        ...


class NoTracker:
    """Keeps track of nothing: what a run leaves is in its output folder."""

    @contextmanager
    def run(self, settings: Mapping[str, Any], job: Job, say: Callable[[str], None]) -> Iterator[Record]:
        yield NoRecord()
