"""How fast adamms merges, and in how much memory, side by side with other ways to do it.

    python tests/benchmarks/merge.py --gb 4.8 --rounds 3 [--method ties]

Makes a Qwen2-VL-like target and a LLaVA-OneVision-like donor of the chosen size, then runs in turn,
each as a process of its own and all files in the page cache:

    cp            cp -r of the target: what writing the result costs at the least; it may be in memory only
    cp + sync     the same until it is on the disk, as what adamms writes is when it ends
    state dicts   load both models whole, interpolate, save: what a script does
    adamms first  the command line, mapping included, on models new to it, whose classes it has to import
    adamms        the same again, as every later run: what the classes said is kept
    adamms half   the same on a model half as large: memory must not grow with the model
    adamms plan   the command line without the merge: what starting Python and mapping cost
    ..., tmpfs    into /dev/shm, where there is one: no disk is waited for

`--method ties` (any of conf/merge) runs the adamms commands with that method, and with a third model as
the ancestor. `--methods all` does that for every method but those that decompose or optimise each matrix,
and compares no others.

Wall is the whole process, interpreter start included; `user` and `system` are the time on all processors, and
`cpu` their sum, which other processes on the machine disturb less. In a virtual machine the system time of
writing to memory depends on whether the host has to find that memory first: compare within a round. Peak
anonymous memory is sampled from /proc every 10 ms; mapped files, which the system can drop, do not count.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from merge_models import Models, heterogeneous

ROOT = Path(__file__).resolve().parents[2]
MEMORY = Path("/dev/shm")
PER_MATRIX = ("tsv", "iso_c", "iso_cts", "wudi", "wudi2", "swudi", "aswudi")
WITHOUT_ANCESTOR = ("linear", "slerp", "karcher", "nuslerp", "multislerp", "arcee_fusion")

STATE_DICT_MERGE = """
import sys
from pathlib import Path
import torch
from safetensors.torch import load_file, save_file

target, donor, out = map(Path, sys.argv[1:4])

def load(folder):
    return {name: t for file in sorted(folder.glob("*.safetensors")) for name, t in load_file(file).items()}

merged, other = load(target), load(donor)
for name, tensor in merged.items():
    source = other.get("language_model." + name)
    if source is not None:
        merged[name] = torch.lerp(tensor, source, 0.3)
out.mkdir()
save_file(merged, out / "model.safetensors", metadata={"format": "pt"})
"""


@dataclass(frozen=True)
class Contender:
    """A command to measure.

    Args:
        command: makes the output folder.
        reads: folders whose files are brought into the page cache before.
        gigabytes: of the model that it makes.
        output: the folder that it makes.
    """

    command: Sequence[str]
    reads: Sequence[Path]
    gigabytes: float
    output: Path


@dataclass(frozen=True)
class Measurement:
    """One run: seconds of the whole process, seconds of processors, and its peak anonymous memory in GB."""

    wall: float
    user: float
    system: float
    anonymous_gb: float

    @property
    def cpu(self) -> float:
        return self.user + self.system


Runs = Mapping[str, Sequence[Measurement]]


def measure(contender: Contender, folder: Path) -> Measurement:
    """Run it once, in `folder`. The disk is settled and the inputs are read before; the output is removed."""
    shutil.rmtree(contender.output, ignore_errors=True)
    os.sync()
    files = [str(file) for folder in contender.reads for file in sorted(folder.glob("*.safetensors"))]
    subprocess.run(["cat", *files], stdout=subprocess.DEVNULL, check=True)
    log = folder / "log.txt"
    start = time.perf_counter()
    with log.open("w") as sink:
        process = subprocess.Popen(contender.command, stdout=sink, stderr=subprocess.STDOUT, cwd=folder)
    peak = 0
    while True:
        peak = max(peak, anonymous_kib(process.pid))
        found, status, usage = os.wait4(process.pid, os.WNOHANG)
        if found:
            break
        time.sleep(0.01)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{contender.command} failed:\n{log.read_text()}")
    shutil.rmtree(contender.output)
    return Measurement(wall, usage.ru_utime, usage.ru_stime, peak * 1024 / 1e9)


def anonymous_kib(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return max([0, *(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))])


def adamms(
    models: Models,
    method: str,
    output: Path,
    mode: str = "merge",
    first: bool = False,
    overrides: Sequence[str] = (),
) -> Contender:
    """The command line; `first` with an empty cache."""
    needs, cache = method not in WITHOUT_ANCESTOR, models.target.parent / "cache"
    reads = [models.target, models.donor, *([models.ancestor] if needs else [])]
    command = [
        *(sys.executable, str(ROOT / "run.py"), f"mode={mode}", "model=custom", f"merge={method}"),
        "plan.force=true",  # the weights are random
        *(f"model.target.path={models.target}", f"model.donors.a.path={models.donor}", "merge.alpha=0.3"),
        *([f"model.ancestor.path={models.ancestor}"] if needs else []),
        *(f"output={output}", f"hydra.run.dir={models.target.parent / 'hydra'}", f"cache={cache}"),
        *overrides,
    ]
    if first:
        command = ["sh", "-c", 'rm -rf "$0" && exec "$@"', str(cache), *command]
    return Contender(command, reads, models.target_gb, output)


def copy(models: Models, output: Path, sync: bool = False) -> Contender:
    script = 'cp -r "$0" "$1"' + (' && sync "$1"/* "$1"' if sync else "")
    command = ["sh", "-c", script, str(models.target), str(output)]
    return Contender(command, [models.target], models.target_gb, output)


def state_dicts(models: Models, output: Path) -> Contender:
    target, donor = models.target, models.donor
    command = [sys.executable, "-c", STATE_DICT_MERGE, str(target), str(donor), str(output)]
    return Contender(command, [target, donor], models.target_gb, output)


def run_all(contenders: Mapping[str, Contender], rounds: int, folder: Path) -> Runs:
    runs: dict[str, list[Measurement]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            runs[name].append(measure(contender, folder))
            found, load = runs[name][-1], os.getloadavg()[0]
            print(
                f"{name}: {found.wall:.2f} s, user {found.user:.2f}, system {found.system:.2f}, "
                f"{found.anonymous_gb:.2f} GB; load {load:.1f}",
                flush=True,
            )
    return runs


def report(title: str, contenders: Mapping[str, Contender], runs: Runs, references: Sequence[str]) -> None:
    """Medians, and ratios taken round by round, so that they hold when the machine's speed drifts."""

    def ratio(name: str, other: str, what: str) -> float:
        """Per byte of the model that is made."""
        scale = contenders[other].gigabytes / contenders[name].gigabytes
        pairs = zip(runs[name], runs[other], strict=True)
        return scale * statistics.median(getattr(a, what) / getattr(b, what) for a, b in pairs)

    rounds, load = len(next(iter(runs.values()))), os.getloadavg()[0]
    print(
        f"\n{title}; {rounds} rounds, {os.cpu_count()} processors, load {load:.1f}; medians, ratios per byte"
    )
    heads = "".join(f"{'/ ' + name:>15}{'(cpu)':>8}" for name in references)
    print(f"{'':24}{'GB':>6}{'wall s':>8}{'user s':>8}{'system s':>10}{'anonymous GB':>14}{heads}")
    for name, measured in runs.items():
        wall, user, system, memory = (
            statistics.median(getattr(run, what) for run in measured)
            for what in ("wall", "user", "system", "anonymous_gb")
        )
        ratios = "".join(
            f"{ratio(name, other, 'wall'):15.2f}{ratio(name, other, 'cpu'):8.2f}" for other in references
        )
        size = contenders[name].gigabytes
        print(f"{name:24}{size:6.2f}{wall:8.2f}{user:8.2f}{system:10.2f}{memory:14.2f}{ratios}", flush=True)


