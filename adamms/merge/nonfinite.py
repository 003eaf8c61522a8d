"""Infinite and NaN values in what is merged: counted while it is read, told at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from threading import Lock

from adamms.checkpoint.finite import count_nonfinite
from adamms.mapping.expression import names_in
from adamms.mapping.units import Unit
from adamms.merge.method import ANCESTOR, TARGET
from adamms.system.on_demand import torch

MOST_LINES = 10


class NonFiniteInputs:
    """How many values of each tensor of the target, the donors and the ancestor are infinite or NaN.

    >>> found = NonFiniteInputs()
    >>> found.look("target", "norm.weight", torch.tensor([1.0, float("nan")]))
    >>> list(found.lines())
    ['target: norm.weight has 1 infinite or NaN value']
    """

    def __init__(self) -> None:
        self.counts = Counter[tuple[str, str]]()
        self._lock = Lock()

    def look(self, operand: str, name: str, values: torch.Tensor) -> None:
        """Count some values of the tensor `name` of a model; from any thread."""
        count = count_nonfinite(values)
        if count:
            with self._lock:
                self.counts[operand, name] += count

    def look_at_operands(self, unit: Unit, stored: Mapping[str, torch.Tensor]) -> None:
        """Count some values of all that a unit is merged from: operand -> values."""
        expressions = {TARGET: unit.target, ANCESTOR: unit.slot.ancestor, **unit.slot.donors}
        for operand, values in stored.items():
            expression = expressions[operand]
            names = () if expression is None else dict.fromkeys(names_in(expression))
            self.look(operand, ", ".join(names), values)

    def lines(self) -> Iterator[str]:
        """A line for each tensor; of many, the first ones and how many more there are."""
        for operand, name in sorted(self.counts)[:MOST_LINES]:
            count = self.counts[operand, name]
            model = operand if operand in (TARGET, ANCESTOR) else f"donor {operand}"
            yield f"{model}: {name} has {count} infinite or NaN value{'s' * (count > 1)}"
        if len(self.counts) > MOST_LINES:
            yield f"{len(self.counts) - MOST_LINES} more tensors have infinite or NaN values"
