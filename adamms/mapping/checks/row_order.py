"""Whether queries and keys, and experts, mapped by name, lie in the target's order.

Models of one ancestor may keep the two rows that a rotary embedding turns together in the halves of a head or
side by side, and their experts in any order, under equal names and in equal shapes. Reads a few rows of a few
matrices: of experts those of the router, which has one for each.
"""

from __future__ import annotations

import importlib
import math
from collections import Counter
from collections.abc import Mapping
from random import Random

import numpy as np
import numpy.typing as npt

from adamms.checkpoint.reader import Checkpoint
from adamms.mapping.checks.distance import role_and_layer
from adamms.mapping.checks.mapped_models import MappedModels, Values
from adamms.mapping.content.noise import KINDRED, closer, cosine
from adamms.mapping.content.orders import LARGEST, ONE_BY_ONE, RowOrder, rotary_orders, same_rows
from adamms.mapping.language_config import innermost
from adamms.mapping.plan import ANCESTOR, Plan, Slot
from adamms.system.on_demand import torch

# Queries and keys of each model that are looked at.
SAMPLED = 4
TURNED = ("attn.q.weight", "attn.k.weight")
ROUTER = "moe.router.weight"


def in_another_order(plan: Plan, models: MappedModels) -> dict[str, str]:
    """Models whose queries and keys, or experts, resemble the target's only in another order: name -> which.

    Args:
        plan: by roles; its weights are there.
        models: those that the plan speaks of.
    """
    found = {}
    for source in (*plan.donors, ANCESTOR):
        turned = _sample(plan, models, source, TURNED)
        orders = Counter(order for slot in turned if (order := _order(slot, source, models)))
        if orders and 2 * orders.total() > len(turned):
            order, count = orders.most_common(1)[0]
            said = _said(models.target, models.checkpoint(source))
            found[source] = f"its queries and keys have {order} ({count} of {len(turned)} sampled){said}"
        routers = _sample(plan, models, source, (ROUTER,))
        moved = sum(_in_other_order(slot, source, models) for slot in routers)
        if moved:
            found[source] = f"its experts lie in another order ({moved} of {len(routers)} routers sampled)"
    return found


def _sample(plan: Plan, models: MappedModels, source: str, roles: tuple[str, ...]) -> list[Slot]:
    """A few of the merged tensors of these roles that `source` has a part in."""
    merged = [slot for slot in plan.slots if slot.merged and source in models.expressions(slot)]
    own = [slot for slot in merged if role_and_layer(slot)[0].startswith(roles)]
    return Random(0).sample(own, min(SAMPLED, len(own)))


def _in_other_order(slot: Slot, source: str, models: MappedModels) -> bool:
    """Whether the rows of a router, one by one, are the target's in another order."""
    rows = [range(slot.shape[0])]
    target, other = models.target_rows(slot, rows), models.source_rows(slot, source, rows)
    found = same_rows(torch.from_numpy(target), torch.from_numpy(other))
    if found is None or found == tuple(range(len(found))):
        return False
    return cosine(target, other[list(found)]) > ONE_BY_ONE and closer(ONE_BY_ONE, cosine(target, other))


def _order(slot: Slot, source: str, models: MappedModels) -> RowOrder | None:
    """The order that makes the rows resemble the target's; None where they do as they lie, or in no order."""
    rows = slot.shape[0] // max(1, len(slot.roles))  # of a fused tensor only the first part
    place = [range(min(rows, LARGEST))]
    return closest_order(models.target_rows(slot, place), models.source_rows(slot, source, place), rows)


@np.errstate(over="ignore", invalid="ignore")  # of such values no order is found
def closest_order(target: Values, other: Values, rows: int) -> RowOrder | None:
    """The rotary order in which the rows of `other` (n, C) are those of `target` (n, C); None for none.

    Args:
        rows: of the whole matrix, of which these are the first.
    """
    # Of every row with every other, (n, n): one product instead of one for each order. Not of a whole matrix.
    products = target @ other.T if len(target) <= LARGEST else None
    squares = [
        np.cumsum(np.einsum("ij,ij->i", values, values), dtype=np.float64) for values in (target, other)
    ]

    def similarity(places: npt.NDArray[np.intp]) -> float:
        """The cosine of the target's first rows with the other's in this order."""
        count = len(places)
        scale = math.sqrt(squares[0][count - 1] * squares[1][count - 1]) if count else 0.0
        if products is not None:
            product = products[np.arange(count), places].sum()
        else:
            product = np.vdot(target[:count], other[places])
        return float(product) / scale if scale else 0.0

    own, best = similarity(np.arange(len(target))), None
    for order in rotary_orders(rows):
        found = similarity(order.applied(np.arange(len(target) // order.size * order.size)))
        if found > KINDRED and closer(found, own):
            own, best = found, order
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
