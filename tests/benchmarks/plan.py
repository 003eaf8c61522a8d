"""How long a plan of the paper's largest pairs takes, from headers of full size, beside reading them plainly.

    python tests/benchmarks/plan.py --rounds 3

Writes checkpoints with the published names, shapes and shards whose weights are holes in the files
(`du` shows a few MB), then runs in turn, each as a process of its own and the files in the page cache:

    import torch   what starting Python with torch costs
    plain          the same and reading every header with the files' own libraries
    adamms         the command line: python run.py mode=plan

Wall is the whole process, interpreter start included, and processor its user and system time, which
other work on the machine disturbs less. `adamms` further includes Hydra's composition, the recognition
and description of every tensor, the mapping, and writing plan.json.
"""

import argparse
import json
import resource
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
import yaml
from torch._subclasses.fake_tensor import FakeTensorMode

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests/fixtures"
SIZES = {"BF16": 2, "F16": 2, "F32": 4}
DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
SAFETENSORS_SHARD = 5_000_000_000

# Pairs of conf/model: most tensors, most bytes, most rows of embeddings.
PAIRS = ("cogvlm_from_mplug_owl2", "cambrian_from_yi_vl", "llava_onevision_from_qwen2vl")
# Published as torch files, in so many.
TORCH_SHARDS = {"mplug_owl2_llama2_7b": 33, "llama_2_7b_hf": 2, "yi_vl_34b": 8}

PLAIN = """
import sys
from pathlib import Path
import torch
from safetensors import safe_open
from torch._subclasses.fake_tensor import FakeTensorMode

count = 0
for folder in map(Path, sys.argv[1:]):
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            shapes = {name: opened.get_slice(name).get_shape() for name in opened.keys()}
            count += len(shapes)
    for file in sorted(folder.glob("*.bin")):
        with FakeTensorMode():
            count += len(torch.load(file, mmap=True, weights_only=True))
print(count)
"""


@dataclass(frozen=True)
class Tensor:
    """One published tensor."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * SIZES[self.dtype]


def published(content: Mapping[str, Any]) -> list[Tensor]:
    return [
        Tensor(pattern.replace("{i}", str(layer)), dtype, tuple(shape))
        for pattern, count, dtype, shape in content["tensors"]
        for layer in range(count or 1)
    ]


def write_checkpoint(name: str, folder: Path) -> Path:
    """The published checkpoint without its values: files of full length, made of holes."""
    content = json.loads((FIXTURES / f"{name}.json").read_text())
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(content["config"]))
    tensors = published(content)
    if name in TORCH_SHARDS:
        count = TORCH_SHARDS[name]
        shards = [tensors[start::count] for start in range(count)]
    else:
        shards = [[]]
        for tensor in tensors:
            if sum(t.nbytes for t in shards[-1]) + tensor.nbytes > SAFETENSORS_SHARD:
                shards.append([])
            shards[-1].append(tensor)
    stem, suffix = ("pytorch_model", "bin") if name in TORCH_SHARDS else ("model", "safetensors")
    weight_map = {}
    for number, shard in enumerate(shards, 1):
        file = folder / f"{stem}-{number:05d}-of-{len(shards):05d}.{suffix}"
        (_write_torch if suffix == "bin" else _write_safetensors)(shard, file)
        weight_map |= {tensor.name: file.name for tensor in shard}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def _write_safetensors(shard: list[Tensor], file: Path) -> None:
    header, position = {}, 0
    for tensor in shard:
        offsets = [position, position + tensor.nbytes]
        header[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": offsets}
        position += tensor.nbytes
    raw = json.dumps(header).encode()
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(raw)) + raw)
        stream.truncate(8 + len(raw) + position)


def _write_torch(shard: list[Tensor], file: Path) -> None:
    with FakeTensorMode():
        state = {t.name: torch.empty(t.shape, dtype=DTYPES[t.dtype]) for t in shard}
    with torch.serialization.skip_data(materialize_fake_tensors=True):
        torch.save(state, file)


def models_of(pair: str) -> dict[str, str]:
    """Target, donor and ancestor -> the checkpoints that conf/model/PAIR.yaml names."""
    entries = yaml.safe_load((ROOT / f"conf/model/{pair}.yaml").read_text())["defaults"]
    return {k.removeprefix("/checkpoint@"): v for entry in entries for k, v in entry.items()}


@dataclass(frozen=True)
class Run:
    """Seconds of one process."""

    wall: float
    processor: float


def run(command: list[str], folder: Path) -> Run:
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(command[:2])} failed:\n{done.stdout}")
    return Run(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def measure(pair: str, folder: Path, rounds: int) -> None:
    names = models_of(pair)
    paths = {name: folder / name for name in names.values()}
    for name, path in paths.items():
        if not path.exists():
            write_checkpoint(name, path)
    output = folder / "output"
    commands = {
        "import torch": [sys.executable, "-c", "import torch"],
        "plain": [sys.executable, "-c", PLAIN, *map(str, paths.values())],
        "adamms": [
            *(sys.executable, str(ROOT / "run.py"), "mode=plan", f"model={pair}"),
            *(f"model.{key}.path={paths[name]}" for key, name in names.items()),
            *(f"output={output}", f"hydra.run.dir={folder / 'hydra'}"),
        ],
    }
    for command in commands.values():  # into the page cache
        run(command, folder)
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            runs[name].append(run(command, folder))
            shutil.rmtree(output, ignore_errors=True)
    contents = {name: json.loads((FIXTURES / f"{name}.json").read_text()) for name in names.values()}
    tensors = [tensor for content in contents.values() for tensor in published(content)]
    print(f"\n{pair}: {len(tensors)} tensors, {sum(t.nbytes for t in tensors) / 1e9:.0f} GB in three models")
    print(f"{'':16}{'wall s':>8}{'(fastest)':>11}{'processor s':>13}")
    for name, measured in runs.items():
        wall = statistics.median(one.wall for one in measured)
        processor = statistics.median(one.processor for one in measured)
        print(f"  {name:14}{wall:8.2f}{min(one.wall for one in measured):11.2f}{processor:13.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for pair in PAIRS:
            measure(pair, Path(folder), arguments.rounds)


if __name__ == "__main__":
    main()
