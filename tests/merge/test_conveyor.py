"""What goes over a conveyor comes back in order, whole, few at a time, whatever the device's pace."""

from collections.abc import Iterator

import pytest
import torch
from fake_tracks import ThreadTracks

from adamms.merge.conveyor import TRAYS, Conveyor, Tensors, Track
from adamms.merge.device import CudaTracks, check_device

PAUSE = 0.004


def loads(count: int, asked: list[int] | None = None) -> Iterator[tuple[int, Tensors]]:
    """Chunks of different sizes and dtypes; one memory for all, overwritten when the next is asked for."""
    memory = torch.empty(64)
    for number in range(count):
        if asked is not None:
            asked.append(number)
        own = memory[: 1 + number * 7 % 60].fill_(number)
        other = torch.arange(3 + number % 4, dtype=torch.bfloat16 if number % 2 else torch.float64)
        yield number, {"own": own, "other": other}


def work(number: int, tensors: Tensors) -> Tensors:
    assert tensors["own"].eq(number).all()
    return {"sum": tensors["own"] + tensors["other"].sum(), "count": torch.tensor(len(tensors["own"]))}


@pytest.mark.parametrize("seed", range(3))
def test_everything_comes_back_in_order(seed: int) -> None:
    with ThreadTracks(pause=PAUSE, seed=seed) as tracks:
        conveyor = Conveyor(tracks)
        for _ in range(2):  # it can be used again
            found = []
            for landed in conveyor.through(loads(20), work):
                own, other = (tensor.clone() for tensor in landed.sent.values())
                assert landed.results["sum"].equal(own + other.sum())
                assert landed.results["count"] == len(own)
                assert own.eq(landed.key).all()
                found.append(landed.key)
            assert found == list(range(20))


@pytest.mark.parametrize("trays", [1, 2, TRAYS])
def test_few_are_under_way_in_memory_that_is_used_again(trays: int) -> None:
    with ThreadTracks() as tracks:
        asked: list[int] = []
        conveyor = Conveyor(tracks, trays)
        same = ((number, {"a": torch.ones(8)}) for number, _ in loads(30, asked))
        for seen, _ in enumerate(conveyor.through(same, lambda _, tensors: {"b": tensors["a"]})):
            assert len(asked) <= seen + trays
        assert tracks.staged == 2 * trays  # there and back


def test_the_way_there_is_taken_while_others_are_at_work() -> None:
    """All chunks for which there are trays have been brought before the first has been worked on."""
    with ThreadTracks() as tracks:

        def patient(number: int, tensors: Tensors) -> Tensors:
            while number == 0 and tracks.jobs.count(Track.IN) < 3:
                pass
            return work(number, tensors)

        found = [landed.key for landed in Conveyor(tracks).through(loads(5), patient)]
    assert found == list(range(5))


def test_arrivals_are_there_until_the_next_is_asked_for() -> None:
    with ThreadTracks(pause=PAUSE) as tracks:
        asked: list[int] = []
        for seen, (number, tensors) in enumerate(Conveyor(tracks).arrivals(loads(20, asked))):
            assert number == seen
            assert len(asked) <= seen + TRAYS
            work(number, tensors)
        assert seen == 19
        assert Track.OUT not in tracks.jobs


class BrokenError(Exception):
    """What goes wrong in these tests."""


def test_an_error_at_work_ends_it_and_leaves_nothing_under_way() -> None:
    def breaks(number: int, tensors: Tensors) -> Tensors:
        if number == 4:
            raise BrokenError(f"chunk {number}")
        return work(number, tensors)

    with ThreadTracks(pause=PAUSE) as tracks:
        conveyor = Conveyor(tracks)
        found = []
        walk = (found.append(landed.key) for landed in conveyor.through(loads(20), breaks))
        with pytest.raises(BrokenError, match="chunk 4"):
            list(walk)
        assert found == [0, 1, 2, 3]
        assert not tracks.busy


def test_an_error_in_what_is_sent_does_too() -> None:
    def broken() -> Iterator[tuple[int, Tensors]]:
        yield from loads(5)
        raise BrokenError("no more")

    with ThreadTracks(pause=PAUSE) as tracks:
        with pytest.raises(BrokenError, match="no more"):
            list(Conveyor(tracks).through(broken(), work))
        assert not tracks.busy


def test_who_stops_asking_leaves_nothing_under_way() -> None:
    with ThreadTracks(pause=PAUSE) as tracks:
        conveyor = Conveyor(tracks)
        for walk in (conveyor.through(loads(20), work), conveyor.arrivals(loads(20))):
            next(walk)
            assert tracks.busy or tracks.jobs
            walk.close()
            assert not tracks.busy


@pytest.mark.cuda
def test_everything_comes_back_in_order_from_a_gpu() -> None:
    gpu = check_device("cuda")

    def on_gpu(number: int, tensors: Tensors) -> Tensors:
        values = tensors["values"].double()
        for _ in range(50):
            values = values + 1
        return {"values": values.float()}

    sent = [(number, {"values": torch.full((1 << 20,), float(number))}) for number in range(30)]
    conveyor = Conveyor(CudaTracks(gpu))
    for _ in range(3):
        for number, landed in enumerate(conveyor.through(sent, on_gpu)):
            assert landed.key == number
            assert landed.results["values"].eq(number + 50).all()
        for number, tensors in conveyor.arrivals(sent):
            assert tensors["values"].eq(number).all()
