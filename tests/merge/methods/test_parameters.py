"""What the annotations of the methods' parameters accept, which is all that the door checks of one value."""

import math
from typing import Any, get_type_hints

import pytest
from pydantic import TypeAdapter, ValidationError

from adamms.merge.catalogue import known_methods

# Of every method that has the parameter.
ACCEPTED: dict[str, list[Any]] = {
    "density": [1e-3, 1, 1.0],
    "scaling": [-1.0, 0, 3],
    "gamma": [0, 0.99],
    "epsilon": [0.0, 1],
    "parallel": [0.5],
    "tolerance": [0, 1e-13],
    "rank": [None, 0.1, 1],
    "steps": [1, 300],
    "rate": [1e-5, 1],
    "power": [1, 2],
    "least": [0, 1e-12],
    "vocabulary_rows": [1],
    "time": [None, 0.5, 300],
    "common": [0, 0.8, 1],
    "boost": [0, 0.1, 2.0],
    "bound": [0.0, 1],
    "seed": [0, 7],
    "combine": ["sum", "mean"],
}
REFUSED: dict[str, list[Any]] = {
    "density": [0, -0.1, 1.5, 20, math.nan, "0.5", None],
    "scaling": [math.nan, math.inf, "1", None],
    "gamma": [-0.1, 1],
    "epsilon": [-0.1, 1.1],
    "parallel": [0, 1],
    "tolerance": [-1e-9, 2],
    "rank": [0, 1.1],
    "steps": [0, 1.5],
    "rate": [0, 2],
    "power": [0, 3],
    "least": [-0.1, 1],
    "vocabulary_rows": [0],
    "time": [0, -1.0, "long"],
    "common": [-0.1, 1.1],
    "boost": [-0.1, math.inf],
    "bound": [-1, math.nan],
    "seed": [0.5, None],
    "combine": ["max"],
    "scope": ["tensors"],
    "election": ["none"],
    "per": ["layer"],
    "variant": ["opt"],
    "solver": ["gd"],
    "start": ["zero"],
    "elect": ["mean"],
    "rescale": [2],
    "limit": [None],
}


def test_every_parameter_says_what_it_accepts() -> None:
    seen = set()
    for method in known_methods():
        hints = get_type_hints(method.__init__, include_extras=True)
        for name in hints.keys() - {"return"}:
            seen.add(name)
            adapter = TypeAdapter(hints[name])
            for value in ACCEPTED.get(name, ()):
                adapter.validate_python(value, strict=True)
            for value in REFUSED[name]:
                with pytest.raises(ValidationError):
                    adapter.validate_python(value, strict=True)
    assert seen == set(REFUSED)
