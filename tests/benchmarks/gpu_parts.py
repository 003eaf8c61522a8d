"""The parts of tests/benchmarks/gpu.py, each run as a process: `python gpu_parts.py PART`.

Without a GPU everything is done on the processor, in tiny sizes. Times are the least of several.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/support")]

GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")
ALPHAS = (0.3, 0.6, 0.3)
QUESTIONS = ("largest digit of the red", "sum of the blue", "colour of the smallest digit")
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


@dataclass(frozen=True)
class Shape:
    """Of a Qwen2 language model."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_value_heads: int
    vocabulary: int


MERGED = Shape(2048, 8192, 6, 16, 4, 32_000) if GPU else Shape(64, 128, 2, 2, 1, 320)
SWAPPED = Shape(3584, 18944, 28, 28, 4, 152_064 if GPU else 32_000)  # Qwen2-7B
COPIED = 2**30 if GPU else 2**24  # bytes, to measure the bandwidth with


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--layers", type=int, default=SWAPPED.layers if GPU else 0)
    given = parser.parse_args()
    card = torch.cuda.get_device_name() if GPU else "no GPU: tiny sizes on the processor"
    print(f"torch {torch.__version__}, {card}, {len(os.sched_getaffinity(0))} processors", flush=True)
    PARTS[given.part](given)


def tests(given: argparse.Namespace) -> None:
    """Every test marked `cuda`; without a GPU they are left out, and pytest says so."""
    files = [str(file) for file in (ROOT / "tests").rglob("test_*.py") if "mark.cuda" in file.read_text()]
    options = ("-m", "cuda", "-q", "-p", "no:cacheprovider", "-W", "default")
    done = subprocess.run([sys.executable, "-m", "pytest", *options, *files], cwd=ROOT, check=False)
    if done.returncode and (GPU or done.returncode != 5):  # 5: no test was run
        raise SystemExit(done.returncode)


def merge(given: argparse.Namespace) -> None:
    """Every method on the device and on the processor: tensors that differ, and how many times as fast."""
    from configured import configured
    from tiny_merges import make

    from adamms.merge.catalogue import known_methods
    from adamms.merge.device import Computed
    from adamms.merge.kernel import LIBRARY
    from adamms.merge.sources import MAPPED_FILES, Sources

    print(f"the processor merges {'in torch' if LIBRARY is None else 'in compiled passes'}", flush=True)
    with scratch(3 * size(MERGED)) as folder:
        target, donor, ancestor = make_models(folder, MERGED, ("target", "donor", "ancestor"))
        print(
            f"{'method':16}{'tensors':>8}{'differ':>8}{'processor s':>13}{DEVICE.type + ' s':>9}{'ratio':>7}"
        )
        methods = [configured(f"merge/{each.name}") for each in known_methods() if each.elementwise]
        for method in (*methods, configured("merge/tsv")):
            recipe = make(method, target, {"a": donor}, ancestor)
            names = [n for n in recipe.mapped if method.elementwise or ".layers.0.self_attn." in n]
            here, there = Computed(recipe, MAPPED_FILES), Computed(recipe, Sources(DEVICE))
            expected, slow = sums_of(here, names)
            found, quick = min((sums_of(there, names) for _ in range(2)), key=lambda pair: pair[1])
            differ = sum(found[name] != expected[name] for name in names)
            row = f"{method.name:16}{len(names):8}{differ:8}{slow:13.2f}{quick:9.2f}{slow / quick:7.1f}"
            print(row + ("" if method.elementwise else "  (its last bits may differ)"), flush=True)
            if differ and method.elementwise:
                raise SystemExit(f"merge={method.name}: {differ} tensors differ")


def sums_of(computed: Any, names: Sequence[str]) -> tuple[dict[str, str], float]:
    """Checksums of merged tensors, and the seconds that merging took, as for the checkpoint writer."""
    from adamms.engines.checksum import checksum
    from adamms.system.threads import default_workers, in_order

    def merged(name: str) -> str:
        return checksum(computed.recipe.tensor(name, computed.sources))

    begin = time.perf_counter()
    sums = list(in_order(names, merged, computed.workers or default_workers()))
    return dict(zip(names, sums, strict=True)), time.perf_counter() - begin


