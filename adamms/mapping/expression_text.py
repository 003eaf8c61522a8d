"""Expressions in words, for people."""

import re
from collections.abc import Sequence

from adamms.mapping.expression import Concat, Expression, Pick, Read, Slice, Stack, parts_of


def to_text(expression: Expression) -> str:
    """The expression in a line, for people: `concat(q, k[0:64])`, `stack(experts.{e}.up, e=0:128)`."""
    texts = [to_text(part) for part in parts_of(expression)]
    inner = ", ".join(texts)
    match expression:
        case Read(name):
            return name
        case Slice(_, dim, start, stop):
            return f"{inner}[{':, ' * dim}{start}:{stop}]"
        case Concat(_, dim) if dim:
            return f"concat({inner}, dim={dim})"
        case Stack(parts) if (folded := _folded(texts)) is not None:
            return f"stack({folded}, e=0:{len(parts)})"
        case Pick(_, index):
            return f"{inner}[{index}]"
    return f"{type(expression).__name__.lower()}({inner})"


def _folded(texts: Sequence[str]) -> str | None:
    """Texts that differ only in a number, their position, as one with `{e}` in its place; None for others."""
    cut = [re.split(r"(\d+)", text) for text in texts]
    if len(texts) < 2 or len({len(pieces) for pieces in cut}) != 1:
        return None
    folded = []
    for place, column in enumerate(zip(*cut, strict=True)):
        if len(set(column)) == 1:
            folded.append(column[0])
        elif place % 2 and list(column) == [str(index) for index in range(len(texts))]:
            folded.append("{e}")
        else:
            return None
    return "".join(folded)
