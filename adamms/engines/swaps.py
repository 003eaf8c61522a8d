"""Candidates swapped into a live engine, and the proof that it takes them in and gives the target back.

One place for all engines, which say what they hold by checksums. Knows no answers.
"""

import re
from collections.abc import Mapping, Sequence

import torch

from adamms.engines.base import Engine, UnprovenError
from adamms.merge.recipe import Recipe

NAMED = 5  # tensors in a message
EXPERT = re.compile(r"(.*)\[(\d+)\]")
INSTEAD = "try another engine or another version of it; engine.verify_swaps=false goes on unchecked"


class Swaps:
    """Loads recipes into an engine.

    Args:
        engine: has the target's own weights when the first recipe comes.

    Attributes:
        doubtful: whether anything was loaded since the last proof that held.
    """

    doubtful = False

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def load(self, recipe: Recipe) -> None:
        """Put a candidate into the engine."""
        self.engine.load(recipe)

    def prove(self) -> None:
        """Prove what was loaded since the last proof, if it is doubtful.

        The engine then holds the target's own weights.

        Raises:
            UnprovenError: what the engine holds is not what it should; with names of tensors.
        """


class ProvenSwaps(Swaps):
    """The same with proofs: of the first swap at once, of those after it by `prove`.

    A proof goes back to the target, alpha 0, and compares the checksums of all live tensors with those before
    anything was loaded. That of the first swap also looks whether every merged tensor has changed that should
    have, on every device, and loads the candidate again, which must give the same weights.
    """

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._start: Mapping[str, str] | None = None
        self._swapped = False  # whether the first swap is proven
        self._recipe: Recipe | None = None

    def load(self, recipe: Recipe) -> None:
        if self._start is None and recipe.mapped:
            if recipe.target.adapted:  # an engine starts without the adapter
                self.engine.load(recipe.unmerged())
            self._start = self.engine.checksums() or None
        self._recipe, self.doubtful = recipe, self._start is not None
        self.engine.load(recipe)
        if self._start is not None and recipe.changes and not self._swapped:
            self._prove_first(recipe, self._start)

    def prove(self) -> None:
        if not self.doubtful or self._start is None or self._recipe is None:
            return
        self.engine.load(self._recipe.unmerged())
        _check_same(self._start, self.engine.checksums(), "back at alpha 0, the live model is not the target")
        self.doubtful = False

    def _prove_first(self, recipe: Recipe, start: Mapping[str, str]) -> None:
        merged = self.engine.checksums()
        _check_received(recipe, start, merged)
        self.prove()
        self.doubtful = True
        self.engine.load(recipe)
        _check_same(merged, self.engine.checksums(), "the same candidate, loaded again, has other weights")
        self._swapped, self.doubtful = True, False


def _check_same(expected: Mapping[str, str], found: Mapping[str, str], what: str) -> None:
    """Raise UnprovenError, naming the tensors, unless the checksums are the same."""
    names = list(dict.fromkeys([*expected, *found]))
    if different := [name for name in names if expected.get(name) != found.get(name)]:
        raise UnprovenError(f"engine: {what}: {_named(different)} of {len(names)} tensors differ; {INSTEAD}")


def _check_received(recipe: Recipe, before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Raise UnprovenError for merged tensors, and for ranks, in which the first swap has changed nothing.

    Where an engine names what it holds as the files do, every merged tensor is looked at. Other engines say
    themselves what no rank has taken; here a rank is compared with the others: what all have alike must have
    changed on all, and no rank may have taken nothing.
    """
    same = [key for key, value in before.items() if after.get(key) == value]
    if len(same) == len(before) and any(_differs(recipe, name) for name in recipe.mapped):
        raise UnprovenError(f"engine: no merged tensor reached the live model; {INSTEAD}")
    changed = {key: value for key, value in before.items() if after.get(key) != value}
    elsewhere = {(_ranked(key)[1], value) for key, value in changed.items()}
    names, ranks = {_ranked(key)[1] for key in changed}, {_ranked(key)[0] for key in changed}
    if idle := {_ranked(key)[0] for key in same if _ranked(key)[1] in names} - ranks:
        raise UnprovenError(f"engine: no merged tensor reached rank {', '.join(sorted(idle))}; {INSTEAD}")
    lost = [key for key in same if (_ranked(key)[1], before[key]) in elsewhere or _differs(recipe, key)]
    if lost:
        raise UnprovenError(f"engine: {_named(lost)} merged tensors never reached the live model; {INSTEAD}")


def _ranked(key: str) -> tuple[str, str]:
    """('0.1', 'norm.weight') of '0.1 norm.weight'; ('', 'norm.weight') of 'norm.weight'."""
    rank, _, name = key.rpartition(" ")
    return rank, name


def _differs(recipe: Recipe, key: str) -> bool:
    """Whether a tensor of the files is merged and not the target's, in the coarsest precision of an engine.

    Args:
        key: its name, or that of one expert in it: 'name[3]'.
    """
    name, expert = key, None
    if key not in recipe.slots and (found := EXPERT.fullmatch(key)):
        name, expert = found[1], int(found[2])
    if name not in recipe.slots or not recipe.computes(recipe.slots[name]):
        return False
    merged, own = recipe.tensor(name).bfloat16(), recipe.target.read(name).bfloat16()
    return not torch.equal(*(each if expert is None else each[expert] for each in (merged, own)))


def _named(names: Sequence[str]) -> str:
    """'2 (a, b)'."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{len(names)} ({', '.join(names[:NAMED])}{more})"
