"""A merge of adapters of one base as an adapter: the weighted sum of what each adds to a matrix.

    base + sum_m c_m * s_m B_m A_m = base + [c_1 s_1 B_1, c_2 s_2 B_2, ...] [A_1; A_2; ...]

So the ranks add up, and nothing is lost. The share c_m of each model counts, and its adapter's scale s_m,
also a rank-stabilised one. DoRA gives rows a norm that depends on the base: there is no such sum. Knows no
files; `low_rank` has the arithmetic.
"""

from collections.abc import Mapping

import torch

from adamms.checkpoint.adapters.adapted import AdaptedCheckpoint, Change
from adamms.checkpoint.adapters.tying import same_values
from adamms.checkpoint.reader import Checkpoint
from adamms.checkpoint.tensor_entry import TensorEntry
from adamms.checkpoint.tensor_values import map_tensor
from adamms.errors import AdammsError
from adamms.mapping.expression import Read
from adamms.mapping.plan import Slot
from adamms.merge.low_rank import summed
from adamms.merge.method import TARGET, with_target
from adamms.merge.methods.linear import Linear
from adamms.merge.methods.task_arithmetic import TaskArithmetic
from adamms.merge.recipe import Recipe

INSTEAD = "mode.rank=16 takes the difference of the weights, and the best adapter of that rank"


class AdapterSum:
    """A recipe whose models are one base with adapters, tensor by tensor.

    Args:
        recipe: of a method that is a weighted sum: linear or task_arithmetic.

    Raises:
        AdammsError: another method, or models that are no adapters of one base.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.models: Mapping[str, Checkpoint] = {TARGET: recipe.target, **recipe.donors}
        if not isinstance(recipe.method, Linear | TaskArithmetic):
            raise AdammsError(
                f"mode.rank=null adds up adapters, and merge={recipe.method.name} is no weighted sum of "
                f"models (linear and task_arithmetic are); {INSTEAD}"
            )
        self.base = base_of(recipe.target)
        for name, model in self.models.items():
            if base_of(model).fingerprint != self.base.fingerprint:
                raise AdammsError(
                    f"mode.rank=null adds up adapters of one base, and {name} ({model}) has another base "
                    f"than the target, {self.base}; {INSTEAD}"
                )
        ancestor = recipe.ancestor if recipe.method.needs_ancestor else None
        if ancestor is not None and ancestor.fingerprint != self.base.fingerprint:
            raise AdammsError(
                f"mode.rank=null adds up adapters, which are changes of {self.base}; merge="
                f"{recipe.method.name} takes changes of the ancestor, {ancestor}; {INSTEAD}"
            )

    def shares(self, slot: Slot) -> dict[str, float]:
        """Model -> the factor of what its adapter adds to a tensor; those that have a part in it."""
        if not self.recipe.computes(slot):
            return {TARGET: 1.0}
        shares = self.recipe.shares(slot)
        scaling = self.recipe.method.scaling if isinstance(self.recipe.method, TaskArithmetic) else 1.0
        return {name: scaling * share for name, share in with_target(shares).items() if share}

    def low_rank(self, name: str) -> tuple[torch.Tensor, torch.Tensor] | None:
        """(up, down) of a tensor, as `low_rank.summed`; None where an adapter has a whole tensor.

        Raises:
            AdammsError: DoRA, or rows that are aligned by token.
        """
        slot = self.recipe.slots[name]
        parts = []
        for model, share in self.shares(slot).items():
            change = self._change(slot, model)
            if change is None:
                continue
            if change.low_rank is None or not self._is_base(name, change.base):
                return None
            if change.low_rank.magnitude is not None:
                raise AdammsError(
                    f"{model}'s adapter of {name} is DoRA, which gives rows norms: a weighted sum of such is "
                    f"no adapter; {INSTEAD}"
                )
            up, down = (map_tensor(entry) for entry in (change.low_rank.up, change.low_rank.down))
            if change.low_rank.embedding:
                up, down = down.T, up.T
            parts.append((share * change.low_rank.scale, up, down))
        if not parts:
            rows, columns = slot.shape
            return torch.empty(rows, 0), torch.empty(0, columns)
        return summed(parts)

    def _is_base(self, name: str, entry: TensorEntry) -> bool:
        """Whether these are the base's own values; beside LoRA on embeddings PEFT saves a copy."""
        own = self.base.tensors.get(name)
        return own is not None and same_values(entry, own)

    def _change(self, slot: Slot, model: str) -> Change | None:
        checkpoint = self.models[model]
        if model != TARGET and slot.donors.get(model) != Read(slot.name):
            raise AdammsError(f"{slot.name} is not read as it is from {model}; {INSTEAD}")
        return checkpoint.changes.get(slot.name) if isinstance(checkpoint, AdaptedCheckpoint) else None


def base_of(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint below its adapter, if it has one."""
    return checkpoint.base if isinstance(checkpoint, AdaptedCheckpoint) else checkpoint
