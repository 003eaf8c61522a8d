"""Which shapes the parts of one quantised tensor may have, and which rows and columns share a scale."""

from collections.abc import Sequence

from adamms.checkpoint.tensor_entry import TensorEntry
from adamms.errors import AdammsError


def fitting_block(
    name: str, shape: Sequence[int], scale: TensorEntry, said: Sequence[int] | None
) -> tuple[int, int]:
    """Rows and columns that share one scale: those that are said, or those that the grid's shape implies."""
    rows, columns = shape[-2:]
    grid = scale.shape if len(shape) == 2 else scale.shape[1:]
    high, wide = (*grid, 1, 1)[:2] if len(grid) < 2 else grid[-2:]
    if said is not None and (high, wide) == (-(-rows // said[0]), -(-columns // said[1])):
        return said[0], said[1]
    if high and wide and rows % high == 0 and columns % wide == 0:
        return rows // high, columns // wide
    expected = "" if said is None else f", in blocks of {list(said)}"
    raise AdammsError(
        f"{name} of shape {list(shape)}{expected} does not go with scales of shape {list(scale.shape)}"
    )


def check_parts(
    shape: Sequence[int],
    codes: TensorEntry,
    scale: TensorEntry,
    zero: TensorEntry | None,
    groups: TensorEntry | None,
    each: int,
) -> None:
    """Raise AdammsError for parts of a tensor of this `shape` that do not go together.

    Args:
        each: codes in one number.
    """
    packed = (*scale.shape[:-2], -(-shape[-2] // each), *scale.shape[-1:])
    columns = shape[-1] // 2 if codes.dtype == "U8" else -(-shape[-1] // each)
    wanted = [(codes, (*shape[:-1], columns))]
    if zero is not None:
        wanted.append((zero, packed if zero.dtype == "I32" else scale.shape))
    if groups is not None:
        wanted.append((groups, (shape[-1],)))
    if len(shape) == 3:
        wanted.append((scale, (shape[0], *scale.shape[1:])))
    for part, expected in wanted:
        if part.shape != tuple(expected):
            raise AdammsError(
                f"{part.name} has shape {list(part.shape)}; a tensor of shape {list(shape)} needs "
                f"{list(expected)}"
            )
