"""Queries and keys of equal names and shapes whose rotary halves lie in another order are told."""

from pathlib import Path

import numpy as np
import pytest
from planted_faults import State, flagged, layer, planned, with_donor

from adamms.mapping.checks.row_order import closest_order, in_another_order, rotates
from adamms.mapping.checks.verify import verify_plan
from adamms.mapping.content.orders import RowOrder


def reordered(order: RowOrder) -> object:
    def change(state: State) -> None:
        for i in range(4):
            for which in "qk":
                for part in ("weight", "bias"):
                    name = layer(i, f"self_attn.{which}_proj.{part}")
                    state[name] = order.applied(state[name]).contiguous()

    return change


@pytest.mark.parametrize(
    ("order", "found"),
    [
        (
            RowOrder(32, 2),
            "rotary neighbours in heads of 32 rows, where the target has halves",
        ),
        (
            RowOrder(32, 16),
            "rotary halves in heads of 32 rows, where the target has neighbours",
        ),
    ],
)
def test_another_order_is_named(kin: Path, tmp_path: Path, order: RowOrder, found: str) -> None:
    plan, models = planned(with_donor(kin, tmp_path / "donor", reordered(order)))  # type: ignore[arg-type]
    assert in_another_order(plan, models) == {"a": f"its queries and keys have {found} (4 of 4 sampled)"}


@pytest.mark.parametrize("rows", [256, 1536])
@pytest.mark.parametrize("right", [0, 0.25])
def test_an_order_that_most_rows_have_is_found(rows: int, right: float) -> None:
    """Of few rows, and of a whole matrix, of which a quarter lies right."""
    target = np.random.default_rng(0).normal(size=(rows, 64)).astype(np.float32)
    other, whole = RowOrder(64, 32).applied(target), int(rows * right)
    other[:whole] = target[:whole]
    assert closest_order(target, other, rows) == RowOrder(64, 2)
    assert closest_order(target, target, rows) is None


def test_the_same_order_is_not_told(kin: Path) -> None:
    folders = {name: kin / name for name in ("target", "donor", "ancestor")}
    assert in_another_order(*planned(folders)) == {}


@pytest.mark.parametrize(
    ("config", "turned"),
    [
        ({"model_type": "ernie4_5"}, "neighbours"),
        ({"model_type": "paddleocr_vl", "text_config": {"model_type": "paddleocr_vl_text"}}, "halves"),
        ({"model_type": "no such"}, ""),
        ({}, ""),
    ],
)
def test_transformers_class_says_what_it_turns(config: dict[str, object], turned: str) -> None:
    assert rotates(config) == turned


def test_verify_names_the_order_too(kin: Path, tmp_path: Path) -> None:
    plan, models = planned(with_donor(kin, tmp_path / "donor", reordered(RowOrder(32, 2))))  # type: ignore[arg-type]
    found = flagged(verify_plan(plan, models))
    assert set(found) == {
        f"model.layers.{i}.self_attn.{which}_proj.weight" for i in range(4) for which in "qk"
    }
    assert "rows in another order (rotary neighbours in heads of 32 rows" in next(iter(found.values()))
