"""What each of vLLM's workers reads at a swap: measured on two processors, on paper for 235 billion weights.

    python tests/benchmarks/vllm_bytes.py [--layouts tensor,experts,pipeline]

A tiny Qwen3-VL-MoE and its language model are merged in an engine of two workers. They read all of both
models for the first candidate, which shows what each keeps, and that alone for the others. The rule beside
what is measured is then applied to Qwen3-VL-235B-A22B and Qwen3-235B-A22B on two machines of eight GPUs.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "engines/vllm"))
from configured_engines import vllm_engine
from test_vllm_formats import experts
from tiny_merges import interpolated

from adamms.merge.recipe import Recipe

SETTINGS = {"cpu_kv_cache_gb": 1, "max_model_len": 256}
LAYOUTS = {
    "tensor": {"tensor_parallel_size": 2},
    "experts": {"tensor_parallel_size": 2, "expert_parallel": True},
    "pipeline": {"pipeline_parallel_size": 2},
}
# Bytes per second at which a machine gets files that nobody has read before.
SPEEDS = {"disk 3 GB/s": 3e9, "network 12 GB/s": 12e9, "page cache 40 GB/s": 40e9}


@dataclass(frozen=True)
class Language:
    """The sizes of a Qwen3-MoE, and what a worker reads of one such model."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    experts: int
    expert_width: int
    words: int

    @staticmethod
    def of(config: dict[str, int]) -> "Language":
        keys = ("num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim")
        experts = config.get("num_experts") or config["num_local_experts"]
        return Language(
            *(config[key] for key in keys), experts, config["moe_intermediate_size"], config["vocab_size"]
        )

    def kept(self, tensor: int = 1, pipeline: int = 1, expert_parallel: bool = False) -> tuple[float, float]:
        """Weights that the mean worker reads: those of its own, and those that its neighbours read, too.

        A slice of rows is read alone (q, k, v, embeddings and head), and so is an expert. Of o, which is cut
        along its columns, all is read, and of the router. All experts of a layer are one tensor here, which a
        worker without whole experts of its own reads wholly.
        """
        heads = self.heads + 2 * max(self.kv_heads, tensor)
        own = self.layers * heads * self.head_dim * self.hidden / tensor
        own += 2 * self.words * self.hidden / tensor
        shared = self.layers * (self.heads * self.head_dim + self.experts) * self.hidden
        experts = 3 * self.layers * self.experts * self.expert_width * self.hidden
        if expert_parallel:
            return (own + experts / tensor) / pipeline, shared / pipeline
        return own / pipeline, (shared + experts) / pipeline


LARGE = Language(94, 4096, 64, 4, 128, 128, 1536, 151936)


def measured(folder: Path, layouts: list[str]) -> None:
    target, donor = experts("qwen3_vl_moe", "qwen3_moe", folder, mlp_only_layers=[], decoder_sparse_step=1)
    recipe = partial(interpolated, target, donor)
    whole = size_of(recipe(0.3))
    language = Language.of(recipe(0.3).target.config["text_config"])
    print(f"tiny pair: {whole} bytes of both models are merged")
    print(f"{'':10}{'worker':>8}{'first':>10}{'later':>10}{'share':>8}{'by rule':>9}")
    for name in layouts:
        with vllm_engine(target, **SETTINGS, **LAYOUTS[name]) as engine:
            engine.load(recipe(0.3))
            first = engine.bytes_read
            engine.load(recipe(0.6))
            sizes = {key.removesuffix("_parallel_size"): value for key, value in LAYOUTS[name].items()}
            rule = sum(language.kept(**sizes)) / sum(language.kept())
            for worker, size in engine.bytes_read.items():
                measured = f"{first[worker]:10}{size:10}{size / whole:8.3f}"
                print(f"{name:10}{worker:>8}{measured}{rule:9.3f}", flush=True)


def size_of(recipe: Recipe) -> int:
    """Bytes of all operands of all merged tensors."""
    merged = [slot for slot in recipe.plan.slots if slot.merged]
    return sum(recipe.target.tensors[slot.name].nbytes * (1 + len(slot.donors)) for slot in merged)


def on_paper() -> None:
    both = 2 * 2  # models, and bytes of a bfloat16
    whole = both * sum(LARGE.kept())
    print(f"235B: {whole / 1e9:.0f} GB in two models; GB read, and seconds if reading is all that takes time")
    print(f"{'':34}{'worker':>8}{'machine':>9}" + "".join(f"{name:>20}" for name in SPEEDS))
    for tensor, pipeline, expert_parallel in ((16, 1, False), (16, 1, True), (8, 2, False), (8, 2, True)):
        own, shared = LARGE.kept(tensor, pipeline, expert_parallel)
        # Workers of a machine share its page cache, so what several read comes from the disk once.
        worker, machine = both * (own + shared), both * (8 * own + shared)
        name = f"tensor {tensor} pipeline {pipeline}{' experts' if expert_parallel else ''}"
        seconds = "".join(f"{machine / speed:20.0f}" for speed in SPEEDS.values())
        print(f"{name:34}{worker / 1e9:8.1f}{machine / 1e9:9.0f}{seconds}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--layouts", default=",".join(LAYOUTS), help="some of tensor,experts,pipeline")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        measured(Path(scratch), given.layouts.split(","))
    on_paper()


if __name__ == "__main__":
    main()
