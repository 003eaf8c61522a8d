"""What a merge method is: pure tensor arithmetic on the operands of one slot.

A method is a frozen dataclass of its hyper-parameters. It knows no files and no models; how operands
are found, chunked and rounded is the recipe's business. What it must know of a whole tensor, or of the
whole model, before it can merge a chunk, it asks for with a survey.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self

import torch

from adamms.errors import AdammsError

# Operands that are no donors.
TARGET, ANCESTOR = "target", "ancestor"


def check_donor_names(names: Iterable[object]) -> None:
    """Raise AdammsError if a donor has the name of another operand."""
    for name in names:
        if name in (TARGET, ANCESTOR):
            raise AdammsError(f"model.donors.{name}: a donor cannot be called {name!r}; choose another name")


class Statistics:
    """Base of what surveys end in: small frozen data that pickles, the same for any chunks and threads."""


@dataclass(frozen=True)
class Chunk:
    """Some neighbouring rows of one slot: its operands, and which elements they are.

    The tensors are float64, of one shape, on one device, and copies made for this call: they may be
    overwritten, and one of them may be returned. They hold whole rows (of dimension 0), all of them if the
    method is not elementwise.

    Args:
        slot: the tensor's name in the target.
        shape: of the whole slot.
        start: position of the chunk's first element in the whole slot, row by row.
        target: the target's values.
        donors: donor name -> that donor's, for the donors that have a counterpart.
        ancestor: the ancestor's; never None for methods that need one, always None for the others.
        coefficients: donor name -> alpha, its share, for the same donors. The target's share is the rest.
        statistics: what the method's survey found; None for methods without.
        role: its canonical role(s) in the decoder LM, e.g. "embed.weight"; "" where that is not known.
    """

    slot: str
    shape: tuple[int, ...]
    start: int
    target: torch.Tensor
    donors: Mapping[str, torch.Tensor]
    ancestor: torch.Tensor | None
    coefficients: Mapping[str, float]
    statistics: Statistics | None = None
    role: str = ""

    @property
    def shares(self) -> dict[str, float]:
        """TARGET and every donor -> its share; they add up to 1, and what rounding leaves is no share."""
        rest = 1 - sum(self.coefficients.values())
        return {TARGET: rest if rest > 1e-12 else 0.0, **self.coefficients}

    def models(self) -> dict[str, torch.Tensor]:
        """TARGET and every donor -> its values; no copies."""
        return {TARGET: self.target, **self.donors}

    def base(self) -> torch.Tensor:
        """The ancestor's values, for methods that need them."""
        assert self.ancestor is not None, "the recipe gives an ancestor to methods that need one"
        return self.ancestor

    def task_vectors(self) -> dict[str, torch.Tensor]:
        """TARGET and every donor -> tau, its values minus the ancestor's; overwrites the values."""
        return {name: values.sub_(self.base()) for name, values in self.models().items()}


class Summary(Protocol):
    """What a survey counts, of any number of chunks; adds up in any order to the same."""

    def add(self, chunk: Chunk) -> None:
        """Count a chunk in. Chunks hold whole rows, so what is found per row does not depend on them."""
        ...

    def __iadd__(self, other: Self) -> Self: ...


class Survey(Protocol):
    """One pass over all chunks of the model, or of one tensor, before anything is merged.

    Rows that stay the target's are left out. `Chunk.coefficients` are empty: candidates that differ in them
    share what a survey of the model finds.

    Attributes:
        scope: `model`: over all slots that are merged, once; `tensor`: over the chunks of one slot, each time
            that this slot is merged. On any device, with the same result: see `exactness`.
        passes: how many there are, this and those after it, for the progress shown.
    """

    @property
    def scope(self) -> Literal["model", "tensor"]: ...

    @property
    def passes(self) -> int: ...

    def empty(self) -> Summary:
        """The summary of no chunk."""
        ...

    def conclude(self, found: Any) -> "Survey | Statistics":
        """What the method wanted to know, or the next pass, which knows what this one found.

        Args:
            found: a summary that `empty` made, with all chunks counted in.
        """
        ...


class Method(Protocol):
    """One merge method.

    Attributes:
        name: as in `merge=NAME`.
        formula: one line for people.
        elementwise: the recipe may compute a tensor in chunks of whole rows: an element of the result
            depends on the operands' same row (mostly the same element), and on the survey, only.
        needs_ancestor: the formula contains the ancestor's weights.
    """

    name: ClassVar[str]
    formula: ClassVar[str]
    elementwise: ClassVar[bool]
    needs_ancestor: ClassVar[bool]

    def keeps_target(self, coefficients: Mapping[str, float]) -> bool:
        """Whether the formula gives the target itself, whose bytes are then copied untouched."""
        ...

    def survey(self) -> Survey | None:
        """The first pass over the model, or over each tensor; None if there is nothing to find out."""
        ...

    def merge(self, chunk: Chunk) -> torch.Tensor:
        """The merged chunk: a float64 tensor of its shape."""
        ...
