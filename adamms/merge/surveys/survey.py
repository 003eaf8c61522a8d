"""Runs surveys: what a method must know of a tensor or of the whole model, counted chunk by chunk.

Owns the passes and their threads. The method decides what is counted; the recipe makes the chunks.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from adamms.mapping.plan import Slot
from adamms.merge.method import Chunk, Statistics, Summary, Survey
from adamms.system.threads import default_workers, in_order

# (slot, whether the chunks hold stored values)
Chunks = Callable[[Slot, bool], Iterable[Chunk]]
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Then:
    """A survey followed by another, or by a conclusion, which is made from what the first finds.

    Args:
        first: the survey to begin with.
        second: what the first finds -> the survey that follows it, or what was wanted.
        more: how many passes the second has.
    """

    first: Survey
    second: Callable[[Any], Survey | Statistics]
    more: int = 1

    @property
    def scope(self) -> Literal["model", "tensor"]:
        return self.first.scope

    @property
    def passes(self) -> int:
        return self.first.passes + self.more

    def empty(self) -> Summary:
        return self.first.empty()

    def conclude(self, found: Any) -> Survey | Statistics:
        step = self.first.conclude(found)
        return self.second(step) if isinstance(step, Statistics) else replace(self, first=step)


def measure(
    survey: Survey,
    slots: Sequence[Slot],
    chunks: Chunks,
    workers: int | None = None,
    advance: Advance = lambda _: None,
) -> Statistics:
    """Go through the slots as often as the survey asks, and return what it finds.

    Args:
        survey: the first pass.
        slots: what it covers.
        chunks: (slot, whether they are to hold stored values) -> its chunks.
        workers: threads; by default one per processor; 0 for the caller's thread.
        advance: called with the bytes of the target that were just read.
    """
    step: Survey | Statistics = survey
    while not isinstance(step, Statistics):
        step = step.conclude(_pass(step, slots, chunks, workers, advance))
    return step


def _pass(
    survey: Survey, slots: Sequence[Slot], chunks: Chunks, workers: int | None, advance: Advance
) -> Summary:
    def summary_of(slot: Slot) -> Summary:
        summary = survey.empty()
        for chunk in chunks(slot, summary.stored):
            summary.add(chunk)
        advance(slot.nbytes)
        return summary

    total = survey.empty()
    if workers == 0:
        for slot in slots:
            total += summary_of(slot)
        return total
    largest_first = sorted(slots, key=lambda slot: -slot.nbytes)
    # A few at a time, so that few summaries wait to be added up.
    for _, summary in in_order(largest_first, summary_of, workers or default_workers()):
        total += summary
    return total
