"""A campaign of faults: damaged files, deaths, hostile values. Nothing may go wrong in silence.

    python tests/benchmarks/faults.py                                  10,000 faults over all kinds
    python tests/benchmarks/faults.py stores --seeds 3 --faults 500    of one kind, from one seed
    python tests/benchmarks/faults.py stores --seeds 3 --only 17       one fault again, with its traceback

A kind is a module in `fault_kinds` with

    SHARE                           its part of all faults, beside the other kinds' SHAREs
    faults(seed, count, material)   yields `count` times a `Fault` (see `fault.py`), or fewer

They run where TMPDIR says; in memory (TMPDIR=/dev/shm) the campaign is much faster.

Fault number N of a seed is the same whatever `count` is. `material` is an empty folder for what the faults
of a seed share. Each fault has 20 s and 4 GB; a process of their own runs them, and is replaced if it hangs
or dies.

Prints how the faults ended: `right` (adamms gave the right result), `told` (an error that says what is
wrong) or, listed with their seeds and numbers, wrong ones: silently `wrong`, `traceback`, `hang`, `lost`
answers. The exit status is 1 if there are any.
"""

import argparse
import importlib
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType, ModuleType

import torch
from fault import Fault, Lost, Wrong

from adamms.errors import AdammsError

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "support"))  # for the kinds
SECONDS = 20.0  # for one fault
MATERIAL_SECONDS = 600.0
GRACE_SECONDS = 10.0  # until a fault that cannot be interrupted is killed
MEMORY = 4 << 30  # bytes of addresses
HOW = ("right", "told", "wrong", "traceback", "hang", "lost")


class Hang(BaseException):
    """A fault took too long."""


@dataclass(frozen=True)
class Batch:
    """Faults of one kind and seed."""

    kind: str
    seed: int
    count: int

    def faults(self, material: Path) -> Iterator[Fault]:
        module = _module(self.kind)
        yield from islice(module.faults(self.seed, self.count, material), self.count)


@dataclass(frozen=True)
class Ending:
    """How one fault ended.

    Args:
        how: one of HOW.
        what: the fault.
        why: the error's text.
    """

    batch: Batch
    number: int
    how: str
    what: str
    why: str

    def __str__(self) -> str:
        again = f"{self.batch.kind} --seeds {self.batch.seed} --only {self.number}"
        return f"{self.how}: {again}: {self.what}: {self.why:.300}"


def kinds() -> list[str]:
    return sorted(file.stem for file in (HERE / "fault_kinds").glob("*.py"))


def _module(kind: str) -> ModuleType:
    return importlib.import_module(f"fault_kinds.{kind}")


