"""What one matrix costs the methods that decompose or optimise it: processor time and memory, on one thread.

    python tests/benchmarks/matrices.py --rows 896 --columns 2368 --models 2 [--method swudi,wudi2]

Each method merges the same random matrix in a process of its own. Peak memory is what the process grew by,
operands and the library's own room included.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
METHODS = "tsv,iso_c,iso_cts,wudi,wudi2,swudi,aswudi"


def merge_one(name: str, rows: int, columns: int, models: int) -> None:
    """Print the seconds and the MB of one merge."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests/support")]
    from configured import configured

    from adamms.merge.method import TARGET, Chunk

    torch.set_num_threads(1)
    small = torch.eye(8, dtype=torch.float64)
    torch.linalg.eigh(small), torch.linalg.svd(small), torch.linalg.qr(small)  # which load the library
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    generator = torch.Generator().manual_seed(0)

    def drawn() -> torch.Tensor:
        return torch.randn(rows, columns, generator=generator, dtype=torch.float64)

    ancestor = drawn()
    operands = {name: ancestor + 0.1 * drawn() for name in [TARGET, *map(str, range(1, models))]}
    target, shares = operands.pop(TARGET), dict.fromkeys(operands, 1 / models)
    chunk = Chunk("w", (rows, columns), 0, target, operands, ancestor, shares)
    start = time.process_time()
    configured(f"merge/{name}").merge(chunk)
    seconds = time.process_time() - start
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 1e6
    print(f"{name:8} {seconds:8.1f} s {grown:8.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=896)
    parser.add_argument("--columns", type=int, default=2368)
    parser.add_argument("--models", type=int, default=2)
    parser.add_argument("--method", default=METHODS)
    given = parser.parse_args()
    names = given.method.split(",")
    if len(names) == 1:
        merge_one(names[0], given.rows, given.columns, given.models)
        return
    sizes = ["--rows", str(given.rows), "--columns", str(given.columns), "--models", str(given.models)]
    for name in names:
        subprocess.run([sys.executable, __file__, *sizes, "--method", name], check=True)


if __name__ == "__main__":
    main()
