"""What a merge method is: pure tensor arithmetic on the operands of one slot.

A method is a frozen dataclass of its hyper-parameters. It knows neither files nor models. The recipe finds
the operands, cuts them into chunks and rounds the result. What a method must know of a whole tensor or of
the whole model before it merges a chunk, it asks for with a survey.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self

from annotated_types import Gt, Le

from adamms.errors import AdammsError
from adamms.merge.shares import positive, target_share
from adamms.system.on_demand import torch

# Names of operands that are not donors.
TARGET, ANCESTOR = "target", "ancestor"
# The part of a task vector's elements that a method keeps; of all models, or model -> its own.
Density = Annotated[float, Gt(0), Le(1)]
Densities = Density | Mapping[str, Density]


def check_donor_names(names: Iterable[object]) -> None:
    """Raise AdammsError if a donor has the name of another operand."""
    for name in names:
        if name in (TARGET, ANCESTOR):
            raise AdammsError(f"model.donors.{name}: a donor cannot be called {name!r}; choose another name")


def with_target(coefficients: Mapping[str, float]) -> dict[str, float]:
    """TARGET and every donor -> its share; they add up to 1."""
    return {TARGET: target_share(coefficients), **coefficients}


def of_model(given: float | Mapping[str, float], model: str, otherwise: float = 1.0) -> float:
    """The number of a model, where one is given for all or for each by name; `otherwise` if not for this."""
    return given.get(model, otherwise) if isinstance(given, Mapping) else given


def as_mapping(given: float | Mapping[str, float]) -> Mapping[str, float]:
    """Model -> its number; empty where one is given for all."""
    return given if isinstance(given, Mapping) else {}


def distinct(given: float | Mapping[str, float], otherwise: float = 1.0) -> tuple[float, ...]:
    """The numbers that `of_model` may give, in ascending order."""
    return tuple(sorted({otherwise, *given.values()})) if isinstance(given, Mapping) else (given,)


class Statistics:
    """Base of what surveys find: small frozen data that pickles, the same for any chunks and threads."""


@dataclass(frozen=True)
class Chunk:
    """Some neighbouring rows of one slot: its operands, and which elements they are.

    The tensors are float64, of one shape, on one device. They are copies for this call: a method may
    overwrite them and return one of them. They hold whole rows (of dimension 0), and all rows if the method
    is not elementwise. Compiled passes are given the stored values instead; see `Summary.stored`.

    >>> chunk = Chunk(
    ...     slot="model.norm.weight", shape=(64,), start=0, ancestor=None,
    ...     target=torch.zeros(64), donors={"a": torch.ones(64)}, coefficients={"a": 0.25},
    ... )
    >>> chunk.shares
    {'target': 0.75, 'a': 0.25}

    Args:
        slot: the tensor's name in the target; of an expert its role, however files hold it.
        shape: of the whole slot.
        start: position of the chunk's first element in the whole slot, row by row.
        target: the target's values.
        donors: donor name -> its values, for the donors that have a counterpart.
        ancestor: the ancestor's values; given exactly to the methods that need them.
        coefficients: donor name -> its share, for the same donors. The target has the rest.
        statistics: what the method's survey found; None for methods without.
        role: the slot's role(s) in the decoder LM, e.g. "embed.weight"; "" where that is not known.
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
        """As `with_target`."""
        return with_target(self.coefficients)

    @property
    def positive_shares(self) -> dict[str, float]:
        """The shares above zero, in the order target, donors: the w_m of the formulas."""
        return positive(self.shares)

    def models(self) -> dict[str, torch.Tensor]:
        """TARGET and every donor -> its values, not copied."""
        return {TARGET: self.target, **self.donors}

    def exact(self) -> Chunk:
        """The same with copies in float64, of a chunk that holds stored values."""

        def copied(values: torch.Tensor) -> torch.Tensor:
            return values.to(torch.float64, copy=True)

        return replace(
            self,
            target=copied(self.target),
            donors={name: copied(values) for name, values in self.donors.items()},
            ancestor=None if self.ancestor is None else copied(self.ancestor),
        )

    def base(self) -> torch.Tensor:
        """The ancestor's values, for methods that need them."""
        assert self.ancestor is not None, "the recipe gives an ancestor to methods that need one"
        return self.ancestor

    def task_vectors(self) -> dict[str, torch.Tensor]:
        """TARGET and every donor -> tau, its values minus the ancestor's; overwrites the values."""
        return {name: values.sub_(self.base()) for name, values in self.models().items()}

    def sharing_vectors(self) -> dict[str, torch.Tensor]:
        """The task vectors of the models with a share above zero; overwrites the values of all."""
        vectors = self.task_vectors()
        return {name: vectors[name] for name in self.positive_shares}


