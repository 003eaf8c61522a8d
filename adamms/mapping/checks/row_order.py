"""Whether queries and keys, mapped by name, lie in the target's order of rows.

Models of one ancestor may keep the two rows that a rotary embedding turns together in the halves of a head or
side by side, under equal names and in equal shapes. Reads a few rows of a few matrices.
"""

import importlib
from collections import Counter
from collections.abc import Mapping
from random import Random

import torch

from adamms.checkpoint.reader import Checkpoint
from adamms.mapping.checks.distance import role_and_layer
from adamms.mapping.checks.language_config import innermost
from adamms.mapping.checks.mapped_models import MappedModels
from adamms.mapping.content.noise import KINDRED, closer, cosine
from adamms.mapping.content.orders import LARGEST, RowOrder, rotary_orders
from adamms.mapping.plan import ANCESTOR, Plan, Slot

# Queries and keys of each model that are looked at.
SAMPLED = 4
TURNED = ("attn.q.weight", "attn.k.weight")


def in_another_order(plan: Plan, models: MappedModels) -> dict[str, str]:
    """Models whose queries and keys resemble the target's only in another order of rows: name -> which.

    Args:
        plan: by roles; its weights are there.
        models: those that the plan speaks of.
    """
    found = {}
    turned = [slot for slot in plan.slots if slot.merged and role_and_layer(slot)[0].startswith(TURNED)]
    for source in (*plan.donors, ANCESTOR):
        own = [slot for slot in turned if source in models.expressions(slot)]
        sample = Random(0).sample(own, min(SAMPLED, len(own)))
        orders = Counter(order for slot in sample if (order := _order(slot, source, models)))
        if orders and 2 * orders.total() > len(sample):
            order, count = orders.most_common(1)[0]
            other = models.checkpoint(source)
            found[source] = f"{order} ({count} of {len(sample)} sampled){_said(models.target, other)}"
    return found


def _order(slot: Slot, source: str, models: MappedModels) -> RowOrder | None:
    """The order that makes the rows resemble the target's; None where they do as they lie, or in no order."""
    rows = slot.shape[0] // len(slot.role.split(" + "))  # of a fused tensor only the first part
    place = [range(min(rows, LARGEST))]
    return closest_order(models.target_rows(slot, place), models.source_rows(slot, source, place), rows)


def closest_order(target: torch.Tensor, other: torch.Tensor, rows: int) -> RowOrder | None:
    """The rotary order in which the rows of `other` (n, C) are those of `target` (n, C); None for none.

    Args:
        rows: of the whole matrix, of which these are the first.
    """
    own, best = cosine(target, other), None
    for order in rotary_orders(rows):
        whole = len(target) // order.size * order.size
        similarity = cosine(target[:whole], order.applied(other[:whole]))
        if similarity > KINDRED and closer(similarity, own):
            own, best = similarity, order
    return best


def _said(target: Checkpoint, other: Checkpoint) -> str:
    """What the models' classes say of it, where transformers has them and they disagree."""
    mine, theirs = rotates(target.config), rotates(other.config)
    if not mine or not theirs or mine == theirs:
        return ""
    return f"; transformers' class of the target turns {mine}, that of the other {theirs}"


def rotates(config: Mapping[str, object]) -> str:
    """What the class of a config turns together: "halves" or "neighbours"; "" where it does not say."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    model_type = innermost(config).get("model_type")
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        return ""
    module = CONFIG_MAPPING[model_type].__module__.replace(".configuration_", ".modeling_")
    try:
        rotate = getattr(importlib.import_module(module), "rotate_half", None)
    except ImportError:
        return ""
    if rotate is None:
        return ""
    turned = rotate(torch.arange(4.0)).abs().tolist()
    return {(2.0, 3.0, 0.0, 1.0): "halves", (1.0, 0.0, 3.0, 2.0): "neighbours"}.get(tuple(turned), "")
