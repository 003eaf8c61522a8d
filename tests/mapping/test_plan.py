"""Plans and what they are made of read back from their JSON as equal objects."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adamms.errors import AdammsError
from adamms.mapping.expression import Concat, Expression, Mean, Read, Slice, Tokens
from adamms.mapping.finding import GRADES, Finding
from adamms.mapping.plan import Plan, Slot

NAMES = st.text("abc._0", min_size=1, max_size=6)
SIZES = st.integers(0, 9)
READS: st.SearchStrategy[Expression] = st.builds(Read, NAMES)
EXPRESSIONS = st.recursive(
    READS,
    lambda inner: st.one_of(
        st.builds(Slice, inner, SIZES, SIZES, SIZES),
        st.builds(Concat, st.lists(inner, min_size=1, max_size=3).map(tuple), SIZES),
        st.builds(Mean, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        st.builds(Tokens, inner, st.lists(st.integers(-1, 9), max_size=9).map(tuple)),
    ),
    max_leaves=4,
)
SHAPES = st.lists(SIZES, min_size=1, max_size=3).map(tuple)
DTYPES = st.sampled_from(["BF16", "F32"])
MERGED = st.builds(
    Slot,
    *(NAMES, SHAPES, DTYPES, NAMES | st.just("")),
    donors=st.dictionaries(NAMES, EXPRESSIONS, min_size=1, max_size=2),
    ancestor=st.none() | EXPRESSIONS,
    lacking=st.dictionaries(NAMES, NAMES, max_size=2),
)
KEPT = st.builds(Slot, NAMES, SHAPES, DTYPES, NAMES | st.just(""), reason=NAMES)
COSINES = st.integers(-10_000, 10_000).map(lambda number: number / 10_000)  # as plans round them
EVIDENCE = st.builds(
    Finding,
    *(st.sampled_from(GRADES), COSINES, NAMES, st.none() | COSINES, NAMES, st.none() | COSINES, NAMES),
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    slots = draw(st.lists(MERGED | KEPT, max_size=4, unique_by=lambda slot: slot.name))
    donors = draw(st.dictionaries(NAMES, NAMES, max_size=2))
    unused = {donor: {"not needed": tuple(draw(st.lists(NAMES, max_size=2)))} for donor in donors}
    known = draw(st.dictionaries(NAMES, EVIDENCE, min_size=1, max_size=2))
    finding = {slot.name: known for slot in slots if draw(st.booleans())}
    return Plan(draw(NAMES), donors, tuple(slots), unused, finding)


def written(content: object) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(json.dumps(content))
    return read


@given(plans())
def test_a_plan_reads_back(plan: Plan) -> None:
    assert Plan.from_json(written(plan.to_json())) == plan


@pytest.mark.parametrize("record", [{}, {"tensors": 3}, {"target": "t", "donors": {}, "tensors": [{}]}])
def test_what_is_no_plan_is_refused(record: dict[str, object]) -> None:
    with pytest.raises(AdammsError, match="not a plan"):
        Plan.from_json(record)