def against_plain_ways(folder: Path, gigabytes: float, method: str, rounds: int) -> None:
    needs, output = method not in WITHOUT_ANCESTOR, folder / "output"
    whole = heterogeneous(folder / "whole", gigabytes, needs)
    half = heterogeneous(folder / "half", gigabytes / 2, needs)
    contenders = {
        "cp": copy(whole, output),
        "cp + sync": copy(whole, output, sync=True),
        "state dicts": state_dicts(whole, output),
        "adamms first": adamms(whole, method, output, first=True),
        "adamms": adamms(whole, method, output),
        "adamms plan": adamms(whole, method, output, "plan"),
        "adamms half": adamms(half, method, output),
    }
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else folder) as temporary:
        if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 2e9 * whole.target_gb:
            place = Path(temporary) / "output"
            contenders |= {"cp, tmpfs": copy(whole, place), "adamms, tmpfs": adamms(whole, method, place)}
        measure(contenders["adamms half"], folder)  # so that it is no first run
        runs = run_all(contenders, rounds, folder)
    report(f"merge={method}", contenders, runs, [name for name in contenders if name.startswith("cp")])


def every_method(folder: Path, gigabytes: float, rounds: int) -> None:
    """Wall and memory of each at the whole and the half size."""
    output = folder / "output"
    whole = heterogeneous(folder / "whole", gigabytes, ancestor=True)
    half = heterogeneous(folder / "half", gigabytes / 2, ancestor=True)
    methods = sorted(file.stem for file in (ROOT / "conf/merge").glob("*.yaml"))
    contenders = {
        f"{method}{name}": adamms(models, method, output)
        for models, name in ((whole, ""), (half, ", half"))
        for method in methods
        if method not in PER_MATRIX
    }
    report("every method", contenders, run_all(contenders, rounds, folder), ("linear",))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gb", type=float, default=4.8, help="size of the target in GB")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--folder", type=Path, help="where the checkpoints go and stay; a temporary folder by default"
    )
    parser.add_argument("--method", default="linear", help="of conf/merge; several with commas")
    parser.add_argument("--methods", choices=["all"], help="every method's time and memory instead")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if arguments.methods:
            every_method(folder, arguments.gb, arguments.rounds)
            return
        for method in arguments.method.split(","):
            against_plain_ways(folder, arguments.gb, method, arguments.rounds)


if __name__ == "__main__":
    main()
