"""Who keeps track of runs besides the output folder: nobody, unless `track` says otherwise.

Owns the interface. Knows no configuration but as plain data.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from adamms.track.result import RunResult

Record = Callable[[RunResult], None]


class Tracker(Protocol):
    """One run is one context: it is given a function that records what the run found."""

    def run(self, settings: Mapping[str, Any]) -> AbstractContextManager[Record]:
        """Keep track of a run from its start; an exception that passes through marks it as failed.

        Args:
            settings: the whole configuration, resolved: plain dicts, lists, numbers and texts.
        """
        ...


class NoTracker:
    """Keeps track of nothing: what a run leaves is in its output folder."""

    @contextmanager
    def run(self, settings: Mapping[str, Any]) -> Iterator[Record]:
        yield lambda result: None