def swaps(given: argparse.Namespace) -> None:
    """Swaps in engine=transformers from each source, beside the bandwidth of plain copies."""
    from configured_engines import transformers_engine
    from twins import twin

    from adamms.data.example import Example
    from adamms.engines.swaps import ProvenSwaps
    from adamms.merge.sources import CACHES

    for what, gigabytes in bandwidths():
        print(f"copy, {what}: {gigabytes:.1f} GB/s", flush=True)
    shape = replace(SWAPPED, layers=given.layers) if given.layers else MERGED
    with scratch(2 * size(shape)) as folder:
        begin = time.perf_counter()
        target, donor = make_models(folder, shape, ("target", "donor"))
        made = time.perf_counter() - begin
        print(f"two models of {size(shape) / 1e9:.2f} GB made in {folder}, {made:.1f} s", flush=True)
        first = transformers_engine(target, accelerator=DEVICE.type)
        _, loading = timed(lambda: first.live)
        read = sum(2 * entry.nbytes for entry in twin(target, donor, 0.3).target.tensors.values()) / 1e9
        print(f"engine started in {loading:.1f} s; a swap reads {read:.2f} GB", flush=True)
        start, seconds = min((timed(first.checksums) for _ in range(3)), key=lambda pair: pair[1])
        print(f"checksums of all weights: {seconds:.2f} s, {read / 2 / seconds:.1f} GB/s", flush=True)
        held = set()
        for cache in CACHES if GPU else CACHES[:1]:
            engine = transformers_engine(target, accelerator=DEVICE.type, source_cache=cache)
            engine.__dict__["live"] = first.live
            times = [timed(lambda a=alpha, e=engine: e.load(twin(target, donor, a)))[1] for alpha in ALPHAS]
            held.add(tuple(engine.checksums().values()))
            again = min(times[1:])
            print(f"swap from {cache}: first {times[0]:.2f} s, then {again:.2f} s, {read / again:.1f} GB/s")
            engine.load(twin(target, donor, 0.0))
            assert engine.checksums() == start, "the target is not back"
        print(f"the same weights from all sources: {len(held) == 1}", flush=True)
        _, proof = timed(lambda: ProvenSwaps(engine).load(twin(target, donor, 0.3)))
        print(f"a first swap with its proof, from {cache}: {proof:.2f} s", flush=True)
        examples = [Example(str(i), "t", question) for i, question in enumerate(QUESTIONS)]
        print(f"answers: {[answer.text[:20] for _, answer in engine.generate(examples)]}", flush=True)


def bandwidths() -> Iterator[tuple[str, float]]:
    """Plain copies: what moves which way, and GB/s."""
    source = torch.zeros(COPIED, dtype=torch.uint8)
    pairs = {"processor to processor": (source, torch.empty_like(source))}
    if GPU:
        there = torch.empty_like(source, device=DEVICE)
        pairs["memory to GPU"] = source, there
        pairs["page-locked memory to GPU"] = source.pin_memory(), there
        pairs["GPU to GPU"] = there, torch.empty_like(there)
    for what, (one, other) in pairs.items():
        best = min(timed(lambda a=one, b=other: b.copy_(a))[1] for _ in range(5))
        yield what, COPIED / best / 1e9


def demo(given: argparse.Namespace) -> None:
    """The demo's search on the device and on the processor; answers that differ are counted."""
    with scratch(0) as folder:
        overrides = []
        if given.models:
            names = {"target": "target", "donors.onevision": "donor", "ancestor": "ancestor"}
            overrides = [f"model.{key}.path={given.models}/{name}" for key, name in names.items()]
            overrides += ["model.prepare=null", "data.per_task=2", "search.grid=[0.0,0.4,0.8]"]
        answers = {}
        for device in dict.fromkeys(("cpu", DEVICE.type)):
            output = folder / device
            settings = (f"engine.accelerator={device}", f"output={output}", f"store={folder / 'store'}")
            command = [sys.executable, str(ROOT / "run.py"), *settings, *overrides]
            done, seconds = timed(
                lambda c=command: subprocess.run(c, cwd=folder, capture_output=True, text=True, check=False)
            )
            if done.returncode:
                raise SystemExit(f"demo on {device}: {done.stderr[-2000:]}")
            lines = map(json.loads, (output / "answers.jsonl").read_text().splitlines())
            answers[device] = {(r["id"], a): text for r in lines for a, text in r["answers"].items()}
            chosen = json.loads((output / "selection.json").read_text())["overall"]["alpha"]
            print(
                f"demo on {device}: alpha {chosen}, {len(answers[device])} answers, {seconds:.1f} s",
                flush=True,
            )
        first, *others = answers.values()
        for other in others:
            differ = sum(other[key] != text for key, text in first.items())
            print(f"answers that differ: {differ} of {len(first)}", flush=True)


