"""What discovery costs, side by side with merely reading the files once.

    python tests/benchmarks/discover.py --gb 1.5 --rounds 3
    python tests/benchmarks/discover.py --gb 4 --experts 64

Makes a target and a donor of about that size each, in bfloat16, with Llama-like shapes (the donor's q, k, v
in InternLM2's groups, so that parts have to be searched for; experts stacked in the target and transposed,
one by one in the donor), then in turn, with files in the page cache:

    read          every byte of both models through the same memory maps, summed as integers
    sketch        both models sketched; what may lie transposed is read once more, when it is matched
    discover      sketched and matched: what mapper=discover does
    verify        plan.verify=true on the plan that was found

Peak memory is anonymous memory, above that before: mapped files, which the system can drop, do not count.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

from adamms.checkpoint.reader import Checkpoint, open_checkpoint
from adamms.mapping.checks.mapped_models import MappedModels
from adamms.mapping.checks.verify import verify_plan
from adamms.mapping.content.sketch import sketch_model
from adamms.mapping.plan import Plan
from adamms.system.threads import chunk_pool, default_workers

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from mappers import discover_mapper

HIDDEN, FEED_FORWARD, VOCABULARY, HEAD = 2048, 5632, 32000, 128
HEADS, GROUPS = HIDDEN // HEAD, 4
EXPERT = 768  # the width of one
DRIFT = 0.2  # of donor from target, over the weights' own size

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Measurement:
    """Seconds, and the peak of anonymous memory above the start in GB."""

    wall: float
    peak_gb: float


def layer(generator: torch.Generator, experts: int) -> State:
    shapes = {"q": (HIDDEN, HIDDEN), "k": (GROUPS * HEAD, HIDDEN), "v": (GROUPS * HEAD, HIDDEN)}
    shapes |= {"o": (HIDDEN, HIDDEN), "norm.attn": (HIDDEN,), "norm.mlp": (HIDDEN,)}
    width = EXPERT if experts else FEED_FORWARD
    for prefix in [f"experts.{e}." for e in range(experts)] or [""]:
        shapes |= {f"{prefix}{name}": (width, HIDDEN) for name in ("gate", "up")}
        shapes[f"{prefix}down"] = (HIDDEN, width)
    return {name: torch.randn(shape, generator=generator) * 0.02 for name, shape in shapes.items()}


def drifted(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return tensor + DRIFT * tensor.std() * torch.randn(tensor.shape, generator=generator)


def grouped(state: State) -> State:
    """q, k, v in one tensor, group by group."""
    parts = {name: tensor for name, tensor in state.items() if name not in "qkv"}
    q, k, v = (state[name].view(GROUPS, -1, HIDDEN) for name in "qkv")
    return parts | {"wqkv": torch.cat([q, k, v], 1).reshape(-1, HIDDEN)}


def stacked(state: State, experts: int) -> State:
    """Experts in two tensors, transposed: [E, H, 2I] and [E, I, H]."""
    if not experts:
        return state
    parts = {name: tensor for name, tensor in state.items() if "experts." not in name}
    each = [{n: state[f"experts.{e}.{n}"] for n in ("gate", "up", "down")} for e in range(experts)]
    parts["experts.gate_up"] = torch.stack([torch.cat([one["gate"], one["up"]]).T for one in each])
    return parts | {"experts.down": torch.stack([one["down"].T for one in each])}


def make_pair(folder: Path, gigabytes: float, experts: int) -> tuple[Checkpoint, Checkpoint]:
    """One shard per layer, one layer in memory at a time."""
    generator = torch.Generator().manual_seed(0)
    per_layer = sum(tensor.numel() for tensor in layer(generator, experts).values()) * 2
    layers = max(1, round((gigabytes * 1e9 - 2 * VOCABULARY * HIDDEN * 2) / per_layer))
    ends = {name: torch.randn(VOCABULARY, HIDDEN, generator=generator) * 0.02 for name in ("embed", "head")}
    for name in ("target", "donor"):
        (folder / name).mkdir(parents=True)
    weight_maps: dict[str, dict[str, str]] = {"target": {}, "donor": {}}
    for index in range(-1, layers):
        mine = ends if index < 0 else layer(generator, experts)
        theirs = {name: drifted(tensor, generator) for name, tensor in mine.items()}
        if index >= 0:
            mine, theirs = stacked(mine, experts), grouped(theirs)
        for model, state in (("target", mine), ("donor", theirs)):
            file = f"{index + 1:03d}.safetensors"
            tensors = {
                f"layers.{index}.{name}" if index >= 0 else name: tensor.bfloat16().contiguous()
                for name, tensor in state.items()
            }
            save_file(tensors, folder / model / file)
            weight_maps[model] |= dict.fromkeys(tensors, file)
    for name, weight_map in weight_maps.items():
        index_file = folder / name / "model.safetensors.index.json"
        index_file.write_text(str({"weight_map": weight_map}).replace("'", '"'))
    return open_checkpoint(folder / "target"), open_checkpoint(folder / "donor")


def read_once(checkpoints: tuple[Checkpoint, ...]) -> None:
    """Every byte as 64-bit integers: as cheap as touching memory gets."""
    names = [(checkpoint, name) for checkpoint in checkpoints for name in checkpoint.tensors]
    with chunk_pool(default_workers()) as pool:
        for _ in pool.map(lambda item: item[0].read(item[1]).flatten().view(torch.int64).sum(), names):
            pass


@contextmanager
def peak() -> Iterator[list[float]]:
    """The highest anonymous memory while the body runs, above that at its start, in GB."""

    def now() -> float:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024 / 1e9
        raise RuntimeError("no RssAnon in /proc/self/status")

    start, over, found = now(), threading.Event(), [0.0]

    def watch() -> None:
        while not over.wait(0.01):
            found[0] = max(found[0], now() - start)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def measure(work: Callable[[], object]) -> Measurement:
    with peak() as found:
        start = time.perf_counter()
        work()
        wall = time.perf_counter() - start
    return Measurement(wall, found[0])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gb", type=float, default=1.5, help="size of each model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--experts", type=int, default=0, help="of each layer, instead of its MLP")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="adamms-discover-"))
    try:
        pair = make_pair(folder, options.gb, options.experts)
        size = sum(entry.nbytes for checkpoint in pair for entry in checkpoint.tensors.values()) / 1e9
        plans: list[Plan] = []

        def discover() -> None:
            target, donor = (sketch_model(checkpoint) for checkpoint in pair)
            plans.append(discover_mapper().plan(target, {"a": donor}))

        steps: dict[str, Callable[[], object]] = {
            "read": lambda: read_once(pair),
            "sketch": lambda: [sketch_model(checkpoint) for checkpoint in pair],
            "discover": discover,
            "verify": lambda: verify_plan(plans[-1], MappedModels(pair[0], {"a": pair[1]})),
        }
        read_once(pair)  # into the page cache
        rounds = [{name: measure(work) for name, work in steps.items()} for _ in range(options.rounds)]
    finally:
        shutil.rmtree(folder)
    merged = sum(slot.merged for slot in plans[-1].slots)
    print(f"two models, {size:.2f} GB together; {merged} of {len(plans[-1].slots)} target tensors found")
    print(f"{'':10}{'wall s':>9}{'/ read':>8}{'GB/s':>8}{'anonymous GB':>14}")
    read = statistics.median(found["read"].wall for found in rounds)
    for name in steps:
        wall = statistics.median(found[name].wall for found in rounds)
        memory = max(found[name].peak_gb for found in rounds)
        print(f"{name:10}{wall:9.2f}{wall / read:8.2f}{size / wall:8.2f}{memory:14.2f}")


if __name__ == "__main__":
    main()
