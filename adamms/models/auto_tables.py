"""transformers' tables of Auto classes, read from its source: importing them costs seconds.

Knows which names they have, not what they are used for.
"""

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# A model_type -> the name of its class, or of several.
Table = Mapping[str, Any]


def auto_tables(*names: str) -> list[Table]:
    """The tables that `transformers.models.auto.modeling_auto` calls so, in this order.

    One that is written down there in another way than as a list of pairs is imported. So are all, once
    something else has imported them: then that costs nothing.
    """
    if "transformers.models.auto.modeling_auto" in sys.modules:
        return [_imported(name) for name in names]
    spec = find_spec("transformers")  # finds it, and does not import it
    places = [] if spec is None else spec.submodule_search_locations or []
    files = [file for place in places if (file := Path(place) / "models/auto/modeling_auto.py").is_file()]
    source = "".join(file.read_text(encoding="utf-8") for file in files)
    return [_imported(name) if (table := _written(name, source)) is None else table for name in names]


def _written(name: str, source: str) -> Table | None:
    """The table as a list of pairs in the source; None if it is written otherwise. No other is parsed."""
    text = re.search(rf"^{name} = .*?^\)", source, re.MULTILINE | re.DOTALL)
    with suppress(SyntaxError, ValueError):
        match ast.parse(text[0] if text else "").body:
            case [ast.Assign(value=ast.Call(args=[ast.List(elts=pairs)], keywords=[]))]:
                return dict(_entries(pairs, source))
    return None


def _entries(pairs: list[ast.expr], source: str) -> Iterator[tuple[str, Any]]:
    """Key and value of each pair, and of those of another table: `*list(TABLE.items())`."""
    for pair in pairs:
        match pair:
            case ast.Starred(ast.Call(args=[ast.Call(func=ast.Attribute(value=ast.Name(id=other)))])):
                yield from (_written(other, source) or _imported(other)).items()
            case _:
                yield ast.literal_eval(pair)


def _imported(name: str) -> Table:
    from transformers.models.auto import modeling_auto

    table: Table = getattr(modeling_auto, name)
    return table
