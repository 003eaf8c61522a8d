"""The recipe of a merged model: which checkpoints, mapped how, merged how, with which coefficients.

The one source of merged weights; it does not know what they are used for. Arithmetic is float64, then one
conversion to the target's dtype: exact for 16-bit inputs, and as fast as float32, since memory is the bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from adamms.checkpoint.finite import converted, finite, made_nonfinite
from adamms.checkpoint.reader import Checkpoint
from adamms.checkpoint.tensor_entry import MERGEABLE, TensorEntry
from adamms.checkpoint.tensor_values import torch_dtype
from adamms.errors import AdammsError
from adamms.mapping.plan import Plan, Slot
from adamms.mapping.units import Unit, units_of
from adamms.merge import kernel
from adamms.merge.catalogue import check_ancestor
from adamms.merge.combination import CombiningMethod
from adamms.merge.fingerprint import merge_fingerprint
from adamms.merge.method import ANCESTOR, TARGET, Chunk, Method, Statistics, Survey, check_donor_names
from adamms.merge.methods.linear import Linear
from adamms.merge.nonfinite import NonFiniteInputs
from adamms.merge.rows_to_merge import acting_runs, acts, check_actionable, with_idle_rows
from adamms.merge.sources import MAPPED_FILES, Sources
from adamms.merge.stream import OperandRows, expert_pieces, operand_rows, stored_pieces
from adamms.merge.surveys.survey import Advance, measure
from adamms.system.on_demand import torch
from adamms.system.threads import default_workers, in_order

# Threads for methods that work on whole matrices: each holds several copies of one in float64.
WHOLE_TENSOR_WORKERS = 2


@dataclass(frozen=True)
class Recipe:
    """A merged model, not yet computed.

    >>> recipe = Recipe(target, {"a": donor}, plan, Linear(), {"a": 0.3})
    >>> {name: tuple(tensor.shape) for name, tensor in recipe.tensors()}["lm_head.weight"]
    (7, 6)

    Args:
        target: the checkpoint whose tensors, names and dtypes the result has.
        donors: name -> checkpoint; the names are those of the plan.
        plan: one slot per target tensor.
        method: the arithmetic.
        coefficients: donor name -> its share.
        ancestor: for methods that work on task vectors.
        exceptions: slot name -> donor name -> share, where a rule says another one.
        statistics: what the method's survey of the model found; see `surveyed`.
        methods: slot name -> the method with other numbers, where it is merged with those.
        dtype: safetensors' name of that of the result's floating-point tensors; None for the target's.
    """

    target: Checkpoint
    donors: Mapping[str, Checkpoint]
    plan: Plan
    method: Method
    coefficients: Mapping[str, float]
    ancestor: Checkpoint | None = None
    exceptions: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    statistics: Statistics | None = None
    methods: Mapping[str, Method] = field(default_factory=dict)
    dtype: str | None = None
    slots: Mapping[str, Slot] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_donor_names(self.donors)
        object.__setattr__(self, "slots", {slot.name: slot for slot in self.plan.slots})
        check_ancestor(self.method, self.ancestor is not None)
        check_actionable(self.plan, self.method)

    def unmerged(self) -> Recipe:
        """The target as it is, as a recipe of the same tensors: a live model gets all of them back."""
        zero = dict.fromkeys(self.coefficients, 0.0)
        return replace(self, method=Linear(), coefficients=zero, exceptions={}, statistics=None, methods={})

    @property
    def checkpoints(self) -> dict[str, Checkpoint]:
        """Operand -> what it is read from."""
        given = {} if self.ancestor is None else {ANCESTOR: self.ancestor}
        return {TARGET: self.target, **self.donors, **given}

    @property
    def workers(self) -> int | None:
        """How many threads may compute tensors; None for the consumer's own choice."""
        return None if self.method.elementwise else WHOLE_TENSOR_WORKERS

    @property
    def mapped(self) -> list[str]:
        """Names of the tensors that are merged, or that an adapter of the target changes.

        At every alpha, all others are what the files in the target's folder hold.
        """
        adapted = self.target.adapted
        return [slot.name for slot in self.plan.slots if slot.merged or slot.name in adapted]

    @property
    def changes(self) -> bool:
        """Whether any tensor is merged, and not the target's own."""
        return any(self.computes(slot) for slot in self.plan.slots)

    def layout(self) -> Sequence[TensorEntry]:
        """Name, shape and dtype of every tensor of the result: those of the target, or another `dtype`."""
        return [self.entry(name) for name in self.target.tensors]

    def entry(self, name: str) -> TensorEntry:
        """One of them."""
        entry = self.target.tensors[name]
        return replace(entry, dtype=self.dtype) if self.dtype and entry.dtype in MERGEABLE else entry

    def shares(self, slot: Slot) -> dict[str, float]:
        """Donor name -> share, for the donors that have a counterpart of the slot."""
        coefficients = self.exceptions.get(slot.name, self.coefficients)
        return {donor: coefficients[donor] for donor in slot.donors}

    def computes(self, slot: Slot) -> bool:
        """Whether the slot is merged, and not the target's own."""
        return slot.merged and acts(slot) and not self.method_of(slot.name).keeps_target(self.shares(slot))

    def surveyed(
        self,
        survey: Survey,
        workers: int | None = None,
        advance: Advance = lambda _: None,
        sources: Sources = MAPPED_FILES,
    ) -> Statistics:
        """What a survey finds of all that is merged; small, and the same for all alphas.

        Args:
            workers: threads; by default one per processor.
            advance: called with the bytes of the target that were just read.
            sources: where the operands are read and counted.
        """
        slots = [slot for slot in self.plan.slots if slot.merged]
        return measure(survey, slots, partial(self.survey_chunks, sources=sources), workers, advance)

    def survey_chunks(self, slot: Slot, stored: bool, sources: Sources = MAPPED_FILES) -> Iterator[Chunk]:
        """The slot in chunks for a survey: without coefficients, and without rows that stay the target's.

        Args:
            stored: with the stored values, which must not be overwritten, instead of copies in float64.
        """
        for unit in self.units(slot):
            yield from self._survey_chunks(unit, sources, stored)

    def pieces(
        self, name: str, sources: Sources = MAPPED_FILES, inputs: NonFiniteInputs | None = None
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """The merged tensor `name` in chunks: (position of the first element, contiguous 1-D tensor).

        They are on the device of `sources`, in memory that the next one may overwrite. `inputs` counts the
        infinite and NaN values that are read.

        Raises:
            AdammsError: the merge, or another dtype, made an infinity or NaN that no input had.
        """
        slot = self.slots[name]
        if not self.computes(slot):
            for start, piece in stored_pieces(self.target, name, sources):
                if inputs is not None:
                    inputs.look(TARGET, name, piece)
                yield start, converted(name, piece, torch_dtype(self.entry(name).dtype))
            return
        units = self.units(slot)
        if slot.experts is not None:
            yield from expert_pieces(slot, units, lambda unit: self._merged(unit, sources, inputs))
            return
        for unit in units:
            for rows, values in self._merged(unit, sources, inputs):
                yield rows.start * (values.numel() // len(rows)), values.reshape(-1)

    def tensor(self, name: str, sources: Sources = MAPPED_FILES) -> torch.Tensor:
        """The merged tensor `name` in the target's shape and dtype, on the device of `sources`."""
        entry = self.entry(name)
        if not self.computes(self.slots[name]):
            return converted(name, sources.kept(self.target, name), torch_dtype(entry.dtype))
        merged = torch.empty(entry.elements, dtype=torch_dtype(entry.dtype), device=sources.device)
        for start, piece in self.pieces(name, sources):
            merged[start : start + piece.numel()] = piece
        return merged.view(entry.shape)

    def tensors(
        self,
        only_mapped: bool = False,
        workers: int | None = None,
        names: Sequence[str] | None = None,
        sources: Sources = MAPPED_FILES,
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Stream (name, tensor) in the target's names and order, a few tensors ahead of the consumer.

        Args:
            only_mapped: leave out the tensors that are the same at every alpha; see `mapped`.
            workers: threads; by default those that `workers` allows.
            names: these tensors instead, in this order.
            sources: where the operands are read and merged.
        """
        if names is None:
            names = self.mapped if only_mapped else [slot.name for slot in self.plan.slots]
        workers = workers or self.workers or default_workers()
        return in_order(names, lambda name: self.tensor(name, sources), workers)

    @property
    def fingerprint(self) -> str:
        """A digest of everything that decides the result's values, and of nothing else."""
        more = {"exceptions": self.exceptions, "methods": self.methods, "dtype": self.dtype}
        return merge_fingerprint(self.checkpoints, self.plan, self.method, self.coefficients, more)

    def method_of(self, name: str) -> Method:
        """What the tensor is merged by."""
        return self.methods.get(name, self.method)

    def units(self, slot: Slot) -> Iterator[Unit]:
        """What of a slot is merged by itself."""
        return units_of(slot, self.target.shape, {n: c.shape for n, c in self.checkpoints.items()})

    def _operand_rows(self, unit: Unit, sources: Sources) -> Iterator[OperandRows]:
        given, needed = self.checkpoints, self.method.needs_ancestor
        checkpoints = {name: given[name] for name in given if needed or name != ANCESTOR}
        compiled = isinstance(self.method, CombiningMethod) and kernel.LIBRARY is not None
        return operand_rows(unit, checkpoints, sources, not self.method.elementwise, compiled)

    def _survey_chunks(self, unit: Unit, sources: Sources, stored: bool) -> Iterator[Chunk]:
        for read in self._operand_rows(unit, sources):
            whole = read.stored if stored else read.exact
            row = whole[TARGET][0].numel()
            for first, last in acting_runs(unit.slot, read.rows):
                part = {operand: values[first:last] for operand, values in whole.items()}
                yield replace(self.chunk(unit, read.start + first * row, part, None), coefficients={})

    def statistics_of(self, unit: Unit, sources: Sources) -> Statistics | None:
        """What the method's survey found: of the model before, or of this unit now."""
        survey = self.method_of(unit.tensor).survey()
        if survey is None:
            return None
        if survey.scope == "tensor":
            chunks = partial(self._survey_chunks, unit, replace(sources, wanted={}))
            return measure(survey, [unit.slot], lambda _, stored: chunks(stored), workers=0)
        if self.statistics is None:
            raise AdammsError(f"merge={self.method.name} has to survey the model first: recipe.surveyed(...)")
        return self.statistics

    def chunk(
        self, unit: Unit, start: int, values: Mapping[str, torch.Tensor], found: Statistics | None
    ) -> Chunk:
        return Chunk(
            slot=unit.slot.name,
            shape=unit.slot.shape,
            start=start,
            target=values[TARGET],
            donors={name: values[name] for name in unit.slot.donors},
            ancestor=values.get(ANCESTOR),
            coefficients=self.shares(self.slots[unit.tensor]),
            statistics=found,
            role=unit.slot.role,
        )

    def _merged(
        self, unit: Unit, sources: Sources, inputs: NonFiniteInputs | None
    ) -> Iterator[tuple[range, torch.Tensor]]:
        """The unit in chunks: rows, and their merged values in the target's dtype."""
        found = self.statistics_of(unit, sources)
        for read in self._operand_rows(unit, sources):
            merged = self._compiled(unit, read, found)
            if merged is None:
                if inputs is not None:
                    inputs.look_at_operands(unit, read.stored)
                merged = self._computed(unit, read, found)
            yield read.rows, merged

    def _compiled(self, unit: Unit, read: OperandRows, found: Statistics | None) -> torch.Tensor | None:
        """The merged rows by a compiled pass; None where there is none, or a value is infinite or NaN."""
        method, entry = self.method_of(unit.tensor), self.entry(unit.tensor)
        if not isinstance(method, CombiningMethod) or entry != self.target.tensors[unit.tensor]:
            return None
        chunk = self.chunk(unit, read.start, read.stored, found)
        merged = method.compiled(chunk, into=read.scratch[TARGET])
        return None if merged is None else with_idle_rows(merged, read.stored[TARGET], unit.slot, read.rows)

    def _computed(self, unit: Unit, read: OperandRows, found: Statistics | None) -> torch.Tensor:
        """The merged rows in the target's dtype, by torch's operations."""
        try:
            merged = self.method_of(unit.tensor).merge(self.chunk(unit, read.start, read.exact, found))
        except torch.linalg.LinAlgError as error:
            raise AdammsError(
                f"merge={self.method.name}: {unit} cannot be decomposed: its values are too large or "
                f"too far apart ({str(error)[:160]}); leave the tensor out with mapper.exclude"
            ) from error
        merged = merged.to(torch_dtype(self.entry(unit.tensor).dtype))
        merged = with_idle_rows(merged, read.stored[TARGET], unit.slot, read.rows)
        if not finite(merged) and made_nonfinite(merged, read.stored.values()):
            raise AdammsError(
                f"merging {unit} made values that {merged.dtype} cannot hold (rows {read.rows.start} to "
                f"{read.rows.stop}), from finite inputs"
            )
        return merged
