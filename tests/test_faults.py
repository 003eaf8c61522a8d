"""A small campaign of faults of every kind; the whole one is `python tests/benchmarks/faults.py`."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent / "benchmarks"
KINDS = sorted(file.stem for file in (BENCHMARKS / "fault_kinds").glob("*.py"))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_goes_wrong_in_silence(kind: str) -> None:
    command = [sys.executable, str(BENCHMARKS / "faults.py"), kind]
    command += ["--seeds", "0", "--faults", "40", "--minutes", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert kind in done.stdout