def plan(chosen: Sequence[str], seeds: Sequence[int], faults: int) -> list[Batch]:
    """`faults` over all kinds, by their shares, and seeds."""
    shares = {kind: _module(kind).SHARE for kind in chosen}
    total = sum(shares.values()) * len(seeds)
    return [Batch(kind, seed, -(-faults * shares[kind] // total)) for kind in chosen for seed in seeds]


def run(batch: Batch, seconds: float, first: int = 0) -> Iterator[Ending]:
    """The batch's faults from number `first` on, until they or the seconds are used up."""
    until, number = time.monotonic() + seconds, first
    while number < batch.count and time.monotonic() < until:
        here, there = multiprocessing.Pipe(duplex=False)
        with tempfile.TemporaryDirectory(prefix="faults_") as folder:
            child = os.fork()
            if child == 0:
                try:
                    here.close()
                    _work(batch, number, there, Path(folder))
                except BaseException:  # noqa: BLE001 - the child must not go on as its parent
                    traceback.print_exc()
                finally:
                    os._exit(1)
            there.close()
            try:
                for ending in _endings(batch, here, until):
                    yield ending
                    number = ending.number + 1
                if not here.closed:  # no more faults, or no more time
                    return
            finally:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)


def _endings(batch: Batch, here: Connection, until: float) -> Iterator[Ending]:
    """What the child sends. If it hangs or dies, that is the fault's ending, and `here` is closed.

    Raises:
        RuntimeError: it does so before its first fault.
    """
    number, what, wait = -1, "", MATERIAL_SECONDS
    while time.monotonic() < until:
        try:
            if not here.poll(wait):
                raise TimeoutError
            match here.recv():
                case None:
                    return
                case [int(number), str(what)]:
                    wait = SECONDS + GRACE_SECONDS
                case [str(how), str(why)]:
                    yield Ending(batch, number, how, what, why)
        except (EOFError, TimeoutError) as error:
            if number < 0:
                raise RuntimeError(f"{batch.kind}: the faults could not be prepared") from error
            died = isinstance(error, EOFError)
            how, why = ("traceback", "the interpreter died") if died else ("hang", "it had to be killed")
            yield Ending(batch, number, how, what, why)
            here.close()
            return


def _work(batch: Batch, first: int, there: Connection, folder: Path) -> None:
    """In the child: send (number, fault), then (how, why) for each fault; None at the end."""
    torch.set_num_threads(1)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    signal.signal(signal.SIGALRM, _hang)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    material, place = folder / "material", folder / "fault"
    material.mkdir()
    for number, fault in enumerate(batch.faults(material)):
        if number < first:
            continue
        there.send((number, fault.what))
        place.mkdir()
        there.send(_tried(fault, place))
        shutil.rmtree(place)
    there.send(None)
    time.sleep(GRACE_SECONDS)  # until the parent has read it, and kills


def _tried(fault: Fault, folder: Path) -> tuple[str, str]:
    """How the fault ended, and why."""
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        fault.trial(folder)
    except AdammsError as error:
        return "told", str(error)
    except Lost as error:
        return "lost", str(error)
    except Wrong as error:
        return "wrong", str(error)
    except Hang:
        return "hang", f"more than {SECONDS:g} s"
    except BaseException as error:  # noqa: BLE001 - whatever a user would have seen
        place = traceback.extract_tb(error.__traceback__)[-1]
        return "traceback", f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return "right", ""


def _hang(number: int, frame: FrameType | None) -> None:
    raise Hang


def again(batch: Batch, number: int) -> None:
    """One fault in this process: its traceback is Python's own."""
    with tempfile.TemporaryDirectory(prefix="faults_") as folder:
        material, place = Path(folder) / "material", Path(folder) / "fault"
        material.mkdir()
        place.mkdir()
        fault = next(islice(batch.faults(material), number, None))
        print(f"{batch.kind} {number}: {fault.what}", flush=True)
        fault.trial(place)
        print("right")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(kinds())}; all by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--faults", type=int, default=10_000, help="over all kinds and seeds")
    parser.add_argument("--minutes", type=float, default=60.0, help="faults that do not fit in are left out")
    parser.add_argument("--only", type=int, help="the number of one fault")
    given = parser.parse_args(arguments)
    chosen = given.kinds or kinds()
    if unknown := set(chosen).difference(kinds()):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; expected some of {', '.join(kinds())}")
    if given.only is not None:
        again(Batch(chosen[0], given.seeds[0], given.only + 1), given.only)
        return 0
    return campaign(plan(chosen, given.seeds, given.faults), 60 * given.minutes)


def campaign(batches: Sequence[Batch], seconds: float) -> int:
    """Run all and print the table; 1 if anything went wrong."""
    until = time.monotonic() + seconds
    counts = {batch.kind: Counter[str]() for batch in batches}
    bad = 0
    for position, batch in enumerate(batches):
        for ending in run(batch, (until - time.monotonic()) / (len(batches) - position)):
            counts[batch.kind][ending.how] += 1
            if ending.how not in ("right", "told"):
                bad += 1
                print(ending, flush=True)
    print(f"{'kind':12}" + "".join(f"{word:>10}" for word in ("tried", *HOW)) + f"{'left out':>10}")
    for kind, counted in counts.items():
        tried = counted.total()
        left = sum(batch.count for batch in batches if batch.kind == kind) - tried
        numbers = (tried, *(counted[how] for how in HOW), left)
        print(f"{kind:12}" + "".join(f"{number:>10}" for number in numbers))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
