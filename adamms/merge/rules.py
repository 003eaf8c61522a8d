"""Rules: shares that differ between tensors, by role, along the layers or by name.

A rule says which tensors have another share of the donors; the first that applies wins. Knows nothing of
methods or values.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le
from pydantic import NonNegativeFloat, NonNegativeInt

from adamms.architectures.roles import check_named, is_named
from adamms.errors import AdammsError, check_pattern, nearest
from adamms.mapping.plan import Slot

Share = Annotated[float, Ge(0), Le(1)]
Shares = Mapping[str, float]


@dataclass(frozen=True)
class Rule:
    """One rule. It applies to the slots that meet all of its conditions.

    >>> rule = Rule(roles=("attn",), factor=(0, 1))
    >>> [rule.value(Slot("q", (2, 2), "F32", f"layers.{i}.attn.q.weight"), layers=3) for i in range(3)]
    [0.0, 0.5, 1.0]

    Args:
        roles: roles or groups of roles, as in `mapper.exclude`.
        layers: [first, last] decoder layer, both included.
        depth: the same in parts of the depth: layer l of L counts as (l + 0.5) / L.
        match: a regular expression that is searched for in the target tensor's name.
        factor: the donors' share there, relative to alpha, so that a search moves it too. A list gives
            anchor points, spread evenly over the depth and interpolated linearly. The depth is the rule's
            `layers`, or all layers; embeddings count as the first layer, head and final norm as the last.
        alpha: the donors' share together there, whatever the configured alpha; a number or anchor points.
        weights: donor name -> its part of the donors' share there, relative to the others'; those that are
            not named have none. None to divide it as everywhere.

    Raises:
        AdammsError: not exactly one of factor and alpha, layers or depth in the wrong order, weights that are
            all zero, or an invalid regular expression.
    """

    roles: tuple[str, ...] = ()
    layers: tuple[NonNegativeInt, NonNegativeInt] | None = None
    depth: tuple[Share, Share] | None = None
    match: str | None = None
    factor: NonNegativeFloat | tuple[NonNegativeFloat, ...] | None = None
    alpha: Share | tuple[Share, ...] | None = None
    weights: Mapping[str, NonNegativeFloat] | None = None

    def __post_init__(self) -> None:
        for key, span in (("layers", self.layers), ("depth", self.depth)):
            if span is not None and (len(span) != 2 or span[0] > span[1]):
                raise AdammsError(f"merge.rules: {key} is {list(span)}; expected [first, last]")
        if self.weights is not None and not any(self.weights.values()):
            raise AdammsError(f"merge.rules: weights are {dict(self.weights)}; expected one above zero")
        check_pattern("merge.rules: match", self.match)
        if (self.factor is None) == (self.alpha is None):
            raise AdammsError(f"merge.rules: {self} needs either factor or alpha")
        if not self.anchors:
            raise AdammsError(f"merge.rules: {self} has an empty list")

    @property
    def anchors(self) -> tuple[float, ...]:
        """The factors or alphas along the depth; one for all layers."""
        given = self.factor if self.alpha is None else self.alpha
        assert given is not None
        return given if isinstance(given, tuple) else (given,)

    def applies(self, slot: Slot, layers: int) -> bool:
        """Whether the slot, in a decoder with this number of layers, meets the conditions."""
        role = slot.roles[0] if slot.roles else None
        if self.roles and (role is None or not is_named(role.kind, self.roles)):
            return False
        layer = None if role is None else role.layer
        if self.layers is not None and (layer is None or not self.layers[0] <= layer <= self.layers[1]):
            return False
        place = None if layer is None else (layer + 0.5) / layers
        if self.depth is not None and (place is None or not self.depth[0] <= place <= self.depth[1]):
            return False
        return self.match is None or re.search(self.match, slot.name) is not None

    def parts(self, shares: Shares, parts: Shares) -> Shares:
        """Donor name -> what its share is where `value` is 1.

        Args:
            shares, parts: as of `shares_by_slot`.
        """
        if self.weights is None:
            return shares if self.alpha is None else parts
        for name in self.weights:
            if name not in shares:
                raise AdammsError(
                    f"merge.rules: weights name {name!r}; the donors are {', '.join(shares)}."
                    f"{nearest(name, shares)}"
                )
        together = sum(shares.values()) if self.alpha is None else 1.0
        total = sum(self.weights.values())
        return {name: together * (self.weights.get(name, 0.0) / total) for name in shares}

    def value(self, slot: Slot, layers: int) -> float:
        """The factor or alpha of `slot`, in a decoder with this number of layers."""
        if len(self.anchors) == 1:
            return self.anchors[0]
        first, last = self.layers or (0, layers - 1)
        return at_depth(self.anchors, slot, first, last)


def at_depth(anchors: Sequence[float], slot: Slot, first: int, last: int) -> float:
    """The value at the slot's depth between two layers, linear between anchor points at equal distances.

    Embeddings count as the first layer, head and final norm as the last.

    Raises:
        AdammsError: the mapping gave the slot no role.
    """
    if not slot.roles:
        raise AdammsError(
            f"merge: shares along the layers need the layer of {slot.name}, and this mapping knows no roles; "
            f"mapper=spec does"
        )
    role = slot.roles[0]
    place = role.layer if role.layer is not None else first if role.kind == "embed" else last
    depth = (place - first) / max(1, last - first)
    return float(np.interp(depth, np.linspace(0, 1, len(anchors)), anchors))


def layers_of(slots: Sequence[Slot]) -> int:
    """How many layers the decoder has, by the roles of its tensors; at least 1."""
    return 1 + max((role.layer or 0 for slot in slots for role in slot.roles), default=0)


def shares_by_slot(
    rules: Sequence[Rule], slots: Sequence[Slot], shares: Shares, parts: Shares
) -> dict[str, dict[str, float]]:
    """Slot name -> donor name -> share, for the merged slots to which a rule applies.

    Args:
        rules: the first that applies to a slot wins.
        slots: of the plan.
        shares: donor name -> its share where no rule applies.
        parts: donor name -> its part of alpha; they add up to 1.

    Raises:
        AdammsError: an unknown role or donor, a rule that applies to no merged slot, or one that makes shares
            add up to more than 1.
    """
    merged = [slot for slot in slots if slot.merged]
    layers = layers_of(slots) if rules else 0
    found: dict[str, dict[str, float]] = {}
    for rule in rules:
        kinds = (role.kind for slot in slots for role in slot.roles[:1])
        check_named("merge.rules.roles", rule.roles, kinds)
        here = [slot for slot in merged if rule.applies(slot, layers)]
        own = rule.parts(shares, parts)
        if not here:
            raise AdammsError(f"merge.rules: {rule} applies to no tensor that is merged")
        for slot in here:
            if slot.name not in found:
                value = rule.value(slot, layers)
                found[slot.name] = {name: value * part for name, part in own.items()}
                total = sum(found[slot.name].values())
                if total > 1 + 1e-9:
                    raise AdammsError(
                        f"merge.rules: {rule} makes the donors' share of {slot.name} {total:g}; "
                        f"expected at most 1"
                    )
    return found


def without_effect(rules: Sequence[Rule], slots: Sequence[Slot]) -> list[Rule]:
    """The rules that those before them leave no merged slot."""
    layers, taken, found = layers_of(slots) if rules else 0, set[str](), []
    for rule in rules:
        here = {slot.name for slot in slots if slot.merged and rule.applies(slot, layers)}
        found += [rule] if here and here <= taken else []
        taken |= here
    return found
