"""Deaths and refusals at every file operation of a merge and of a search of tiny models.

Each fault is a run in a child process that dies at one of its operations, or is refused it by the system.
What it leaves must be whole, the models as they were, no given answer lost; and the same command again must
end with the same files as an undisturbed run.
"""

import errno
import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from fault import Fault, Lost, Wrong
from scenes import DIED, Scene, contents, scenes

from adamms.engines.store import AnswerStore
from adamms.errors import AdammsError

SHARE = 4
# What happens at the chosen operation: death before it, death half-way through what it writes, or an error,
# of it alone or of all from then on.
EFFECTS = ("death", "half", *product((errno.EIO, errno.ENOSPC, errno.EACCES, errno.EROFS), ("once", "on")))
# Audited by Python, with the path first.
AUDITED = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink")
UNAUDITED = ("write", "pwrite", "fsync")


@dataclass
class Watch:
    """Counts the operations of this process that change files under `folder`. At one something happens.

    Cannot be taken off again: it is for a process of its own.

    Args:
        folder: operations elsewhere are not counted.
        at: the number of the operation.
        effect: one of EFFECTS; None for none.
        noted: where the operations are noted, a line each.
    """

    folder: Path
    at: int = -1
    effect: Any = None
    noted: Path | None = None
    seen: int = 0
    real: dict[str, Callable[..., Any]] = field(default_factory=dict)

    def start(self) -> None:
        sys.addaudithook(self._audited)
        for name in UNAUDITED:
            self.real[name] = getattr(os, name)
            setattr(os, name, lambda *given, name=name: self._unaudited(name, *given))

    def _audited(self, event: str, given: tuple[Any, ...]) -> None:
        if event not in AUDITED or not isinstance(given[0], str | os.PathLike):
            return
        if event == "open" and not (given[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        if str(given[0]).startswith(str(self.folder)):
            self._happens(event, str(given[0]))

    def _unaudited(self, name: str, *given: Any) -> Any:
        path = str(Path(f"/proc/self/fd/{given[0]}").readlink())
        if path.startswith(str(self.folder)):
            half = () if name == "fsync" else (given[1][: len(given[1]) // 2], *given[2:])
            self._happens(name, path, *([lambda: self.real[name](given[0], *half)] if half else []))
        return self.real[name](*given)

    def _happens(self, name: str, path: str, half: Callable[[], Any] = lambda: None) -> None:
        number, self.seen = self.seen, self.seen + 1
        if self.noted is not None:
            with self.noted.open("a") as file:
                file.write(f"{name} {Path(path).name}\n")
        if self.effect is None or number < self.at:
            return
        if self.effect in ("death", "half"):
            if self.effect == "half":
                half()
            os._exit(DIED)
        number_of_error, how = self.effect
        if how == "on" or number == self.at:
            raise OSError(number_of_error, os.strerror(number_of_error), path)


def faults(seed: int, count: int, material: Path) -> Iterator[Fault]:
    cases = []
    for scene in scenes(material):
        operations = operations_of(scene, material / f"{scene.name} again")
        cases += [(scene, at, operations[at], effect) for at in range(len(operations)) for effect in EFFECTS]
    random.Random(seed).shuffle(cases)
    before = contents(material / "models")
    for scene, at, operation, effect in cases[:count]:
        words = effect if isinstance(effect, str) else f"{errno.errorcode[effect[0]]} {effect[1]}"

        def trial(folder: Path, scene: Scene = scene, at: int = at, effect: Any = effect) -> None:
            disturb(scene, folder, at, effect)
            if contents(material / "models") != before:
                raise Wrong("a model that went in was changed")

        yield Fault(f"{scene.name}: {words} at {operation} ({at})", trial)


def operations_of(scene: Scene, folder: Path) -> list[str]:
    """What an undisturbed run does, in order."""
    folder.mkdir()
    noted = folder.with_name("operations")
    noted.unlink(missing_ok=True)
    scene.run(folder, Watch(folder, noted=noted).start)
    return noted.read_text().splitlines()


def disturb(scene: Scene, folder: Path, at: int, effect: Any) -> None:
    """Run with the effect, look at what is left, and run again."""
    ended = scene.run(folder, Watch(folder, at, effect).start)
    look(folder, scene.right, ended[0], first=True)
    again = scene.run(folder)
    if again != ("right", ""):
        raise Wrong(f"after it the same command: {again}")
    look(folder, scene.right, again[0], first=False)
    match ended:
        case "traceback", why:
            raise RuntimeError(why)
        case "told", why:
            raise AdammsError(why)


def look(folder: Path, right: Path, ended: str, first: bool) -> None:
    """What is left is whole; after a second run all is there; every answer that was given is stored."""
    wanted, found = contents(right / "out"), contents(folder / "out")
    parts = {name for name in found if name.startswith(".model.partial/")}
    model = {name for name in wanted if name.startswith("model/")} - {"model/search.png"}
    if (folder / "out/model").exists() and model - found.keys():
        raise Wrong(f"the model lacks {sorted(model - found.keys())}")
    if ended != "died" and parts:
        raise Wrong(f"it was left: {sorted(parts)}")
    for name, content in found.items():
        # A search whose answers cannot all be stored ends without its evaluation, and says so.
        exact = not first or (name in model and name != "model/README.md") or ended == "died"
        early = name == "model/README.md" and ended == "died"  # before the search's results are added
        if exact and not early and name not in parts and content != wanted.get(name):
            raise Wrong(f"{name} is not what an undisturbed run writes")
    if not first and wanted.keys() - found.keys():
        raise Wrong(f"it ended without {sorted(wanted.keys() - found.keys())}")
    for line in (folder / "given").read_text().splitlines():
        place, example, text = json.loads(line)
        stored = AnswerStore.read(stub(Path(place)))
        if example not in stored or stored[example].text != text:
            raise Lost(f"an answer that was given is not in {place}")


def stub(folder: Path) -> AnswerStore:
    """The store at this place."""
    store = AnswerStore(folder.parent, {})
    store.folder = folder
    return store
