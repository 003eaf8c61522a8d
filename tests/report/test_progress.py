"""Stages: counted from many threads, and told in plain lines off a terminal."""

import io
import re
import threading

import pytest

from adamms.report.console import Console
from adamms.report.progress import Meter, heartbeat, notebook_bar


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_line_of_progress_gives_count_time_throughput_and_time_to_go():
    clock = Clock()
    meter = Meter("search", 1100, "answers", clock)
    meter.advance(340)
    clock.now += 4.0
    assert meter.progress() == "search: 340 of 1100 answers, 4.0 s (85.0/s), 8.9 s to go"
    meter.advance(760)
    clock.now += 8.3
    assert meter.final() == "search: 1100 answers in 12.3 s (89.4/s)"


def test_one_is_no_plural():
    meter = Meter("search target", 1, "answers", Clock())
    meter.advance(1)
    assert meter.final() == "search target: 1 answer in 0.0 s"


def test_bytes_are_shown_with_a_prefix():
    clock = Clock()
    meter = Meter("merge", 4_810_000_000, "bytes", clock)
    meter.advance(481_000_000)
    clock.now += 0.5
    assert meter.progress() == "merge: 0.48 of 4.81 GB, 0.5 s (962 MB/s), 4.5 s to go"
    meter.advance(4_329_000_000)
    clock.now += 0.5
    assert meter.final() == "merge: 4.81 GB in 1.0 s (4.81 GB/s)"


def test_without_a_total_or_a_unit_nothing_is_made_up():
    clock = Clock()
    counted, plain = Meter("read", None, "tensors", clock), Meter("load", None, "", clock)
    counted.advance(10)
    clock.now += 5.0
    assert counted.progress() == "read: 10 tensors, 5.0 s (2.00/s)"
    assert plain.progress() == plain.final() == "load: 5.0 s"


def test_advance_loses_nothing_between_threads():
    console = Console(io.StringIO())
    with console.stage("search", 80_000, "answers") as advance:
        threads = [
            threading.Thread(target=lambda: [advance(1) for _ in range(10_000)] and None) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert console.timings[0].count == 80_000


def test_a_heartbeat_speaks_while_the_work_is_going_on():
    said: list[str] = []
    spoken = threading.Event()
    meter = Meter("search", 10, "answers")
    meter.advance(4)

    def say(line: str) -> None:
        said.append(line)
        spoken.set()

    with heartbeat(meter, say, patience=0.001, interval=0.001):
        assert spoken.wait(timeout=10)
    assert said[0].startswith("search: 4 of 10 answers")


def test_off_a_terminal_a_stage_ends_in_one_plain_line():
    file, clock = io.StringIO(), Clock()
    console = Console(file, clock=clock)
    with console.stage("search", 1100, "answers") as advance:
        advance(1100)
        clock.now += 12.3
    assert file.getvalue() == "search: 1100 answers in 12.3 s (89.4/s)\n"
    (timing,) = console.timings
    assert (timing.title, timing.count, timing.unit) == ("search", 1100, "answers")
    assert timing.seconds == pytest.approx(12.3)


def test_off_a_terminal_a_long_stage_says_how_far_it_is():
    file = io.StringIO()
    spoken = threading.Event()

    class Watched(io.StringIO):
        def write(self, text: str) -> int:
            spoken.set()
            return file.write(text)

    with Console(Watched(), patience=0.001).stage("search", 10, "answers") as advance:
        advance(3)
        assert spoken.wait(timeout=10)
    first, *_, last = file.getvalue().splitlines()
    assert first.startswith("search: ")
    assert "of 10 answers" in first
    assert last.startswith("search: 3 answers in ")


def test_a_stage_that_fails_says_so_and_is_not_timed():
    file = io.StringIO()
    console = Console(file)

    def fail() -> None:
        with console.stage("search", 10, "answers") as advance:
            advance(3)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert file.getvalue().startswith("search: stopped after 3 of 10 answers in ")
    assert console.timings == ()


def test_on_a_terminal_there_is_a_bar_and_the_final_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    file = io.StringIO()
    with Console(file, width=80).stage("search", 10, "answers") as advance:
        advance(4)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    assert "4 of 10 answers" in text
    assert text.splitlines()[-1].startswith("search: 4 answers in ")
    assert "\x1b" in file.getvalue()


def test_in_a_notebook_there_is_a_bar_that_moves_and_goes(monkeypatch: pytest.MonkeyPatch):
    shown: list[str] = []
    moved = threading.Event()

    class Handle:
        def update(self, data: dict[str, str], raw: bool) -> None:
            shown.append(data["text/html"])
            if 'value="4"' in shown[-1]:
                moved.set()

    def display(data: dict[str, str], raw: bool, display_id: bool) -> Handle:
        shown.append(data["text/html"])
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    meter = Meter("a < b", 10, "answers")
    with notebook_bar(meter):
        meter.advance(4)
        assert moved.wait(60)
    assert all(line.startswith('<progress value="4" max="10"></progress> a &lt; b: ') for line in shown[:-1])
    assert shown[-1] == ""
