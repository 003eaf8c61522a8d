"""What a merge method is: pure tensor arithmetic on the operands of one slot.

A method is a frozen dataclass of its hyper-parameters. It knows no files, no names of tensors and
no models; how operands are found, chunked and rounded is the recipe's business.
"""

from collections.abc import Mapping
from typing import ClassVar, Protocol

import torch


class Method(Protocol):
    """One merge method.

    Attributes:
        name: as in `merge=NAME`.
        formula: one line for people.
        elementwise: the result of an element depends on the operands' same element only, so that the
            recipe may compute a tensor in chunks.
        needs_ancestor: the formula contains the ancestor's weights.
    """

    name: ClassVar[str]
    formula: ClassVar[str]
    elementwise: ClassVar[bool]
    needs_ancestor: ClassVar[bool]

    def keeps_target(self, coefficients: Mapping[str, float]) -> bool:
        """Whether the result is the target itself, whose bytes are then copied untouched."""
        ...

    def merge(
        self,
        target: torch.Tensor,
        donors: Mapping[str, torch.Tensor],
        ancestor: torch.Tensor | None,
        coefficients: Mapping[str, float],
    ) -> torch.Tensor:
        """The merged slot, or chunk of one.

        Args:
            target: float64, any shape.
            donors: donor name -> float64 tensor of the same shape.
            ancestor: the same, if there is one.
            coefficients: donor name -> alpha, the donor's share.

        Returns:
            A float64 tensor of the same shape. The operands are copies made for this call: they may be
            overwritten, and one of them may be returned.
        """
        ...
