"""What each mode costs before and beside its work: processor seconds of whole processes on tiny models.

    python tests/benchmarks/start.py --rounds 3

Each command is a process of its own, in turns, with the files in the page cache. Processor seconds are
user and system time, which other work on the machine disturbs less than wall time. Subtracted from some is

    import torch   what Python with torch costs
    engine         a process that starts engine=transformers on the target and answers one question

"Once more" is on models that an earlier run has seen, so that it need not import their classes. The search
finds all answers in the store. Then it prints, of the modes, the packages that take the longest to import,
by python -X importtime: without the packages that they import themselves.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from adamms.demo.factory import build

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from measured import Run, medians, run

ROOT = Path(__file__).resolve().parents[2]
# Starts the engine as a search does, and has it answer.
ENGINE = """
import sys
from pathlib import Path
sys.path.insert(0, {support!r})
from configured_engines import transformers_engine
from adamms.data.example import Example
with transformers_engine(Path({target!r})) as engine:
    assert list(engine.generate([Example("a", "a", "which digit is red")]))
"""
# What is measured -> what is subtracted from it, and the most that may then be left.
WANTED = {
    "--help": ("", 1.0),
    "plan, by specs": ("import torch", 1.0),
    "plan, by classes": ("import torch", None),
    "the same, once more": ("import torch", 1.0),
    "merge, by specs": ("import torch", 1.5),
    "merge, once more": ("import torch", 1.5),
    "doctor": ("", None),
    "search": ("engine", 3.0),
}


def commands(folder: Path) -> dict[str, list[str]]:
    """What is measured: its name -> the command."""
    build(folder / "demo", effort=0.001)
    target, donor, ancestor = (folder / "demo" / name for name in ("target", "donor", "ancestor"))
    own = [f"cache={folder}", f"output={folder / 'output'}", f"hydra.run.dir={folder / 'hydra'}"]
    program = [sys.executable, str(ROOT / "run.py")]

    def pair(mode: str, target: Path, donor: Path) -> list[str]:
        paths = [f"model.target.path={target}", f"model.donors.a.path={donor}"]
        return [*program, f"mode={mode}", "model=custom", *paths, *own]

    searched = ["data=digits", "experiment=demo", "evaluate.control=false"]
    engine = ENGINE.format(support=str(ROOT / "tests/support"), target=str(target))
    classes = pair("plan", target, donor)
    return {
        "import torch": [sys.executable, "-c", "import torch"],
        "engine": [sys.executable, "-c", engine],
        "--help": [*program, "--help"],
        "plan, by specs": pair("plan", ancestor, ancestor),
        "plan, by classes": ["sh", "-c", 'rm -rf "$0" && exec "$@"', str(folder / "classes"), *classes],
        "the same, once more": classes,
        "merge, by specs": pair("merge", ancestor, ancestor),
        "merge, once more": pair("merge", target, donor),
        "doctor": pair("doctor", target, donor),
        "search": [*pair("search", target, donor), *searched],
    }


def imports(command: list[str], folder: Path, shown: int) -> str:
    """The packages that take the longest to import, in milliseconds, without what they import."""
    shutil.rmtree(folder / "output", ignore_errors=True)
    start = command.index(sys.executable)
    timed = [*command[: start + 1], "-X", "importtime", *command[start + 1 :]]
    said = subprocess.run(timed, capture_output=True, text=True, check=True, cwd=folder).stderr
    lines = re.findall(r"^import time: +(\d+) \| +\d+ \| +(\w+)", said, re.MULTILINE)
    packages: Counter[str] = Counter()
    for microseconds, package in lines:
        packages[package] += int(microseconds)
    return ", ".join(f"{name} {spent / 1000:.0f}" for name, spent in packages.most_common(shown))


def measure(folder: Path, rounds: int) -> dict[str, Run]:
    """The median of each command."""
    measured = commands(folder)
    runs: dict[str, list[Run]] = {name: [] for name in measured}
    for number in range(rounds + 1):  # the first fills the page cache and the store
        for name, command in measured.items():
            shutil.rmtree(folder / "output", ignore_errors=True)
            found = run(command, folder)
            if number:
                runs[name].append(found)
    return {name: medians(found) for name, found in runs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--packages", type=int, default=8, help="shown of each mode")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = measure(folder, arguments.rounds)
        print(f"{'':20}{'processor s':>12}{'beside':>16}{'own':>7}{'wanted':>8}{'wall s':>8}")
        for what, run_ in found.items():
            beside, wanted = WANTED.get(what, ("", None))
            own = run_.processor - (found[beside].processor if beside else 0)
            print(f"{what:20}{run_.processor:12.2f}{beside:>16}{own:7.2f}{wanted or '':>8}{run_.wall:8.2f}")
        print("\nms of importing, by package:")
        for what, command in commands(folder).items():
            if what not in ("import torch", "engine"):
                print(f"  {what:20}{imports(command, folder, arguments.packages)}")


if __name__ == "__main__":
    main()
