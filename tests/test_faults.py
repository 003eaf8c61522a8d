"""A small campaign of faults of every kind; the whole one is `python tests/benchmarks/faults.py`."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent / "benchmarks"
KINDS = {file.stem for file in (BENCHMARKS / "fault_kinds").glob("*.py")}

pytestmark = pytest.mark.long


def test_nothing_goes_wrong_in_silence() -> None:
    command = [sys.executable, str(BENCHMARKS / "faults.py"), "--seeds", "0", "--faults", "480"]
    command += ["--minutes", "4"]  # at most: what does not fit in is left out
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    tried = dict(line.split()[:2] for line in done.stdout.splitlines()[1:])
    assert tried.keys() == KINDS
    assert min(map(int, tried.values())) > 0  # a loaded machine leaves many out
