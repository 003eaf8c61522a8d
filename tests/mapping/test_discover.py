"""Correspondences from weights alone: real fine-tuned models, every layout, names hidden, and strangers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from headers import kept
from relayout import Layout, State, experts, fused, grouped, hide, language, plain, rest
from safetensors.torch import load_file

from adamms.checkpoint.reader import open_checkpoint
from adamms.mapping.discover import DiscoverMapper, Stages
from adamms.mapping.expression import evaluate_rows
from adamms.mapping.plan import Plan, Slot
from adamms.mapping.sketch import SketchedModel


@contextmanager
def quiet(title: str, total: int, unit: str) -> Iterator[object]:
    yield lambda count: None


def sketched(folder: Path, stage: Stages = quiet) -> SketchedModel:  # type: ignore[assignment]
    return DiscoverMapper().describe(open_checkpoint(folder), None, stage)


@dataclass(frozen=True)
class Hidden:
    """A discovered plan of two models whose names were hidden, with what it should have found.

    Args:
        plan: of the hidden models.
        expected: hidden target name of an LM tensor -> the values that the donor's model has there.
        donor: hidden donor name -> values.
        kept: hidden target names that are not of the LM.
    """

    plan: Plan
    expected: State
    donor: State
    kept: set[str]

    def right(self, slot: Slot) -> bool:
        value = evaluate_rows(slot.donors["a"], self.donor, 0, slot.shape[0], torch.empty(slot.shape))
        return slot.name in self.expected and torch.equal(value, self.expected[slot.name])


def discover_hidden(
    kin: Path,
    folder: Path,
    target: Layout,
    donor: Layout,
    ancestor: bool = False,
    mapper: DiscoverMapper | None = None,
) -> Hidden:
    """Lay out the fine-tuned pair, hide all names, discover."""
    mine, theirs = language(kin / "target"), language(kin / "donor")
    names = hide(target(mine) | rest(kin / "target"), folder / "target", seed=1)
    hide(donor(theirs) | rest(kin / "donor"), folder / "donor", seed=2)
    base = None
    if ancestor:
        hide(language(kin / "ancestor"), folder / "ancestor", seed=3)
        base = sketched(folder / "ancestor")
    plan = (mapper or DiscoverMapper()).plan(
        sketched(folder / "target"), {"a": sketched(folder / "donor")}, base
    )
    expected = {names[name]: tensor for name, tensor in target(theirs).items()}
    return Hidden(
        plan,
        expected,
        load_file(folder / "donor/model.safetensors"),
        {names[name] for name in rest(kin / "target")},
    )


def grade(plan: Plan, name: str, source: str = "a") -> str:
    return plan.evidence[name][source].grade


PAIRS: dict[str, tuple[Layout, Layout]] = {
    "the demo's pair": (plain, plain),
    "fused target": (fused, plain),
    "fused donor": (plain, fused),
    "both fused": (fused, fused),
    "grouped target": (grouped, plain),
    "grouped donor": (plain, grouped),
    "grouped target, fused donor": (grouped, fused),
    "fused target, grouped donor": (fused, grouped),
    "target with two experts": (experts, plain),
    "target with two experts, donor grouped": (experts, grouped),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_finds_all_of_the_language_model_with_names_hidden(kin: Path, tmp_path: Path, pair: str) -> None:
    found = discover_hidden(kin, tmp_path, *PAIRS[pair])
    merged = [slot for slot in found.plan.slots if slot.merged]
    wrong = [slot for slot in merged if not found.right(slot)]
    assert not wrong
    assert len(merged) >= 0.99 * len(found.expected)
    sure = [slot for slot in merged if grade(found.plan, slot.name) == "sure"]
    assert len(sure) >= 0.95 * len(merged)
    assert found.kept <= set(kept(found.plan))
