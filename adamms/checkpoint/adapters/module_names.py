"""Which stored tensor an adapter's module is: the same path under another prefix.

PEFT writes the module paths of the class that was trained. transformers has renamed the upper levels of its
multimodal classes over time, while checkpoints keep the names that they were published with:
`model.language_model.layers.0.mlp.up_proj` may be stored as `model.layers.0...` or
`language_model.model.layers.0...`. Knows nothing of adapters' arithmetic.
"""

from collections import Counter
from collections.abc import Iterable

from adamms.errors import AdammsError, nearest

Path = tuple[str, ...]


class StoredModules:
    """The modules of a checkpoint, found by the paths that an adapter has for them.

    Args:
        names: of the stored tensors.
        where: the checkpoint, for messages.
    """

    def __init__(self, names: Iterable[str], where: str) -> None:
        self.names = list(names)
        self.where = where
        self._by_tail: dict[Path, list[Path]] = {}
        self._prefixes: dict[Path, tuple[Path, str]] = {}
        for name in self.names:
            path = tuple(name.split("."))
            self._by_tail.setdefault(_tail(path), []).append(path)

    def find(self, name: str) -> str:
        """The stored name of the tensor `name` (module path and `weight` or `bias`).

        The longest common ending decides; it must reach up to the layer's number and the word before it.
        Among equals the rests decide: more words in common, then fewer others.

        Raises:
            AdammsError: no stored tensor, several, or one under another prefix than the rest of its block.
        """
        path = tuple(name.split("."))
        candidates = self._by_tail.get(_tail(path), [])
        if path in candidates:
            return name
        ranks = {candidate: _likeness(path, candidate) for candidate in candidates}
        best = [candidate for candidate in candidates if ranks[candidate] == max(ranks.values())]
        if not best:
            raise AdammsError(f"{self.where} has no tensor for {name!r}.{nearest(name, self.names)}")
        if len(best) > 1:
            found = " or ".join(".".join(candidate) for candidate in best[:3])
            raise AdammsError(f"{name!r} may be any of {len(best)} tensors of {self.where}: {found}")
        self._check_prefix(name, path, best[0])
        return ".".join(best[0])

    def _check_prefix(self, name: str, path: Path, stored: Path) -> None:
        """The layers of one block of an adapter are the layers of one block of the checkpoint."""
        if not any(part.isdigit() for part in path):
            return
        size = len(_tail(path))
        block, prefix = (*path[:-size], path[-size]), stored[:-size]
        first, example = self._prefixes.setdefault(block, (prefix, name))
        if first != prefix:
            raise AdammsError(
                f"{self.where} has no tensor for {name!r} beside the one for {example!r}: the nearest is "
                f"{'.'.join(stored)!r}"
            )


def _tail(path: Path) -> Path:
    """What must agree: from the word before the first number on; without a number module and parameter."""
    numbers = [index for index, part in enumerate(path) if part.isdigit()]
    return path[max(numbers[0] - 1, 0) :] if numbers else path[-2:]


def _likeness(path: Path, stored: Path) -> tuple[int, int, int]:
    """(words of the common ending, words that both have before it, words that one has, negative)."""
    ending = 0
    while ending < min(len(path), len(stored)) and path[-1 - ending] == stored[-1 - ending]:
        ending += 1
    mine, theirs = Counter(path[: len(path) - ending]), Counter(stored[: len(stored) - ending])
    return ending, (mine & theirs).total(), -((mine | theirs) - (mine & theirs)).total()
