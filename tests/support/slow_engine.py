"""An engine without a model, whose answers follow from alpha and the question; it notes all its work.

`engine._target_=slow_engine.Slow` puts it in the place of engine=transformers, whose settings it takes.
Also: searches and writers in processes of their own, to be killed.
"""

import hashlib
import json
import multiprocessing
import multiprocessing.forkserver
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import ClassVar, Self

from command import start_run
from processes import unknown

from adamms.app.modes import search as search_mode
from adamms.data.example import Example
from adamms.engines.answer import Answer, Token
from adamms.engines.base import PromptFiles
from adamms.engines.store import AnswerStore
from adamms.engines.transformers.engine import Transformers
from adamms.merge.recipe import Recipe

LOG, SECONDS = "SLOW_ENGINE_LOG", "SLOW_ENGINE_SECONDS"


def answer_at(alpha: float, question: str) -> str:
    """Changes with alpha, at places of its own for every question."""
    place = int.from_bytes(hashlib.blake2b(question.encode(), digest_size=2).digest(), "big") / 2**16
    return f"{question}: {int(3 * alpha + place)}"


class SlowEngine:
    """Notes every batch in $SLOW_ENGINE_LOG before it is at work on it for $SLOW_ENGINE_SECONDS."""

    def __init__(self, folder: Path, batch_size: int = 4, max_new_tokens: int = 4) -> None:
        self.batch_size = batch_size
        self.identity = f"slow 1 max_new_tokens={max_new_tokens}"
        self.alpha = 0.0
        self.loads = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def load(self, recipe: Recipe) -> None:
        self.loads += 1
        (self.alpha,) = recipe.coefficients.values()

    def checksums(self) -> dict[str, str]:
        return {"alpha": str(self.alpha)}

    def generate(self, examples: Sequence[Example]) -> Iterator[tuple[str, Answer]]:
        for start in range(0, len(examples), self.batch_size):
            batch = examples[start : start + self.batch_size]
            note(json.dumps([[self.alpha, example.id] for example in batch]))
            time.sleep(float(os.environ.get(SECONDS, "0")))
            for example in batch:
                yield example.id, Answer(answer_at(self.alpha, example.question))

    def score(self, said: Sequence[tuple[Example, str]]) -> Iterator[tuple[int, Answer]]:
        """One token for the text and one for its end: the likelier, the nearer alpha is to 0.5."""
        for place, (example, text) in enumerate(said):
            note(json.dumps([[self.alpha, f"{example.id}: {text}"]]))
            time.sleep(float(os.environ.get(SECONDS, "0")))
            yield place, Answer(text, (Token(-abs(self.alpha - 0.5), ()), Token(-1.0, ())), False)


class BrokenEngine(SlowEngine):
    """Must not be asked anything."""

    def load(self, recipe: Recipe) -> None:
        raise AssertionError("the engine was started")

    def generate(self, examples: Sequence[Example]) -> Iterator[tuple[str, Answer]]:
        raise AssertionError("the engine was started")


class Slow(Transformers):
    """The settings of the slow engine."""

    engine: ClassVar[type[SlowEngine]] = SlowEngine

    def live(self, folder: Path, prompt_files: PromptFiles | None = None) -> SlowEngine:  # type: ignore[override]
        return self.engine(folder, self.batch_size, self.max_new_tokens)


class Broken(Slow):
    """The settings of the broken one."""

    engine = BrokenEngine


def note(line: str) -> None:
    if LOG in os.environ:
        with Path(os.environ[LOG]).open("a") as file:
            file.write(line + "\n")


def noted(log: Path) -> list[tuple[float, str]]:
    """(alpha, example id) of everything that was begun, in order, with repetitions."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [(alpha, example) for line in lines for alpha, example in json.loads(line)]


def search(overrides: Sequence[str], log: Path, seconds: float) -> None:
    """A whole search without its pictures; run it in a process of its own."""
    os.environ |= {LOG: str(log), SECONDS: str(seconds)}
    search_mode.write_report = lambda folder, result: None  # type: ignore[assignment]
    with log.with_suffix(".out").open("a") as said, redirect_stdout(said):
        start_run(*overrides)


def write_answers(folder: Path, subject: dict[str, str], names: Sequence[str], seed: int) -> None:
    """Keep an answer under every name, in an order of this process's own."""
    store = AnswerStore(folder, subject)
    shuffled = random.Random(seed).sample(names, len(names))
    for name in shuffled:
        store.add(name, Answer(f"answer to {name} " + "x" * (int(name, 16) % 5000)))
    store.close()


# What a search of the demo's models imports, half of its time: for the engine, the questions and the page.
NEEDED = (
    *("slow_engine", "sklearn.datasets", "adamms.data.digits", "adamms.engines.transformers.engine"),
    *("adamms.engines.askable", "adamms.models.processing", "requests", "cv2", "matplotlib.figure"),
    *(f"adamms.models.{name}" for name in ("causal", "cogvlm", "llava", "mplug_owl2")),
    *("transformers.models.auto.modeling_auto", "transformers.tokenization_mistral_common"),
    *(f"transformers.models.qwen2_vl.{part}_qwen2_vl" for part in ("modeling", "processing")),
)


def processes() -> multiprocessing.context.ForkServerContext:
    """Where to start processes that have everything imported already.

    The server that they are forked from starts with PYTHONPATH alone: Python 3.11 hands it no sys.path.
    """
    assert not unknown(NEEDED)  # which the server would leave out without a word
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*NEEDED])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return context
