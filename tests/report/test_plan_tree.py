"""The tree of a plan: every tensor is in exactly one branch, and what it is made of hangs from it."""

import re
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from adamms.mapping.expression import Concat, Expression, Mean, Pick, Read, Slice, Stack, Tokens, Transpose
from adamms.mapping.expression_text import to_text
from adamms.mapping.plan import Plan, Slot
from adamms.report.plan_tree import SHOWN, Branch, plan_tree

SLOTS = (
    Slot("layers.0.q.weight", (4, 4), "F32", "attn.q", {"a": Read("b.0.q")}),
    Slot("layers.1.q.weight", (4, 4), "F32", "attn.q", {"a": Read("b.1.q")}),
    Slot("layers.2.q.weight", (8, 4), "F32", "attn.q", {"a": Concat((Read("b.2.q"), Read("c.2.q")), 0)}),
    Slot("visual.0.w", (2,), "F32", "", reason="vision encoder"),
    Slot("visual.1.w", (2,), "F32", "", reason="vision encoder"),
    Slot("head", (3, 3), "F32", "head", reason="mapper.exclude"),
)


def lines(branch: Branch) -> Iterator[str]:
    yield branch.text
    for below in branch.below:
        yield from lines(below)


def test_what_differs_only_in_numbers_is_one_branch() -> None:
    assert list(lines(plan_tree(Plan("target", {}, SLOTS)))) == [
        "target",
        "merged: 3 tensors, 64 parameters",
        "layers.{i}.q.weight  2 x [4, 4]",
        "a: b.{i}.q",
        "layers.{i}.q.weight  [8, 4]",
        "a: concat(b.{i}.q, c.{i}.q)",
        "kept, vision encoder: 2 tensors, 4 parameters",
        "visual.{i}.w  2 x [2]",
        "kept, mapper.exclude: 1 tensor, 9 parameters",
        "head  [3, 3]",
    ]


@given(st.lists(st.tuples(st.text("abc", min_size=1), st.booleans()), min_size=1, max_size=60, unique=True))
def test_every_tensor_is_counted_once(names: list[tuple[str, bool]]) -> None:
    slots = tuple(
        Slot(
            f"{name}{place}",
            (1,),
            "F32",
            "",
            {"a": Read("x")} if merged else {},
            reason="" if merged else "r",
        )
        for place, (name, merged) in enumerate(names)
    )
    counts = [
        int(match[1])
        for branch in plan_tree(Plan("t", {}, slots)).below
        if (match := re.search(r": (\d+) tensor", branch.text))
    ]
    assert sum(counts) == len(slots)


def test_what_is_too_much_to_show_is_counted() -> None:
    slots = tuple(Slot(f"{'x' * place}", (1,), "F32", "", reason="r") for place in range(1, SHOWN + 6))
    _, kept = plan_tree(Plan("t", {}, slots)).below
    assert len(kept.below) == SHOWN + 1
    assert kept.below[-1].text == "and 5 more patterns"


def test_expressions_in_words() -> None:
    q: Expression = Read("q")
    assert to_text(Slice(q, 0, 2, 4)) == "q[2:4]"
    assert to_text(Slice(q, 1, 2, 4)) == "q[:, 2:4]"
    assert to_text(Concat((q, Slice(q, 0, 0, 1)), 1)) == "concat(q, q[0:1], dim=1)"
    assert to_text(Mean((q, Tokens(q, (0, -1))))) == "mean(q, tokens(q))"
    assert to_text(Transpose(Pick(q, 3))) == "transpose(q[3])"


def test_experts_of_their_own_are_one_branch() -> None:
    slots = tuple(
        Slot(f"l.{i}.experts.{e}.up", (4, 4), "F32", "", {"a": Read(f"k.{i}.mlp.experts.{e}.w3")})
        for i in range(2)
        for e in range(3)
    )
    assert list(lines(plan_tree(Plan("target", {}, slots))))[2:] == [
        "l.{i}.experts.{e}.up  6 x [4, 4]",
        "a: k.{i}.mlp.experts.{e}.w3",
    ]


def test_experts_are_one_line() -> None:
    def stacked(name: str, count: int) -> str:
        return to_text(Stack(tuple(Transpose(Read(name.format(e))) for e in range(count))))

    assert stacked("l.3.experts.{}.up_proj", 128) == "stack(transpose(l.3.experts.{e}.up_proj), e=0:128)"
    assert to_text(Stack(tuple(Pick(Read("w2"), e) for e in range(11)))) == "stack(w2[{e}], e=0:11)"
    assert to_text(Stack((Read("a"), Read("b")))) == "stack(a, b)"
    assert to_text(Stack((Read("a.1"), Read("a.0")))) == "stack(a.1, a.0)"
    assert to_text(Stack((Read("a.0"), Read("a.1.2")))) == "stack(a.0, a.1.2)"
