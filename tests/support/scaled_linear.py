"""A merge method with a number beside alpha, for searches over it: `linear`, times `strength`."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from adamms.errors import AdammsError
from adamms.merge.methods.linear import Linear


@dataclass(frozen=True)
class ScaledLinear(Linear):
    strength: float = 1.0
    mode: str = "plain"

    name: ClassVar[str] = "scaled_linear"

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1:
            raise AdammsError(f"merge.strength is {self.strength!r}; expected a number in (0, 1]")

    def keeps_target(self, coefficients: Any) -> bool:
        return self.strength == 1 and super().keeps_target(coefficients)

    def merge(self, *operands: Any) -> torch.Tensor:
        return super().merge(*operands).mul_(self.strength)
