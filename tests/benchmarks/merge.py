"""How fast adamms merges, and in how much memory, side by side with the plain ways to do it.

    python tests/benchmarks/merge.py --gb 4.8 --rounds 3 [--method ties]

Makes a Qwen2-VL-like target and a LLaVA-OneVision-like donor of the chosen size, then runs in turn,
each as a process of its own and all files in the page cache:

    cp            cp -r of the target: what writing the result costs at the least
    state dicts   load both models whole, interpolate, save: what a script does
    adamms        the command line, mapping included
    adamms half   the same on a model half as large: memory must not grow with the model
    adamms plan   the command line without the merge: what starting Python and mapping cost

`--method ties` (any of conf/merge) runs the adamms commands with that method, and with a third model as
the ancestor.

Wall is the whole process, interpreter start included. Peak anonymous memory is sampled from /proc
every 10 ms; mapped files, which the system can drop, do not count.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parents[2]
HIDDEN, INTERMEDIATE, VOCABULARY, KEY_VALUE = 2048, 11008, 151936, 256
VISION_BLOCKS = 12
SHARD_BYTES = 2_000_000_000

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
class Measurement:
    """One run: seconds of the whole process, and its peak anonymous memory in GB."""

    wall: float
    anonymous_gb: float


def language_model(layers: int, scale: float) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and values of a Qwen2 decoder in bfloat16."""
    generator = torch.Generator().manual_seed(0)

    def values(*shape: int) -> torch.Tensor:
        return (torch.randn(*shape, generator=generator) * scale).bfloat16()

    yield "model.embed_tokens.weight", values(VOCABULARY, HIDDEN)
    yield "lm_head.weight", values(VOCABULARY, HIDDEN)
    yield "model.norm.weight", values(HIDDEN)
    rows = {"q": HIDDEN, "k": KEY_VALUE, "v": KEY_VALUE}
    matrix = values(INTERMEDIATE, HIDDEN)
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        shifted = matrix * (1 + layer / 64)  # drawing every layer afresh would take longer than the benchmark
        yield f"{prefix}input_layernorm.weight", values(HIDDEN)
        yield f"{prefix}post_attention_layernorm.weight", values(HIDDEN)
        for part, size in rows.items():
            yield f"{prefix}self_attn.{part}_proj.weight", shifted[:size].clone()
            yield f"{prefix}self_attn.{part}_proj.bias", values(size)
        yield f"{prefix}self_attn.o_proj.weight", shifted[:HIDDEN].clone()
        yield f"{prefix}mlp.gate_proj.weight", shifted
        yield f"{prefix}mlp.up_proj.weight", shifted.flip(0)
        yield f"{prefix}mlp.down_proj.weight", shifted.t().contiguous()


def write_model(folder: Path, tensors: Iterator[tuple[str, torch.Tensor]], config: dict[str, object]) -> None:
    """A sharded checkpoint, one shard in memory at a time."""
    folder.mkdir(parents=True)
    weight_map: dict[str, str] = {}
    shard: dict[str, torch.Tensor] = {}

    def flush() -> None:
        name = f"model-{len(set(weight_map.values())) + 1:05d}.safetensors"
        save_file(shard, folder / name, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(shard, name))
        shard.clear()

    for name, tensor in tensors:
        shard[name] = tensor
        if sum(value.nbytes for value in shard.values()) > SHARD_BYTES:
            flush()
    flush()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps(config))


@dataclass(frozen=True)
class Models:
    """Folders of what is merged."""

    target: Path
    donor: Path
    ancestor: Path


def make_models(folder: Path, gigabytes: float, ancestor: bool) -> Models:
    """Models of which the target weighs about `gigabytes`; the ancestor is made if it is wanted."""
    models = Models(folder / "target", folder / "donor", folder / "ancestor")
    target, donor = models.target, models.donor
    vision = {
        f"visual.blocks.{i}.mlp.fc1.weight": torch.ones(INTERMEDIATE, 1280).bfloat16()
        for i in range(VISION_BLOCKS)
    }
    fixed = 2 * VOCABULARY * HIDDEN + sum(tensor.numel() for tensor in vision.values())
    per_layer = 3 * INTERMEDIATE * HIDDEN + 2 * HIDDEN * HIDDEN + 2 * KEY_VALUE * HIDDEN
    layers = max(1, round((gigabytes * 1e9 / 2 - fixed) / per_layer))
    config = {"num_hidden_layers": layers, "tie_word_embeddings": False}
    if not target.exists():
        tensors = [*vision.items()]
        write_model(
            target,
            (pair for part in (language_model(layers, 0.02), iter(tensors)) for pair in part),
            config | {"architectures": ["Qwen2VLForConditionalGeneration"]},
        )
        write_model(
            donor,
            ((f"language_model.{name}", tensor) for name, tensor in language_model(layers, 0.03)),
            config | {"architectures": ["LlavaOnevisionForConditionalGeneration"]},
        )
    if ancestor and not models.ancestor.exists():
        names = {"architectures": ["Qwen2ForCausalLM"]}
        write_model(models.ancestor, language_model(layers, 0.025), config | names)
    return models


