"""A search's answers from vLLM: one live engine with swaps, beside an engine per written checkpoint.

    python tests/benchmarks/vllm_search.py [--target FOLDER --donor FOLDER] [--samples 13]

Runs in turn, on the demo's models unless others are given, the same questions in both:

    swaps      one engine; for every alpha of the paper's grid swap the weights in place and answer
    engines    for every alpha write the checkpoint, start an engine on it, answer, end the engine

Wall is everything from the first import of vLLM to the engine's end. The answers must be the same.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from adamms.architectures.recognise import recognise
from adamms.checkpoint.reader import open_checkpoint
from adamms.checkpoint.side_files import copy_side_files
from adamms.checkpoint.writer import whole_folder, write_tensors
from adamms.data.example import Example
from adamms.demo.factory import build
from adamms.mapping.specs.model import Model, describe
from adamms.merge.candidate import Candidate
from adamms.merge.methods.linear import Linear
from adamms.merge.recipe import Recipe

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from configured import configured
from configured_engines import vllm_engine
from mappers import spec_mapper
from strategies import chosen as choose
from strategies import paper

ALPHAS = [i / 10 for i in range(7)]


@dataclass
class Times:
    """Seconds of each part, summed over the candidates, and the wall of all."""

    start: float = 0.0
    swap: float = 0.0
    write: float = 0.0
    answer: float = 0.0
    stop: float = 0.0
    wall: float = 0.0


def timed(times: Times, part: str, action: Callable[[], object]) -> object:
    begin = time.perf_counter()
    result = action()
    setattr(times, part, getattr(times, part) + time.perf_counter() - begin)
    return result


def open_model(folder: Path) -> Model:
    checkpoint = open_checkpoint(folder)
    return describe(checkpoint, recognise(checkpoint.config, folder))


def write(recipe: Recipe, folder: Path) -> None:
    with whole_folder(folder, 0) as partial:
        write_tensors(recipe, partial, 10**10)
        copy_side_files(recipe.target.folder, partial)


def with_swaps(recipes: list[Recipe], examples: tuple[Example, ...]) -> tuple[Times, list[object]]:
    times, answers = Times(), []
    begin = time.perf_counter()
    engine = vllm_engine(recipes[0].target.folder)
    timed(times, "start", engine.start)
    for recipe in recipes:
        timed(times, "swap", lambda recipe=recipe: engine.load(recipe))
        answers.append(timed(times, "answer", lambda: sorted(engine.generate(examples))))
    timed(times, "stop", lambda: engine.__exit__())
    times.wall = time.perf_counter() - begin
    print(f"images encoded: {engine.images_encoded}, of {len(examples)} examples", flush=True)
    return times, answers


def with_engines(
    recipes: list[Recipe], examples: tuple[Example, ...], folder: Path
) -> tuple[Times, list[object]]:
    times, answers = Times(), []
    begin = time.perf_counter()
    for number, recipe in enumerate(recipes):
        written = folder / str(number)
        timed(times, "write", lambda recipe=recipe, written=written: write(recipe, written))
        engine = vllm_engine(written)
        timed(times, "start", engine.start)
        answers.append(timed(times, "answer", lambda engine=engine: sorted(engine.generate(examples))))
        timed(times, "stop", lambda engine=engine: engine.__exit__())
    times.wall = time.perf_counter() - begin
    return times, answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--target", type=Path, help="folder; the demo's target by default")
    parser.add_argument("--donor", type=Path, help="folder; the demo's donor by default")
    parser.add_argument("--samples", type=int, default=13, help="examples per task, of eight tasks")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if given.target is None or given.donor is None:
            build(folder / "demo")
            given.target, given.donor = folder / "demo/target", folder / "demo/donor"
        target, donor = open_model(given.target), open_model(given.donor)
        plan = spec_mapper().plan(target, {"a": donor})
        recipes = [
            Recipe(target.checkpoint, {"a": donor.checkpoint}, plan, Linear(), {"a": alpha})
            for alpha in ALPHAS
        ]
        examples = configured("data/digits", folder=folder / "digits", per_task=given.samples).load().examples
        swaps, same = with_swaps(recipes, examples)
        engines, others = with_engines(recipes, examples, folder)
    print(f"{len(ALPHAS)} candidates x {len(examples)} examples; seconds")
    print(f"{'':10}{'start':>9}{'swap':>9}{'write':>9}{'answer':>9}{'stop':>9}{'wall':>9}")
    for name, times in (("swaps", swaps), ("engines", engines)):
        print(f"{name:10}" + "".join(f"{seconds:9.2f}" for seconds in vars(times).values()))
    start, swap = engines.start / len(ALPHAS), swaps.swap / len(ALPHAS)
    print(f"the whole search: {engines.wall / swaps.wall:.1f} x faster")
    print(f"one swap {swap * 1000:.0f} ms, one start {start:.1f} s: 1/{start / swap:.0f}")
    print(f"answers the same: {same == others}")
    print(f"chosen with swaps:   {chosen(same, examples)}")
    print(f"chosen with engines: {chosen(others, examples)}")


def chosen(answers: list[object], examples: tuple[Example, ...]) -> str:
    """The alpha of each task and of all, by the paper's rule."""
    tasks: dict[str, list[str]] = {}
    for example in examples:
        tasks.setdefault(example.task, []).append(example.id)
    known = {Candidate(alpha): dict(given) for alpha, given in zip(ALPHAS, answers, strict=True)}
    selection = choose(paper(), known, tasks)
    by_task = " ".join(f"{task} {choice.candidate}" for task, choice in selection.tasks.items())
    return f"{by_task}; all {selection.overall.candidate}"


if __name__ == "__main__":
    main()
