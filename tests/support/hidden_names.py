"""Discovery on models whose names are hidden, beside what it should have found.

That is known because the models were laid out here (`relayout`), with nothing that discovery uses.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from mappers import discover_mapper
from relayout import Layout, State, experts, fused, grouped, hide, language, plain, rest
from safetensors.torch import load_file

from adamms.checkpoint.reader import open_checkpoint
from adamms.mapping.content.discover import DiscoverMapper, Stages
from adamms.mapping.content.sketch import SketchedModel
from adamms.mapping.evaluation import evaluate_rows
from adamms.mapping.plan import Plan, Slot

# How target and donor are laid out.
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
# Copies of one tensor cannot be told apart, so none of these matches is sure; either copy is right.
COPIES: dict[str, tuple[Layout, Layout]] = {"donor with two experts": (plain, experts)}


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

    @property
    def merged(self) -> list[Slot]:
        return [slot for slot in self.plan.slots if slot.merged]

    @property
    def wrong(self) -> list[Slot]:
        """What is merged with anything but the donor's values of the same place."""
        return [slot for slot in self.merged if not self.right(slot)]

    @property
    def sure(self) -> list[Slot]:
        """What the finding calls sure, merged or not."""
        return [slot for slot in self.plan.slots if grade(self.plan, slot.name) == "sure"]

    @property
    def wrong_sure(self) -> list[Slot]:
        return [slot for slot in self.sure if not self.right(slot)]

    def right(self, slot: Slot) -> bool:
        if not slot.merged or slot.name not in self.expected:
            return False
        value = evaluate_rows(slot.donors["a"], self.donor, 0, slot.shape[0], torch.empty(slot.shape))
        return torch.equal(value, self.expected[slot.name])


def discover_hidden(
    models: Path,
    folder: Path,
    target: Layout,
    donor: Layout,
    ancestor: bool = False,
    mapper: DiscoverMapper | None = None,
) -> Hidden:
    """Lay out the fine-tuned pair, hide all names, discover.

    Args:
        models: holds the demo's three models.
        folder: where the hidden ones go.
        target, donor: their layouts.
        ancestor: whether the ancestor is given too.
        mapper: with its options; the default one if none is given.
    """
    mine, theirs = language(models / "target"), language(models / "donor")
    names = hide(target(mine) | rest(models / "target"), folder / "target", seed=1)
    hide(donor(theirs) | rest(models / "donor"), folder / "donor", seed=2)
    base = None
    if ancestor:
        hide(language(models / "ancestor"), folder / "ancestor", seed=3)
        base = sketched(folder / "ancestor")
    plan = (mapper or discover_mapper()).plan(
        sketched(folder / "target"), {"a": sketched(folder / "donor")}, base
    )
    expected = {names[name]: tensor for name, tensor in target(theirs).items()}
    return Hidden(
        plan,
        expected,
        load_file(folder / "donor/model.safetensors"),
        {names[name] for name in rest(models / "target")},
    )


@contextmanager
def quiet(title: str, total: int, unit: str) -> Iterator[object]:
    yield lambda count: None


def sketched(folder: Path, stage: Stages = quiet) -> SketchedModel:  # type: ignore[assignment]
    return discover_mapper().describe(open_checkpoint(folder), None, stage)


def grade(plan: Plan, name: str, source: str = "a") -> str:
    """How sure the match is; "" of what cannot be compared."""
    found = plan.findings.get(name, {}).get(source)
    return "" if found is None else found.grade
