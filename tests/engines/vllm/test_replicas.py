"""Streams drawn at the same time: everything arrives, in each stream's order; the first failure ends it."""

import threading
import time
from collections.abc import Iterator

import pytest

from adamms.engines.vllm.replicas import interleaved, together


def test_everything_arrives_in_each_streams_order() -> None:
    streams = [iter(range(start, start + 50)) for start in (0, 100, 200)]
    items = list(interleaved(streams))
    assert sorted(items) == [*range(50), *range(100, 150), *range(200, 250)]
    for start in (0, 100, 200):
        assert [item for item in items if start <= item < start + 50] == list(range(start, start + 50))


def test_streams_advance_together() -> None:
    """Each waits for the other, which one thread could not serve."""
    meeting = threading.Barrier(2, timeout=10)

    def stream(name: str) -> Iterator[str]:
        for turn in range(3):
            meeting.wait()
            yield f"{name}{turn}"

    assert sorted(interleaved([stream("a"), stream("b")])) == ["a0", "a1", "a2", "b0", "b1", "b2"]


def test_nothing_of_nothing() -> None:
    assert list(interleaved([])) == []
    assert list(interleaved([iter(()), iter([1])])) == [1]


def test_a_failure_comes_after_what_came_before_and_ends_the_others() -> None:
    drawn = []

    def fails() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    def goes_on() -> Iterator[int]:
        for item in range(10_000):
            drawn.append(item)
            time.sleep(0.001)
            yield item

    came = []
    with pytest.raises(ValueError, match="broken"):
        came.extend(interleaved([fails(), goes_on()]))
    assert len(drawn) < 5_000


def test_a_consumer_that_leaves_ends_the_streams() -> None:
    def endless() -> Iterator[int]:
        while True:
            time.sleep(0.001)
            yield 1

    items = interleaved([endless(), endless()])
    assert next(items) == 1
    items.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("adamms-replica")]


def test_together_at_the_same_time_and_its_error() -> None:
    meeting = threading.Barrier(2, timeout=10)
    together([1, 2], lambda _: meeting.wait())

    done = []

    def one_fails(worker: int) -> None:
        if worker == 1:
            raise ValueError("worker 1")
        time.sleep(0.05)
        done.append(worker)

    with pytest.raises(ValueError, match="worker 1"):
        together([1, 2], one_fails)
    assert done == [2]