def vllm(given: argparse.Namespace) -> None:
    """As `swaps`, in vLLM."""
    if find_spec("vllm") is None:
        print("vLLM is not installed: nothing was run")
        return
    from configured_engines import vllm_engine
    from twins import twin

    from adamms.data.example import Example
    from adamms.engines.swaps import ProvenSwaps
    from adamms.merge.sources import CACHES

    examples = [Example(str(i), "t", question) for i, question in enumerate(QUESTIONS)]
    shape = replace(SWAPPED, layers=given.layers) if given.layers else MERGED
    with scratch(2 * size(shape)) as folder:
        target, donor = make_models(folder, shape, ("target", "donor"))
        for cache in CACHES[1:] if GPU else CACHES[:1]:
            with vllm_engine(target, source_cache=cache, max_model_len=256, cpu_kv_cache_gb=1) as engine:
                _, starting = timed(engine.start)
                _, seconds = timed(engine.checksums)
                print(f"{cache}: started in {starting:.1f} s, checksums {seconds:.2f} s", flush=True)
                proven = ProvenSwaps(engine)
                _, proof = timed(lambda p=proven: p.load(twin(target, donor, 0.3)))
                said = dict(engine.generate(examples))
                again = [timed(lambda a=a, e=engine: e.load(twin(target, donor, a)))[1] for a in ALPHAS]
                same = dict(engine.generate(examples)) == said
                print(
                    f"{cache}: proven swap {proof:.2f} s, swap {min(again):.2f} s, same answers {same}",
                    flush=True,
                )


def make_models(folder: Path, shape: Shape, names: Sequence[str]) -> list[Path]:
    """Qwen2 models that a tokenizer goes with; each differs a little from the one before."""
    from trained_tokenizers import byte_level_bpe
    from transformers import Qwen2Config, Qwen2ForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    torch.manual_seed(0)
    config = Qwen2Config(
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        vocab_size=shape.vocabulary,
        max_position_embeddings=1024,
        dtype="bfloat16",
    )
    torch.set_default_dtype(torch.bfloat16)
    with DEVICE:
        model = Qwen2ForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    for name in names:
        end = byte_level_bpe(folder / name, QUESTIONS, 300)["<|end|>"]
        (folder / name / "chat_template.jinja").write_text(TEMPLATE)
        model.config.eos_token_id = model.generation_config.eos_token_id = end
        model.save_pretrained(folder / name, max_shard_size="2GB")
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.01)
    del model
    torch.cuda.empty_cache()  # does nothing where CUDA was not used
    return [folder / name for name in names]


def size(shape: Shape) -> int:
    """Bytes of a model in bfloat16, without the small tensors."""
    attention = 2 * shape.hidden**2 * (1 + shape.key_value_heads / shape.heads)
    layer = attention + 3 * shape.hidden * shape.intermediate
    return int(2 * (shape.layers * layer + 2 * shape.vocabulary * shape.hidden))


@contextmanager
def scratch(needed: int) -> Iterator[Path]:
    """A folder for so many bytes, in memory where there is twice the room: a disk would be measured."""
    shared = Path("/dev/shm")
    free = os.statvfs(shared).f_bavail * os.statvfs(shared).f_frsize if shared.is_dir() else 0
    place = shared if free > 2 * needed else None
    with tempfile.TemporaryDirectory(prefix=f"adamms-gpu-{os.getppid()}-", dir=place) as folder:
        yield Path(folder)


def timed(action: Callable[[], Any]) -> tuple[Any, float]:
    """What comes of it, and the seconds that it took, the GPU's work included."""
    begin = time.perf_counter()
    found = action()
    if GPU:
        torch.cuda.synchronize()
    return found, time.perf_counter() - begin


PARTS = {part.__name__: part for part in (tests, merge, swaps, demo, vllm)}

if __name__ == "__main__":
    main()
