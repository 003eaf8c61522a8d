"""What a search costs beside its answers, at size: 7 candidates, 8 tasks of 100 questions, models of 7B.

    python tests/benchmarks/overhead.py [--gb 3.3] [--rate 2000] [--start 30] [--bandwidth 50]

Runs the command line, `run.py mode=search`, with an engine that stands in for one on a GPU. Simulated, by
sleeping, is what that engine does: its start (--start, seconds), its answers (--rate, a minute; short ones of
a 7B model), and its swaps: the bytes of the models that it would read for a candidate, at --bandwidth GB/s
(50: in pinned memory behind PCIe 5). All else is real: the files of --gb (a Qwen2-VL and a LLaVA-OneVision
of the width of a 3B, in the page cache), opening, mapping, comparing and proving them, the processor that
looks at every question and image, the store, the choice with its bootstrap, writing the winner, the reports.

The second column has what takes time by the byte, swaps and writing, at --full GB. Processor seconds are of
the whole process, which other work on the machine disturbs less than wall time. The last table says how much
longer answers (or how many more of them) would have to take for the rest to be 20 % of them.
"""

import argparse
import copy
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from PIL import Image
from pydantic import PositiveFloat

from adamms.data.example import Example
from adamms.demo import models
from adamms.engines.answer import Answer
from adamms.engines.base import Engine, PromptFiles
from adamms.engines.transformers.engine import Transformers
from adamms.merge.recipe import Recipe

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from measured import Run, run

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

CANDIDATES, TASKS, QUESTIONS = 7, 8, 100
PIXELS = 336  # of an image's side
# The language model's shapes: Qwen2.5-3B's, so that few GB are many layers.
SHAPES = {"hidden_size": 2048, "intermediate_size": 11008, "vocab_size": 151936}
HEADS = {"num_attention_heads": 16, "num_key_value_heads": 2}
MROPE_SECTION = [16, 24, 24]
FIXED_GB, LAYER_GB = 1.24, 0.154
WANTED = 0.2  # of the answers' time, for all beside them
# Stages of the search that take time by the byte.
BY_BYTES = ("swaps", "merge")


@dataclass(frozen=True, kw_only=True)
class StandIn(Transformers):
    """Settings of the engine that sleeps.

    Args:
        rate: answers a minute.
        start: seconds until it can answer.
        bandwidth: GB/s at which a swap reads what is merged.
        log: where it writes, when it ends, the seconds that it slept: part -> seconds.
    """

    name: ClassVar[str] = "transformers"

    rate: PositiveFloat
    start: PositiveFloat
    bandwidth: PositiveFloat
    log: Path

    def live(self, folder: Path, prompt_files: PromptFiles | None = None) -> "Sleeper":  # type: ignore[override]
        return Sleeper(self)


class Sleeper(Engine):
    """Sleeps as long as an engine would be at work; its answers follow from alpha and the question."""

    identity = "stand-in"
    sampling = "no videos"

    def __init__(self, settings: StandIn) -> None:
        self.settings = settings
        self.alpha = 0.0
        self.slept: dict[str, float] = {}
        self.searching = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        slept = self.slept | {"in the search": self.searching}
        self.settings.log.write_text(json.dumps(slept))

    def load(self, recipe: Recipe) -> None:
        (self.alpha,) = recipe.coefficients.values()
        merged = sum(recipe.slots[name].nbytes for name in recipe.mapped)
        self._sleep("swaps", (1 + len(recipe.donors)) * merged / 1e9 / self.settings.bandwidth)

    def checksums(self) -> Mapping[str, str]:
        return {"alpha": str(self.alpha)}

    def generate(self, examples: Sequence[Example]) -> Iterator[tuple[str, Answer]]:
        size = self.settings.batch_size
        for start in range(0, len(examples), size):
            batch = examples[start : start + size]
            self._sleep("answers", len(batch) * 60 / self.settings.rate)
            for example in batch:
                place = int(example.id.partition("-")[2]) / QUESTIONS
                yield example.id, Answer(f"answer {int(3 * self.alpha + place)}")
            self.searching = sum(self.slept.values())

    def _sleep(self, part: str, seconds: float) -> None:
        if not self.slept:
            self.slept["engine start"] = self.settings.start
            time.sleep(self.settings.start)
        self.slept[part] = self.slept.get(part, 0.0) + seconds
        time.sleep(seconds)


