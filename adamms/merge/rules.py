"""Coefficients that differ between tensors, as data: by role, along the layers, by name; the first rule wins.

A rule says for which tensors the donors' share is another one. Knows nothing of methods or values.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from adamms.architectures.roles import ROLE_GROUPS, Role, parse_role
from adamms.errors import AdammsError, check_choice
from adamms.mapping.plan import Slot

Shares = Mapping[str, float]


@dataclass(frozen=True)
class Rule:
    """One rule; a slot must meet every condition that is given.

    Args:
        roles: roles or groups of roles, as in `mapper.exclude`.
        layers: [first, last] decoder layer, both included.
        match: a regular expression that the target tensor's name must contain.
        factor: the donors' share there, relative to the recipe's alpha, so that a search moves it too. A
            list are anchor points, spread evenly over the depth and interpolated linearly: over the rule's
            `layers`, or over all, where the embeddings lie at the first and the head and the final norm at
            the last layer.
        alpha: the donors' share together there, whatever the recipe's alpha; a number or anchor points.

    Raises:
        AdammsError: not exactly one of factor and alpha, values out of range, unknown roles.
    """

    roles: tuple[str, ...] = ()
    layers: tuple[int, int] | None = None
    match: str | None = None
    factor: float | tuple[float, ...] | None = None
    alpha: float | tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for name in self.roles:
            check_choice("merge.rules.roles", name, ROLE_GROUPS)
        if self.layers is not None and (len(self.layers) != 2 or not 0 <= self.layers[0] <= self.layers[1]):
            raise AdammsError(f"merge.rules: layers is {list(self.layers)}; expected [first, last]")
        try:
            re.compile(self.match or "")
        except re.error as error:
            raise AdammsError(f"merge.rules: match is not a regular expression: {error}") from error
        if (self.factor is None) == (self.alpha is None):
            raise AdammsError(f"merge.rules: {self} needs either factor or alpha")
        for value in self.anchors:
            bad = isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < np.inf
            if bad or (self.alpha is not None and value > 1):
                what = "factor" if self.alpha is None else "alpha"
                expected = "that is not negative" if self.alpha is None else "in [0, 1]"
                raise AdammsError(f"merge.rules: {what} has {value!r}; expected a number {expected}")
        if not self.anchors:
            raise AdammsError(f"merge.rules: {self} has an empty list")

    @property
    def anchors(self) -> tuple[float, ...]:
        """The value, or the values along the depth."""
        given = self.factor if self.alpha is None else self.alpha
        assert given is not None
        return given if isinstance(given, tuple) else (given,)

    def applies(self, slot: Slot) -> bool:
        role = role_of(slot)
        if self.roles:
            kinds = {kind for name in self.roles for kind in ROLE_GROUPS[name]}
            if role is None or role.kind not in kinds:
                return False
        if self.layers is not None:
            layer = None if role is None else role.layer
            if layer is None or not self.layers[0] <= layer <= self.layers[1]:
                return False
        return self.match is None or re.search(self.match, slot.name) is not None

    def value(self, slot: Slot, layers: int) -> float:
        """The factor or alpha of `slot`, in a decoder of so many layers."""
        if len(self.anchors) == 1:
            return self.anchors[0]
        role = role_of(slot)
        if role is None:
            raise AdammsError(
                f"merge.rules: anchor points need the layer of {slot.name}, and this mapping knows no roles"
            )
        first, last = self.layers or (0, layers - 1)
        place = role.layer if role.layer is not None else first if role.kind == "embed" else last
        depth = (place - first) / max(1, last - first)
        return float(np.interp(depth, np.linspace(0, 1, len(self.anchors)), self.anchors))


def role_of(slot: Slot) -> Role | None:
    """The slot's role, of several fused ones the first; None if the mapping gave it none."""
    try:
        return parse_role(slot.role.split(" + ")[0])
    except AdammsError:
        return None


def shares_by_slot(
    rules: Sequence[Rule], slots: Sequence[Slot], shares: Shares, parts: Shares
) -> dict[str, dict[str, float]]:
    """Slot name -> donor name -> share, for the merged slots to which a rule applies; the first that does.

    Args:
        rules: in order.
        slots: the plan's.
        shares: donor name -> its share where no rule applies.
        parts: donor name -> its part of the donors' share; they add up to 1.

    Raises:
        AdammsError: a rule that applies to no merged slot, or one that makes shares add up to more than 1.
    """
    merged = [slot for slot in slots if slot.merged]
    layers = 1 + max((role.layer or 0 for slot in slots if (role := role_of(slot))), default=0)
    found: dict[str, dict[str, float]] = {}
    for rule in rules:
        here = [slot for slot in merged if rule.applies(slot)]
        if not here:
            raise AdammsError(f"merge.rules: {rule} applies to no tensor that is merged")
        for slot in here:
            if slot.name not in found:
                found[slot.name] = _shares(rule, rule.value(slot, layers), shares, parts)
                _check_total(rule, slot, found[slot.name])
    return found


def _shares(rule: Rule, value: float, shares: Shares, parts: Shares) -> dict[str, float]:
    if rule.alpha is not None:
        return {name: value * part for name, part in parts.items()}
    return {name: value * share for name, share in shares.items()}


def _check_total(rule: Rule, slot: Slot, shares: Shares) -> None:
    total = sum(shares.values())
    if total > 1 + 1e-9:
        raise AdammsError(
            f"merge.rules: {rule} makes the donors' share of {slot.name} {total:g}; expected at most 1"
        )
