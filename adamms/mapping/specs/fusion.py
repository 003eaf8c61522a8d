"""What a spec says of several roles in one tensor, with a checkpoint's numbers filled in.

Knows nothing of a second model.
"""

from collections.abc import Mapping
from typing import Any

from adamms.architectures.label import Fused, Stacked
from adamms.errors import AdammsError
from adamms.mapping.expression import Shape
from adamms.mapping.language_config import HIDDEN, nested_parts
from adamms.mapping.layout import Layout, StackedLayout, turned


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


def stacked_layout(
    stacked: Stacked, shape: Shape, config: Mapping[str, Any], transposed: bool
) -> StackedLayout:
    """The layout that `stacked` means for a tensor of this shape, in a checkpoint with this config.json.

    Raises:
        AdammsError: as of `layout_of`, for the shape of one expert.
    """
    one = turned(shape[1:], transposed)
    if isinstance(stacked.each, Fused):
        layout = layout_of(stacked.each, one, config)
    else:
        layout = Layout((stacked.each,), 0, one[:1])
    return StackedLayout(layout, shape[0], transposed)


def is_transposed(stacked: Stacked, shape: Shape, config: Mapping[str, Any]) -> bool | None:
    """Whether the matrices of a stacked tensor are stored as (in, out); None where the shape does not tell.

    The hidden size is what experts' gate and up projections read, and what their down projections write.

    Raises:
        AdammsError: a tensor of another rank, or neither side of the matrices has the hidden size.
    """
    parts = stacked.each.parts if isinstance(stacked.each, Fused) else (stacked.each,)
    wanted = 2 if parts[0].part == "bias" else 3
    if len(shape) != wanted:
        raise AdammsError(f"has shape {shape}; expected {wanted} dimensions, the first of them the experts")
    if wanted == 2:
        return False
    hidden = next((size for key in HIDDEN for size in settings(config, key) if isinstance(size, int)), None)
    if hidden is not None and hidden not in shape[1:]:
        raise AdammsError(
            f"has shape {shape}; expected the hidden size {hidden} (config.json) as one of the last two sizes"
        )
    if hidden is None or shape[1] == shape[2]:
        return None
    return shape[2 if parts[0].kind == "moe.expert.down" else 1] == hidden


def settings(config: Mapping[str, Any], key: str) -> list[Any]:
    """What config.json says of its language model under `key`: nested first, then at the top.

    Multimodal configs say it in either place or in both, not always in agreement.
    """
    return [part[key] for part in reversed(nested_parts(config)) if part.get(key) is not None]


def _number(given: int | str, config: Mapping[str, Any]) -> int:
    if isinstance(given, int):
        return given
    found = next((value for value in settings(config, given) if isinstance(value, int)), 0)
    if found < 1:
        raise AdammsError(f"needs {given} for its layout, and config.json gives no such number")
    return found
