"""How long a plan of the paper's largest pairs takes, from headers of full size, beside reading them plainly.

    python tests/benchmarks/plan.py --rounds 3

Writes checkpoints with the published names, shapes and shards whose weights are holes in the files
(`du` shows a few MB), then runs in turn, each as a process of its own and the files in the page cache:

    import torch   what starting Python with torch costs
    plain          the same and reading every header with the files' own libraries
    adamms         the command line: python run.py mode=plan

Wall is the whole process, interpreter start included, and processor its user and system time, which
other work on the machine disturbs less; memory is its peak. `adamms` further includes Hydra's composition,
the recognition and description of every tensor, the mapping, and writing plan.json.

The last pairs are mixtures of experts of 235B parameters: Qwen3-VL-235B-A22B, whose files hold the experts of
a layer in one tensor, with Qwen3-235B-A22B per expert, and the latter with itself.
"""

import argparse
import json
import shutil
import statistics
import struct
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
import yaml
from torch._subclasses.fake_tensor import FakeTensorMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from measured import Run, run

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests/fixtures"
SIZES = {"BF16": 2, "F16": 2, "F32": 4}
DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
SAFETENSORS_SHARD = 5_000_000_000

# Pairs of conf/model: most tensors, most bytes, most rows of embeddings.
PAIRS = ("cogvlm_from_mplug_owl2", "cambrian_from_yi_vl", "llava_onevision_from_qwen2vl")
# Published as torch files, in so many.
TORCH_SHARDS = {"mplug_owl2_llama2_7b": 33, "llama_2_7b_hf": 2, "yi_vl_34b": 8}

# Qwen3-235B-A22B: layers, experts, hidden size, expert width, rows of queries and of keys.
LAYERS, EXPERTS, HIDDEN, WIDTH, QUERIES, KEYS = 94, 128, 4096, 1536, 8192, 512
VOCABULARY = 151936

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


def mixture(fused: bool) -> dict[str, Any]:
    """Qwen3-VL-235B-A22B without most of its vision encoder, or the per-expert Qwen3-235B-A22B."""
    prefix = "model.language_model." if fused else "model."
    shapes: list[tuple[str, int, tuple[int, ...]]] = [
        (f"{prefix}embed_tokens.weight", 0, (VOCABULARY, HIDDEN)),
        ("lm_head.weight", 0, (VOCABULARY, HIDDEN)),
        (f"{prefix}norm.weight", 0, (HIDDEN,)),
    ]
    attention = {"q": (QUERIES, HIDDEN), "k": (KEYS, HIDDEN), "v": (KEYS, HIDDEN), "o": (HIDDEN, QUERIES)}
    layer = {f"self_attn.{part}_proj.weight": shape for part, shape in attention.items()}
    layer |= {f"self_attn.{part}_norm.weight": (128,) for part in "qk"}
    layer |= {f"{part}_layernorm.weight": (HIDDEN,) for part in ("input", "post_attention")}
    layer["mlp.gate.weight"] = (EXPERTS, HIDDEN)
    if fused:
        layer["mlp.experts.gate_up_proj"] = (EXPERTS, HIDDEN, 2 * WIDTH)
        layer["mlp.experts.down_proj"] = (EXPERTS, WIDTH, HIDDEN)
        shapes.append(("model.visual.merger.linear_fc2.weight", 0, (HIDDEN, 4608)))
    else:
        for expert in range(EXPERTS):
            one = f"mlp.experts.{expert}"
            layer |= {f"{one}.{part}_proj.weight": (WIDTH, HIDDEN) for part in ("gate", "up")}
            layer[f"{one}.down_proj.weight"] = (HIDDEN, WIDTH)
    shapes += [(f"{prefix}layers.{{i}}.{name}", LAYERS, shape) for name, shape in layer.items()]
    text = {"hidden_size": HIDDEN, "moe_intermediate_size": WIDTH, "num_hidden_layers": LAYERS}
    text |= {"num_experts": EXPERTS, "num_experts_per_tok": 8, "vocab_size": VOCABULARY, "head_dim": 128}
    text |= {"num_attention_heads": 64, "num_key_value_heads": 4, "hidden_act": "silu"}
    text |= {"rms_norm_eps": 1e-6, "rope_theta": 5e6, "norm_topk_prob": True, "tie_word_embeddings": False}
    config = {
        "architectures": ["Qwen3VLMoeForConditionalGeneration" if fused else "Qwen3MoeForCausalLM"],
        "model_type": "qwen3_vl_moe" if fused else "qwen3_moe",
        **({"text_config": text | {"model_type": "qwen3_vl_moe_text"}} if fused else text),
    }
    return {"config": config, "tensors": [[name, count, "BF16", shape] for name, count, shape in shapes]}


MIXTURES = {"experts_fused": mixture(fused=True), "experts_apart": mixture(fused=False)}
MIXTURES["experts_apart_too"] = MIXTURES["experts_apart"]


def content_of(name: str) -> dict[str, Any]:
    """Config and tensors: of a published checkpoint, or of a mixture of experts."""
    return MIXTURES[name] if name in MIXTURES else json.loads((FIXTURES / f"{name}.json").read_text())


def write_checkpoint(name: str, folder: Path) -> Path:
    """The checkpoint without its values: files of full length, made of holes."""
    content = content_of(name)
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
    raw += b" " * (-len(raw) % 8)  # so that tensors are aligned
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(raw)) + raw)
        stream.truncate(8 + len(raw) + position)


def _write_torch(shard: list[Tensor], file: Path) -> None:
    with FakeTensorMode():
        state = {t.name: torch.empty(t.shape, dtype=DTYPES[t.dtype]) for t in shard}
    with torch.serialization.skip_data(materialize_fake_tensors=True):
        torch.save(state, file)


def models_of(pair: str) -> dict[str, str]:
    """Target, donor and ancestor -> the checkpoints that conf/model/PAIR.yaml names, or those of experts."""
    if pair not in PAIRS:
        return dict(zip(("target", "donors.a"), pair.split(" <- "), strict=True))
    entries = yaml.safe_load((ROOT / f"conf/model/{pair}.yaml").read_text())["defaults"]
    return {k.removeprefix("/checkpoint@"): v for entry in entries for k, v in entry.items()}


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
            *(sys.executable, str(ROOT / "run.py"), "mode=plan"),
            f"model={pair if pair in PAIRS else 'custom'}",
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
    tensors = [tensor for name in names.values() for tensor in published(content_of(name))]
    size = sum(t.nbytes for t in tensors) / 1e9
    print(f"\n{pair}: {len(tensors)} tensors, {size:.0f} GB in {len(names)} models")
    print(f"{'':16}{'wall s':>8}{'(fastest)':>11}{'processor s':>13}{'memory GB':>11}")
    for name, measured in runs.items():
        wall = statistics.median(one.wall for one in measured)
        processor = statistics.median(one.processor for one in measured)
        print(f"  {name:14}{wall:8.2f}{min(one.wall for one in measured):11.2f}{processor:13.2f}", end="")
        print(f"{max(one.memory for one in measured):11.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    pairs = [*PAIRS, "experts_fused <- experts_apart", "experts_apart <- experts_apart_too"]
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", choices=pairs, nargs="+", default=pairs)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for pair in arguments.pairs:
            measure(pair, Path(folder), arguments.rounds)


if __name__ == "__main__":
    main()