def measure(command: list[str], output: Path) -> Measurement:
    """Run `command`, which makes `output`, once; the output is removed and the disk settled before."""
    shutil.rmtree(output, ignore_errors=True)
    os.sync()
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=output.parent)
    peak = 0
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        try:
            lines = status.read_text().splitlines()
        except OSError:
            break
        peak = max([peak, *(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))])
        time.sleep(0.01)
    out, _ = process.communicate()
    wall = time.perf_counter() - start
    if process.returncode:
        sys.exit(f"{command[0]} failed:\n{out}")
    return Measurement(wall, peak * 1024 / 1e9)


def commands(models: Models, method: str, output: Path) -> dict[str, list[str]]:
    target, donor = models.target, models.donor
    adamms = [
        *(sys.executable, str(ROOT / "run.py"), "model=custom", f"merge={method}"),
        *(f"model.target.path={target}", f"model.donors.a.path={donor}"),
        *([f"model.ancestor.path={models.ancestor}"] if models.ancestor.exists() else ["merge.alpha=0.3"]),
        *(f"output={output}", f"hydra.run.dir={output.parent / 'hydra'}"),
    ]
    return {
        "cp": ["cp", "-r", str(target), str(output)],
        "state dicts": [sys.executable, "-c", STATE_DICT_MERGE, str(target), str(donor), str(output)],
        "adamms": [*adamms, "mode=merge"],
        "adamms plan": [*adamms, "mode=plan"],
    }


def report(gigabytes: float, runs: dict[str, list[Measurement]]) -> None:
    """Medians, and ratios taken round by round, so that they hold when the machine's speed drifts."""

    def ratio(name: str, other: str) -> float:
        return statistics.median(a.wall / b.wall for a, b in zip(runs[name], runs[other], strict=True))

    print(f"\ntarget of {gigabytes:.2f} GB, {len(runs['cp'])} rounds, {os.cpu_count()} processors; medians")
    print(f"{'':14}{'wall s':>8}{'/ cp':>8}{'/ state dicts':>15}{'anonymous GB':>14}")
    for name, measured in runs.items():
        wall = statistics.median(run.wall for run in measured)
        memory = statistics.median(run.anonymous_gb for run in measured)
        ratios = f"{ratio(name, 'cp'):8.2f}{ratio(name, 'state dicts'):15.2f}"
        print(f"{name:14}{wall:8.2f}{ratios}{memory:14.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gb", type=float, default=4.8, help="size of the target in GB")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--folder", type=Path, help="where the checkpoints go and stay; a temporary folder by default"
    )
    parser.add_argument("--method", default="linear", help="one of conf/merge; linear by default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.folder or Path(temporary)).resolve()
        ancestor = arguments.method != "linear"
        whole = make_models(folder / "whole", arguments.gb, ancestor)
        half = make_models(folder / "half", arguments.gb / 2, ancestor)
        for file in folder.rglob("*.safetensors"):  # into the page cache
            subprocess.run(["cat", str(file)], stdout=subprocess.DEVNULL, check=True)
        output = folder / "output"
        contenders = commands(whole, arguments.method, output)
        contenders["adamms half"] = commands(half, arguments.method, output)["adamms"]
        runs: dict[str, list[Measurement]] = {name: [] for name in contenders}
        for _ in range(arguments.rounds):
            for name, command in contenders.items():
                runs[name].append(measure(command, output))
                print(f"{name}: {runs[name][-1]}", flush=True)
        shutil.rmtree(output, ignore_errors=True)
        size = sum(file.stat().st_size for file in whole.target.glob("*.safetensors")) / 1e9
        print(f"\nmerge={arguments.method}")
        report(size, runs)


if __name__ == "__main__":
    main()
