"""A merge and a search of tiny models, run in processes of their own, for faults around them."""

import importlib
import json
import os
import pickle
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tiny
from command import read_run
from fault import Wrong
from slow_engine import Slow

from adamms.app.modes.common import start
from adamms.app.settings import Run
from adamms.engines.answer import Answer
from adamms.engines.base import PromptFiles
from adamms.engines.prompt import load_processor
from adamms.engines.store import AnswerStore
from adamms.errors import AdammsError

DIED = 9  # the exit status of a child that a fault kills


class Texts(Slow):
    """Settings of the slow engine for a model without images."""

    def processor(self, folder: Path, prompt_files: PromptFiles | None = None) -> Any:
        return load_processor(folder, prompt_files)


def in_child(work: Callable[[], Any]) -> Any:
    """What `work` returns in a process of its own; None if that dies by an effect."""
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(here)
        with os.fdopen(there, "wb") as stream:
            pickle.dump(work(), stream)
        os._exit(0)
    os.close(there)
    with os.fdopen(here, "rb") as stream:
        said = stream.read()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, DIED):
        raise Wrong(f"the process ended with {code}")
    return pickle.loads(said) if code == 0 else None


@dataclass(frozen=True)
class Scene:
    """A command, run in FOLDER/out with FOLDER/cache.

    Args:
        name: "merge" or "search".
        command: what is run.
        right: the folder in which nothing disturbed it.
    """

    name: str
    command: Run
    right: Path

    def run(self, folder: Path, first: Callable[[], None] = lambda: None) -> tuple[str, str]:
        """Run it in a child: ("right", ""), ("told", message), ("traceback", error) or ("died", "").

        Every answer that the store has taken is noted in FOLDER/given.

        Args:
            first: is done in the child before.
        """
        ended: tuple[str, str] | None = in_child(lambda: self._run(folder, first))
        return ended or ("died", "")

    def _within(self, folder: Path) -> Run:
        places = {"output": folder / "out", "cache": folder / "cache", "store": folder / "cache/answers"}
        config = {**self.command.config, **{key: str(place) for key, place in places.items()}}
        return replace(self.command, config=config, **places)

    def _run(self, folder: Path, first: Callable[[], None]) -> tuple[str, str]:
        write, add = os.write, AnswerStore.add
        given = os.open(folder / "given", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

        def noted(store: AnswerStore, example: str, answer: Answer, doubtful: bool = False) -> None:
            add(store, example, answer, doubtful)
            write(given, json.dumps([str(store.folder), example, answer.text]).encode() + b"\n")

        AnswerStore.add = noted  # type: ignore[method-assign]
        first()
        try:
            start(self._within(folder))
        except AdammsError as error:
            return "told", str(error)
        except BaseException as error:  # noqa: BLE001 - whatever a user would have seen
            place = traceback.extract_tb(error.__traceback__)[-1]
            return "traceback", f"{error!r} ({Path(place.filename).name}:{place.lineno})"
        return "right", ""


def scenes(material: Path) -> list[Scene]:
    """A merge and a search, both run once, in `material`."""
    for position, name in enumerate(("target", "donor")):
        folder = tiny.write_model(material / "models" / name, tiny.llama_state(position, layers=1))
        (folder / "generation_config.json").write_text("{}")
        (folder / "chat_template.jinja").write_text("{{ messages }}")
        (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
        tiny.write_tokenizer(folder, list("abcdefg"))
    questions = [{"question": f"q{i}", "task": "t", "answer": "a"} for i in range(4)]
    (material / "data.jsonl").write_text("\n".join(map(json.dumps, questions)))
    target, donor = material / "models/target", material / "models/donor"
    pair = ("model=custom", f"model.target.path={target}", f"model.donors.a.path={donor}")
    asked = ("data=jsonl", f"data.path={material / 'data.jsonl'}", "engine._target_=scenes.Texts")
    searched = ("search.grid=[0,0.3,0.6]", "search.resamples=10", "evaluate.donors=false")
    found = [
        Scene("merge", read_run("mode=merge", *pair, "max_shard_gb=1e-6"), material / "merge"),
        Scene("search", read_run("mode=search", *pair, *asked, *searched), material / "search"),
    ]
    for scene in found:
        scene.right.mkdir()
        ended, modules = in_child(lambda scene=scene: (scene._run(scene.right, lambda: None), [*sys.modules]))
        if ended != ("right", ""):
            raise Wrong(f"an undisturbed {scene.name}: {ended}")
        for module in modules:  # so that the children to come need not import them
            with suppress(ImportError, ValueError):
                importlib.import_module(module)
    return found


def contents(folder: Path) -> dict[str, Any]:
    """File name -> what is the same in every run, wherever and whenever it runs.

    Raises:
        Wrong: a file that is not whole.
    """
    found: dict[str, Any] = {}
    for file in sorted(folder.rglob("*")):
        if not file.is_file() or file.suffix in (".partial", ".log"):
            continue
        name, raw = str(file.relative_to(folder)), file.read_bytes()
        raw = raw.replace(str(folder.parent).encode(), b"")
        if file.suffix == ".html":
            raw = raw[-8:]
        found[name] = raw
        if file.suffix == ".json":
            try:
                found[name] = json.loads(raw)
            except ValueError as error:
                raise Wrong(f"{name} is no JSON: {raw[:80]!r}") from error
        if file.name == "result.json":
            found[name] |= {"timings": None}
    return found