def write_model(small: Any, names: Mapping[str, str], processor: Any, gigabytes: float, folder: Path) -> None:
    """One of the demo's models, grown to the shapes above; the same random values again and again."""
    config = copy.deepcopy(small.config)
    text = config.get_text_config()
    layers = max(1, round((gigabytes - FIXED_GB) / LAYER_GB))
    for key, value in (SHAPES | HEADS | {"num_hidden_layers": layers, "layer_types": None}).items():
        setattr(text, key, value)
    if "mrope_section" in text.rope_parameters:
        text.rope_parameters["mrope_section"] = MROPE_SECTION
        config.vision_config.hidden_size = SHAPES["hidden_size"]
    with torch.device("meta"):
        model = type(small)(type(config).from_dict(config.to_dict())).to(torch.bfloat16)
    model.to_empty(device="cpu")
    noise = torch.randn(1 << 20).mul_(0.02).bfloat16()
    with torch.no_grad():
        for value in model.state_dict().values():
            for piece in value.view(-1).split(len(noise)):
                piece.copy_(noise[: len(piece)])
    models.save(model, names, processor, folder)


def write_questions(folder: Path) -> Path:
    """Questions with an image each, as JSONL."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    lines = []
    for task in range(TASKS):
        for number in range(QUESTIONS):
            name = f"t{task}-{number}"
            pixels = rng.integers(0, 256, (PIXELS // 8, PIXELS // 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((PIXELS, PIXELS)).save(folder / f"{name}.jpg")
            record = {"id": name, "task": f"t{task}", "question": "read red", "image": f"{name}.jpg"}
            lines.append(json.dumps(record))
    file = folder / "questions.jsonl"
    file.write_text("\n".join(lines))
    return file


def search(folder: Path, arguments: argparse.Namespace) -> tuple[dict[str, float], Run]:
    """Seconds of each part of a search, in order, and the whole; "the rest" is what no stage of it shows."""
    made = {
        "target": (models.target, models.TARGET_NAMES, models.target_processor),
        "donor": (models.donor, models.DONOR_NAMES, models.donor_processor),
    }
    for name, (build, names, processor) in made.items():
        write_model(build(), names, processor(), arguments.gb, folder / name)
    log, output = folder / "slept.json", folder / "output"
    engine = {"_target_": "overhead.StandIn", "rate": arguments.rate, "start": arguments.start}
    engine |= {"bandwidth": arguments.bandwidth, "log": log}
    command = [
        *(sys.executable, str(ROOT / "run.py"), "mode=search", "model=custom", "plan.force=true"),
        *(f"model.target.path={folder / 'target'}", f"model.donors.a.path={folder / 'donor'}"),
        *("data=jsonl", f"data.path={write_questions(folder / 'questions')}", "search.samples=null"),
        *(f"cache={folder / 'cache'}", f"output={output}", f"hydra.run.dir={folder / 'hydra'}"),
        *(f"++engine.{key}={value}" for key, value in engine.items()),
        *arguments.overrides,
    ]
    path = os.pathsep.join([str(HERE), str(ROOT), os.environ.get("PYTHONPATH", "")])
    whole = run(command, folder, {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"})
    parts: dict[str, float] = json.loads(log.read_text())
    searching = parts.pop("in the search")
    timings = json.loads((output / "result.json").read_text())["timings"]
    stages = {one["title"]: one["seconds"] for one in timings}
    parts["store, door of the engine"] = stages.pop("search") - searching
    parts |= stages
    parts["imports, choice, reports"] = whole.wall - sum(parts.values())
    return parts, whole


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gb", type=float, default=3.3)
    parser.add_argument("--full", type=float, default=15.2, help="GB of a 7B model in bfloat16")
    parser.add_argument("--rate", type=float, default=2000)
    parser.add_argument("--start", type=float, default=30)
    parser.add_argument("--bandwidth", type=float, default=50)
    parser.add_argument("--folder", type=Path, help="in which a temporary folder is made")
    parser.add_argument("overrides", nargs="*", help="of the search, e.g. track=wandb track.mode=offline")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        parts, whole = search(Path(folder), arguments)
    scale, answers = arguments.full / arguments.gb, parts.pop("answers")
    full = {part: spent * (scale if part in BY_BYTES else 1) for part, spent in parts.items()}
    print(f"{'wall s':28}{f'{arguments.gb:g} GB':>9}{f'{arguments.full:g} GB':>9}")
    for part, spent in parts.items():
        print(f"{part:28}{spent:9.1f}{full[part]:9.1f}")
    sums = [sum(column.values()) for column in (parts, full)]
    print(f"{'all beside answers':28}{sums[0]:9.1f}{sums[1]:9.1f}")
    print(f"{'answers alone':28}{answers:9.1f}{answers:9.1f}")
    for title, less in (("% of answers alone", 0.0), ("% without the engine start", parts["engine start"])):
        print(f"{title:28}" + "".join(f"{100 * (spent - less) / answers:9.1f}" for spent in sums))
    print(f"processor s of the whole process: {whole.processor:.1f}")
    print(f"\n{WANTED:.0%} is reached with answers that take so many times as long, by the engine's start:")
    for start in (0, arguments.start, 2 * arguments.start, 4 * arguments.start):
        times = [(spent - parts["engine start"] + start) / WANTED / answers for spent in sums]
        print(f"{f'{start:g} s':28}" + "".join(f"{each:9.1f}" for each in times))


if __name__ == "__main__":
    main()
