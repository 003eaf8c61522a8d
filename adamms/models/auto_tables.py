"""transformers' tables of Auto classes, read from its source: importing them costs seconds.

Knows which names they have, not what they are used for.
"""

import ast
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
    found: dict[str, Table] = {}
    spec = find_spec("transformers")  # finds it, and does not import it
    for place in [] if spec is None else spec.submodule_search_locations or []:
        file = Path(place) / "models/auto/modeling_auto.py"
        for node in ast.parse(file.read_bytes()).body if file.is_file() else ():
            match node:
                case ast.Assign(
                    targets=[ast.Name(id=name)], value=ast.Call(args=[ast.List(elts=pairs)], keywords=[])
                ):
                    with suppress(ValueError, KeyError):  # no plain pairs
                        found[name] = dict(_entries(pairs, found))
    return [found[name] if name in found else _imported(name) for name in names]


def _entries(pairs: list[ast.expr], known: Mapping[str, Table]) -> Iterator[tuple[str, Any]]:
    """Key and value of each pair, and of those of another table: `*list(TABLE.items())`."""
    for pair in pairs:
        match pair:
            case ast.Starred(ast.Call(args=[ast.Call(func=ast.Attribute(value=ast.Name(id=other)))])):
                yield from known[other].items()
            case _:
                yield ast.literal_eval(pair)


def _imported(name: str) -> Table:
    from transformers.models.auto import modeling_auto

    table: Table = getattr(modeling_auto, name)
    return table
