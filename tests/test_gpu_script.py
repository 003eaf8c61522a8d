"""`tests/benchmarks/gpu.py` where there is no GPU: tiny sizes, on the processor."""

import importlib
import os
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parent / "benchmarks"
pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there it would take its eight minutes")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("gpu")


@pytest.fixture
def gpu_parts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("gpu_parts")


def test_merges_and_swaps_are_compared(gpu_parts: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    given = Namespace(layers=0)
    gpu_parts.merge(given)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert len(rows) > 10
    assert {row[2] for row in rows} == {"0"}  # tensors that differ
    gpu_parts.swaps(given)
    assert "the same weights from all sources: True" in capsys.readouterr().out


def test_the_demos_search_is_counted(gpu_parts: ModuleType, kin: Path, capsys) -> None:
    gpu_parts.demo(Namespace(models=kin))
    assert "demo on cpu: alpha " in capsys.readouterr().out


def test_a_part_is_cut_at_its_limit_and_leaves_what_it_said_and_no_files(gpu: ModuleType) -> None:
    said = (
        "import os, tempfile, time\n"
        "print(tempfile.mkdtemp(prefix=f'adamms-gpu-{os.getppid()}-'), flush=True); time.sleep(600)"
    )
    _, folder, end = gpu.lines_of("demo", [sys.executable, "-c", said], 5, os.environ)
    assert end.startswith("== demo: cut off after 5 s")
    assert not Path(folder).exists()


def test_a_part_that_fails_is_said_and_the_next_goes_on(gpu: ModuleType, tmp_path: Path, monkeypatch) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text("import sys; print('at', sys.argv[1]); sys.exit(sys.argv[1] == 'merge')")
    monkeypatch.setattr(gpu, "WORKER", worker)
    results = tmp_path / "results.txt"
    given = ["--parts", "merge,swaps", "--results", str(results), "--wheels", str(tmp_path)]
    assert gpu.main(given) == 1
    kept = results.read_text().splitlines()
    assert kept[1] == "at merge"
    assert kept[2].startswith("== merge: failed (1)")
    assert kept[4] == "at swaps"
    assert kept[5].startswith("== swaps: done")
