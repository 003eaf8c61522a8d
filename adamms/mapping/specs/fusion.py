"""Fused tensors taken apart and put together: where each part's rows lie in the whole.

Fills a checkpoint's numbers into what a spec says of a fusion; knows nothing of a second model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adamms.architectures.label import Fused
from adamms.architectures.roles import Role
from adamms.errors import AdammsError
from adamms.mapping.expression import Expression, Shape
from adamms.mapping.simplify import join, take

# Where multimodal configs nest the config of their language model.
_NESTED = ("text_config", "llm_config", "language_config")


@dataclass(frozen=True)
class Layout:
    """How the parts of one fused tensor lie in it.

    Along `dim` come `groups` groups; each holds, part after part, its equal share of that part.

    Args:
        parts: the roles, in the order in which they come within a group.
        dim: the dimension along which they are fused.
        sizes: each part's size along `dim`, over all groups.
        groups: their number; 1 when every part is in one piece.
    """

    parts: tuple[Role, ...]
    dim: int
    sizes: tuple[int, ...]
    groups: int = 1

    def split(self, whole: Expression, shape: Callable[[str], Shape]) -> tuple[Expression, ...]:
        """Each part of `whole`, as an expression over it."""
        shares = [size // self.groups for size in self.sizes]
        group = sum(shares)
        found = []
        for index, share in enumerate(shares):
            first = sum(shares[:index])
            starts = [g * group + first for g in range(self.groups)]
            found.append(join([take(whole, self.dim, s, s + share, shape) for s in starts], self.dim, shape))
        return tuple(found)

    def fuse(self, parts: Sequence[Expression], shape: Callable[[str], Shape]) -> Expression:
        """The whole, from one expression per part, each of its part's size along `dim`."""
        shares = [size // self.groups for size in self.sizes]
        pieces = [
            take(part, self.dim, g * share, (g + 1) * share, shape)
            for g in range(self.groups)
            for part, share in zip(parts, shares, strict=True)
        ]
        return join(pieces, self.dim, shape)


def layout_of(fused: Fused, shape: Shape, config: Mapping[str, Any]) -> Layout:
    """The layout that `fused` means for a tensor of this shape, in a checkpoint with this config.json.

    Raises:
        AdammsError: a number that config.json lacks, or a shape that does not divide as they say.
    """
    weights = [_number(size, config) for size in fused.sizes or (1,) * len(fused.parts)]
    groups = _number(fused.groups, config)
    total = sum(weights)
    size = shape[fused.dim] if fused.dim < len(shape) else 0
    sizes = tuple(size * weight // total for weight in weights)
    if size == 0 or size % total or any(part % groups for part in sizes):
        ratio = ":".join(map(str, weights))
        parts = "equal parts" if len(set(weights)) == 1 else f"parts as {ratio}"
        inside = "" if groups == 1 else f" in {groups} groups"
        raise AdammsError(
            f"has shape {shape}; expected dimension {fused.dim} to divide into {len(weights)} {parts}{inside}"
        )
    return Layout(fused.parts, fused.dim, sizes, groups)


def settings(config: Mapping[str, Any], key: str) -> list[Any]:
    """What config.json says of its language model under `key`: nested first, then at the top.

    Multimodal configs say it in either place or in both, not always in agreement.
    """
    nested = [config[name] for name in _NESTED if isinstance(config.get(name), Mapping)]
    return [part[key] for part in (*nested, config) if part.get(key) is not None]


def _number(given: int | str, config: Mapping[str, Any]) -> int:
    if isinstance(given, int):
        return given
    found = next((value for value in settings(config, given) if isinstance(value, int)), 0)
    if found < 1:
        raise AdammsError(f"needs {given} for its layout, and config.json gives no such number")
    return found
