"""The examples in the docstrings of the search and of the evaluation are true."""

import doctest
import importlib

MODULES = (
    "search.evidence",
    "search.difference",
    "search.choice",
    "search.candidates",
    "evaluate.evaluation",
)


def test_the_examples_hold() -> None:
    for name in MODULES:
        found = doctest.testmod(importlib.import_module(f"adamms.{name}"))
        assert found.attempted, name
        assert not found.failed, name
