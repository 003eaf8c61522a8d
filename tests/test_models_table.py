"""docs/models.md's table is that of this code and, where its versions are installed, of these libraries."""

import re
from importlib.metadata import version

import coverage_table
import tiny_types

PART = coverage_table.generated(coverage_table.PAGE.read_text())


def test_every_format_with_a_spec_is_in_the_table() -> None:
    rows = [line for line in PART.splitlines() if line.startswith("| ")]
    for name, spec in coverage_table.specs().items():
        assert any(row.startswith(f"| {spec['about']} |") for row in rows), name


def test_every_type_of_that_transformers_is_there() -> None:
    merging = re.findall(r"^\| `\S+` \| \S+ \| yes \|", PART, flags=re.MULTILINE)
    counts = re.search(r"With transformers (\S+) and vLLM \S+, (\d+) of (\d+) multimodal types merge", PART)
    assert counts is not None
    assert int(counts[2]) == len(merging)
    if version("transformers") == counts[1]:
        assert int(counts[3]) == len(tiny_types.multimodal_types())
        for kind in tiny_types.multimodal_types():
            assert f"`{kind}`" in PART, kind
