"""The group `merge` as typed values, and the same with a candidate's numbers in it."""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace

from adamms.app.config.build import build, checked_arguments, split
from adamms.app.config.sections import MergeKeys, Node
from adamms.errors import AdammsError
from adamms.merge.candidate import Candidate
from adamms.merge.method import Method
from adamms.merge.rules import Rule
from adamms.merge.schedule import Schedule

NAME = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class MergeSettings:
    """How models are merged.

    Args:
        method: the arithmetic.
        alpha: the donors' share together, or each donor's by name.
        weights: donor name -> its part of the donors' common share; None for equal parts.
        rules: where the donors' share is another one.
        schedule: what makes others of the shares; None for nothing.
        device: where merged weights are computed.
        dtype: of the merged model's tensors; None for the target's.
        node: the values that all of it was made from.
    """

    method: Method
    alpha: float | Mapping[str, float]
    weights: Mapping[str, float] | None
    rules: tuple[Rule, ...]
    schedule: Schedule | None
    device: str
    dtype: str | None
    node: Node = field(repr=False, compare=False)

    def at(self, candidate: Candidate) -> "MergeSettings":
        """The same with the candidate's values in the place of those configured.

        Raises:
            AdammsError: values that the method, or the rules, refuse together.
        """
        if candidate.alpha_alone:
            assert candidate.alpha is not None
            return replace(self, alpha=candidate.alpha, node=self.node_at(candidate))
        try:
            return read_merge(self.node_at(candidate))
        except AdammsError as error:
            raise AdammsError(f"the candidate {candidate}: {error}") from error

    def node_at(self, candidate: Candidate) -> Node:
        """The values that `at` is made from."""
        node = deepcopy(self.node)
        for key, value in candidate.settings.items():
            *path, last = key.split(".")[1:]
            inner = node
            for step in path:
                inner = inner[step]
            inner[last] = value
        return node


def read_merge(node: Node) -> MergeSettings:
    """The group `merge`: what its constructor does not take is common to all methods."""
    keys, own = split(MergeKeys, node, "merge")
    if keys.weights is not None and not isinstance(keys.weights, Mapping):
        raise AdammsError(f"merge.weights is {keys.weights!r}; expected {{donor name: number}}")
    method: Method = build(own, "merge", MergeKeys.model_fields, Method)
    schedule: Schedule | None = build(keys.schedule, "merge.schedule", kind=Schedule)
    rules = _read_rules(keys.rules)
    return MergeSettings(method, keys.alpha, keys.weights, rules, schedule, keys.device, keys.dtype, node)


def _read_rules(given: Sequence[Node] | Mapping[str, Node] | None) -> tuple[Rule, ...]:
    """Where the donors' share is another one, in order. A number of a named rule can be searched."""
    if isinstance(given, Mapping):
        for name in given:
            if not NAME.fullmatch(name):
                raise AdammsError(f"merge.rules: the name {name!r} is no key; expected letters, digits and _")
        named = {f"merge.rules.{name}": rule for name, rule in given.items()}
    else:
        named = {f"merge.rules[{number}]": rule for number, rule in enumerate(given or ())}
    return tuple(Rule(**checked_arguments(Rule, rule, where)) for where, rule in named.items())
