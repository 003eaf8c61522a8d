"""The JSON that runs leave reads back, and is laid out for people."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from adamms.app.json_files import _lines, write_json

leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
content = st.recursive(leaves, lambda part: st.lists(part) | st.dictionaries(st.text(), part), max_leaves=20)


@given(st.dictionaries(st.text(), content))
def test_it_is_json(found: dict[str, object]) -> None:
    assert json.loads(_lines(found)) == found


def test_a_list_of_numbers_is_on_one_line(tmp_path: Path) -> None:
    write_json(tmp_path / "a/b.json", {"a": {"é": [1, 0.5]}, "b": [{"c": []}, {}], "d": {}})
    lines = (tmp_path / "a/b.json").read_text(encoding="utf-8").splitlines()
    assert lines[:4] == ["{", '  "a": {', '    "é": [1,0.5]', "  },"]
    assert [line.strip() for line in lines[4:]] == [
        '"b": [',
        "{",
        '"c": []',
        "},",
        "{}",
        "],",
        '"d": {}',
        "}",
    ]