class Summary(Protocol):
    """What a survey counts, of any number of chunks. Summaries add up to the same in any order.

    Attributes:
        stored: its chunks hold the stored values, not to be overwritten, instead of copies in float64.
    """

    @property
    def stored(self) -> bool: ...

    def add(self, chunk: Chunk) -> None:
        """Count a chunk in. It holds whole rows, so what is found per row does not depend on the chunks."""
        ...

    def __iadd__(self, other: Self) -> Self: ...


class Survey(Protocol):
    """One pass over all chunks of the model, or of one tensor, before anything is merged.

    Rows that stay the target's are left out. `Chunk.coefficients` are empty, so that candidates with other
    coefficients can share what a survey of the model finds.

    Attributes:
        scope: `model`: over all merged slots, once. `tensor`: over the chunks of one slot, each time that
            this slot is merged. The result is the same on every device; see `exactness`.
        passes: this one and those after it, for the progress shown.
    """

    @property
    def scope(self) -> Literal["model", "tensor"]: ...

    @property
    def passes(self) -> int: ...

    def empty(self) -> Summary:
        """A summary of no chunks."""
        ...

    def conclude(self, found: Any) -> Survey | Statistics:
        """What the method wanted to know, or the next pass, made from what this one found.

        Args:
            found: a summary that `empty` made, with all chunks counted in.
        """
        ...


class Method(ABC):
    """One merge method. Methods derive from it and say what their arithmetic is.

    >>> from adamms.merge.methods.linear import Linear
    >>> values = torch.tensor([2.0]), {"a": torch.tensor([4.0])}
    >>> Linear().merge(Chunk("w", (1,), 0, *values, ancestor=None, coefficients={"a": 0.25}))
    tensor([2.5000])

    Attributes:
        name: as in `merge=NAME`.
        formula: one line for people.
        elementwise: a tensor may be merged in chunks of whole rows. An element of the result depends only
            on the operands' same row (mostly on the same element) and on the survey.
        needs_ancestor: the formula contains the ancestor's weights, as most methods' does.
        neutral: names of hyper-parameters that are all 1 where the formula gives the target at alpha 0; None
            if it never does.
        since: the version since which merged values are the same, if they changed; it is in fingerprints.
    """

    name: ClassVar[str]
    formula: ClassVar[str]
    elementwise: ClassVar[bool] = False
    needs_ancestor: ClassVar[bool] = True
    neutral: ClassVar[tuple[str, ...] | None] = ()
    since: ClassVar[str] = ""

    def keeps_target(self, coefficients: Mapping[str, float]) -> bool:
        """Whether the formula gives the target, whose bytes are then copied: at alpha 0, see `neutral`."""
        at_one = self.neutral is not None and all(getattr(self, name) == 1 for name in self.neutral)
        return at_one and not any(coefficients.values())

    def survey(self) -> Survey | None:
        """The first pass over the model, or over each tensor; None if the method needs none."""
        return None

    @abstractmethod
    def merge(self, chunk: Chunk) -> torch.Tensor:
        """The merged chunk: a float64 tensor of its shape."""
