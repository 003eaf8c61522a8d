"""The recipe of a merged model: which checkpoints, mapped how, merged how, with which coefficients.

The one source of merged weights, for the checkpoint writer and every engine. Streams: nothing is
held but the chunk at work. Knows nothing of who consumes it.

Over 300 lines: what is measured, merged, handed on, sent elsewhere (see `offloaded`) and fingerprinted must
agree on the same chunks.

Arithmetic is float64, then one conversion to the target's dtype: as fast as float32 here, because
merging is bound by memory, and exact for every pair of 16-bit inputs.
"""

import hashlib
import json
import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

import torch

import adamms
from adamms.checkpoint.adapted import BLOCK_ROWS
from adamms.checkpoint.finite import finite, made_nonfinite
from adamms.checkpoint.reader import Checkpoint, Rows
from adamms.checkpoint.tensor_file import DTYPES, TensorEntry
from adamms.checkpoint.threads import chunk_pool, default_workers
from adamms.errors import AdammsError
from adamms.mapping.expression import Tokens, evaluate_rows, names_in
from adamms.mapping.plan import Plan, Slot
from adamms.merge.catalogue import check_ancestor
from adamms.merge.method import ANCESTOR, TARGET, Chunk, Method, Statistics, check_donor_names
from adamms.merge.rows_to_merge import acting_runs, acts, idle_rows
from adamms.merge.sources import MAPPED_FILES, Sources
from adamms.merge.surveys.survey import Advance, Chunks, measure

# Float64 operands of this many elements stay in a core's caches.
CHUNK_ELEMENTS = 1 << 18
# A GPU has work for all its cores only in larger ones.
GPU_CHUNK_ELEMENTS = 1 << 24
# Kept tensors are handed on as views of the mapped file, in pieces that show progress.
KEPT_PIECE_ELEMENTS = 1 << 24

Operands = Mapping[str, Mapping[str, Rows]]


WHOLE_TENSOR_WORKERS = 2


@dataclass(frozen=True)
class Recipe:
    """A merged model, not yet computed.

    Args:
        target: the checkpoint whose tensors, names and dtypes the result has.
        donors: name -> checkpoint, the names being the plan's.
        plan: one slot per target tensor.
        method: the arithmetic.
        coefficients: donor name -> alpha.
        ancestor: needed by methods that work on task vectors.
        exceptions: slot name -> its own coefficients, where they differ (see `rules`).
        statistics: what the method's survey of the model found, see `measured`.
    """

    target: Checkpoint
    donors: Mapping[str, Checkpoint]
    plan: Plan
    method: Method
    coefficients: Mapping[str, float]
    ancestor: Checkpoint | None = None
    exceptions: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    statistics: Statistics | None = None
    slots: Mapping[str, Slot] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_donor_names(self.donors)
        object.__setattr__(self, "slots", {slot.name: slot for slot in self.plan.slots})
        check_ancestor(self.method, self.ancestor is not None)
        for slot in self.plan.slots if self.method.needs_ancestor else ():
            if slot.merged and slot.ancestor is None:
                raise AdammsError(
                    f"merge={self.method.name} needs the ancestor's counterpart of {slot.name}, which the "
                    f"plan lacks; `actionable` makes a plan that keeps such tensors"
                )

    @property
    def workers(self) -> int | None:
        """How many threads may ask for tensors; None for the consumer's own choice.

        Each that works on a matrix as a whole holds several copies of it in float64.
        """
        return None if self.method.elementwise else WHOLE_TENSOR_WORKERS

    def layout(self) -> Sequence[TensorEntry]:
        """Name, shape and dtype of every tensor of the result: those of the target."""
        return list(self.target.tensors.values())

    def pieces(self, name: str, sources: Sources = MAPPED_FILES) -> Iterator[tuple[int, torch.Tensor]]:
        """The merged tensor `name` in chunks: (position of the first element, contiguous 1-D tensor).

        They are on the device of `sources`.

        Raises:
            AdammsError: the merge made an infinity or NaN that no input had.
        """
        slot = self.slots[name]
        if not self.computes(slot):
            yield from self._kept_pieces(name, sources)
            return
        found = self.statistics_of(slot, lambda slot: self._surveyed(slot, sources))
        target, operands = sources.rows(self.target, name), self._operands(slot, sources)
        width = _width(target)
        for rows, stored, exact in self._operand_rows(slot, target, operands, sources):
            chunk = self.chunk(slot, rows.start * width, exact, found)
            yield rows.start * width, self._merge_rows(chunk, slot, rows, stored).reshape(-1)

    def measured(
        self,
        workers: int | None = None,
        advance: Advance = lambda _: None,
        chunks: Chunks | None = None,
    ) -> "Recipe":
        """The recipe with what its method must know of the whole model; itself if that is nothing.

        Whatever the alpha, the same is found, and it is small: candidates may share it, and it pickles with
        the recipe.

        Args:
            workers: threads; the processors at hand by default.
            advance: called with the bytes of the target that were just gone through.
            chunks: a slot's chunks, if they are to be surveyed elsewhere than on the processor.
        """
        survey = self.method.survey()
        if self.statistics is not None or survey is None or survey.scope != "model" or not self.mapped:
            return self
        slots = [slot for slot in self.plan.slots if slot.merged]
        return replace(self, statistics=measure(survey, slots, chunks or self._surveyed, workers, advance))

    def statistics_of(self, slot: Slot, chunks: Chunks) -> Statistics | None:
        """What the method's survey found, of the model, or now of the slot in these chunks."""
        survey = self.method.survey()
        if survey is None:
            return None
        if survey.scope == "tensor":
            return measure(survey, [slot], chunks, workers=0)
        if self.statistics is None:
            raise AdammsError(f"merge={self.method.name} has to measure the model first: recipe.measured()")
        return self.statistics

    def _surveyed(self, slot: Slot, sources: Sources = MAPPED_FILES) -> Iterator[Chunk]:
        """The slot in chunks for a survey, without the rows that stay the target's."""
        target, operands = sources.rows(self.target, slot.name), self._operands(slot, sources)
        width = _width(target)
        for rows, _, exact in self._operand_rows(slot, target, operands, sources):
            yield from self.surveyed_rows(slot, rows, width, exact)

    def surveyed_rows(
        self, slot: Slot, rows: range, width: int, exact: Mapping[str, torch.Tensor]
    ) -> Iterator[Chunk]:
        """Rows of `width` elements in float64 for a survey, without those that stay the target's."""
        for first, last in acting_runs(slot, rows):
            part = {name: tensor[first:last] for name, tensor in exact.items()}
            yield replace(self.chunk(slot, (rows.start + first) * width, part, None), coefficients={})

    def _operand_rows(
        self, slot: Slot, target: Rows, operands: Operands, sources: Sources
    ) -> Iterator[tuple[range, dict[str, torch.Tensor], dict[str, torch.Tensor]]]:
        """(rows, operand -> as stored, operand -> float64 that the next chunk overwrites) of every chunk."""
        width = _width(target)
        step = self._step(target, _chunk_elements(sources.device))
        # Written over by every chunk: fresh memory would cost more than the arithmetic.
        scratch = {
            name: torch.empty(min(step, len(target)) * width, dtype=torch.float64, device=sources.device)
            for name in (TARGET, *operands)
        }
        for rows, stored in self._stored_rows(slot, target, operands, step):
            exact = {
                name: scratch[name][: tensor.numel()].view(tensor.shape).copy_(tensor)
                for name, tensor in stored.items()
            }
            yield rows, stored, exact

    def _stored_rows(
        self, slot: Slot, target: Rows, operands: Operands, step: int
    ) -> Iterator[tuple[range, dict[str, torch.Tensor]]]:
        """(rows, operand -> as stored: views of what is read where that is possible) of every chunk."""
        expressions = dict(slot.donors)
        if ANCESTOR in operands and slot.ancestor is not None:
            expressions[ANCESTOR] = slot.ancestor
        for start in range(0, len(target), step):
            stop = min(start + step, len(target))
            yield (
                range(start, stop),
                {TARGET: target[start:stop]}
                | {
                    name: evaluate_rows(expression, operands[name], start, stop, target)
                    for name, expression in expressions.items()
                },
            )

    def loads(self, slot: Slot, elements: int) -> Iterator[tuple[range, dict[str, torch.Tensor]]]:
        """The slot's chunks of at most `elements`, or whole, for who computes elsewhere: see `offloaded`.

        (rows, operand -> their values as stored, on the processor), rows being those of dimension 0.
        """
        target = MAPPED_FILES.rows(self.target, slot.name)
        step = self._step(target, elements)
        yield from self._stored_rows(slot, target, self._operands(slot, MAPPED_FILES), step)

    def _step(self, rows: Rows, elements: int) -> int:
        """Rows of one chunk."""
        return _step(_width(rows), elements) if self.method.elementwise else max(1, len(rows))

    def chunk(
        self, slot: Slot, start: int, exact: Mapping[str, torch.Tensor], found: Statistics | None
    ) -> Chunk:
        """What the method gets: float64 operands from position `start` on, and what its survey found."""
        return Chunk(
            *(slot.name, slot.shape, start),
            target=exact[TARGET],
            donors={name: exact[name] for name in slot.donors},
            ancestor=exact.get(ANCESTOR),
            coefficients=self.shares(slot),
            statistics=found,
            role=slot.role,
        )

    def _kept_pieces(self, name: str, sources: Sources) -> Iterator[tuple[int, torch.Tensor]]:
        """The target's own tensor in chunks: views of its file, or computed if an adapter changes it."""
        if name in self.target.adapted:
            rows = sources.rows(self.target, name)
            width, step = _width(rows), _step(_width(rows), _chunk_elements(sources.device))
            for start in range(0, len(rows), step):
                yield start * width, rows[start : start + step].reshape(-1)
            return
        flat = sources.read(self.target, name).reshape(-1)
        for start in range(0, flat.numel(), KEPT_PIECE_ELEMENTS):
            yield start, flat[start : start + KEPT_PIECE_ELEMENTS]

    def tensor(self, name: str, sources: Sources = MAPPED_FILES) -> torch.Tensor:
        """The merged tensor `name` in the target's shape and dtype, on the device of `sources`."""
        entry = self.target.tensors[name]
        if not self.computes(self.slots[name]):
            return sources.read(self.target, name)
        merged = torch.empty(entry.elements, dtype=DTYPES[entry.dtype], device=sources.device)
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
            only_mapped: leave out the tensors that the files in the target's folder hold as they are: those
                that the plan keeps and no adapter changes.
            workers: threads; by default those that `workers` allows.
            names: these tensors instead, in this order.
            sources: where the inputs are read and the arithmetic takes place.
        """
        if names is None:
            names = self.mapped if only_mapped else [slot.name for slot in self.plan.slots]
        workers = workers or self.workers or default_workers()
        with chunk_pool(workers) as pool:
            ahead: deque[tuple[str, Future[torch.Tensor]]] = deque()
            for name in names:
                ahead.append((name, pool.submit(self.tensor, name, sources)))
                if len(ahead) > workers:
                    first, job = ahead.popleft()
                    yield first, job.result()
            for name, job in ahead:
                yield name, job.result()

    @property
    def mapped(self) -> list[str]:
        """Names of the tensors that are merged, or that an adapter of the target changes.

        All others are, at every alpha, what the files in the target's folder hold.
        """
        adapted = self.target.adapted
        return [slot.name for slot in self.plan.slots if slot.merged or slot.name in adapted]

    @property
    def fingerprint(self) -> str:
        """A digest of everything that decides the result's values, and of nothing else."""
        sources = {"target": self.target, **self.donors}
        if self.ancestor is not None:
            sources["ancestor"] = self.ancestor
        content = {
            "adamms": adamms.__version__,
            "checkpoints": {name: checkpoint.fingerprint for name, checkpoint in sources.items()},
            "slots": [slot.to_json() | {"rows": _row_digests(slot)} for slot in self.plan.slots],
            "method": repr(self.method),
            "coefficients": dict(self.coefficients),
        }
        if self.exceptions:
            content["exceptions"] = self.exceptions
        return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=16).hexdigest()

    @property
    def changes(self) -> bool:
        """Whether any tensor is merged, and not the target's own."""
        return any(self.computes(slot) for slot in self.plan.slots)

    def shares(self, slot: Slot) -> dict[str, float]:
        """Donor name -> coefficient, for the donors that have a part in the slot."""
        coefficients = self.exceptions.get(slot.name, self.coefficients)
        return {donor: coefficients[donor] for donor in slot.donors}

    def computes(self, slot: Slot) -> bool:
        """Whether the slot is merged, and not the target's own."""
        return slot.merged and acts(slot) and not self.method.keeps_target(self.shares(slot))

    def _operands(self, slot: Slot, sources: Sources) -> Operands:
        """Donor name, or ANCESTOR -> {tensor name: its rows}, for the tensors that the slot reads."""
        mapped = {name: (self.donors[name], expression) for name, expression in slot.donors.items()}
        if self.method.needs_ancestor and self.ancestor is not None and slot.ancestor is not None:
            mapped[ANCESTOR] = (self.ancestor, slot.ancestor)
        return {
            name: {read: sources.rows(checkpoint, read) for read in dict.fromkeys(names_in(expression))}
            for name, (checkpoint, expression) in mapped.items()
        }

    def _merge_rows(
        self, chunk: Chunk, slot: Slot, rows: range, stored: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """The merged rows in the target's dtype."""
        own = stored[TARGET]
        merged = self.method.merge(chunk).to(own.dtype)
        idle = idle_rows(slot, rows)
        if idle:
            merged[idle] = own[idle]
        if not finite(merged):
            check_held(slot, rows, merged, stored)
        return merged


def check_held(slot: Slot, rows: range, merged: torch.Tensor, stored: Mapping[str, torch.Tensor]) -> None:
    """Raise AdammsError if a merged value is infinite or NaN and no operand is."""
    if made_nonfinite(merged, stored.values()):
        raise AdammsError(
            f"merging {slot.name} made values that {merged.dtype} cannot hold (rows {rows.start} to "
            f"{rows.stop}), from finite inputs"
        )


def _width(rows: Rows) -> int:
    """Elements of one row."""
    return max(1, math.prod(rows.shape[1:]))


def _chunk_elements(device: torch.device) -> int:
    return CHUNK_ELEMENTS if device.type == "cpu" else GPU_CHUNK_ELEMENTS


def _step(width: int, elements: int) -> int:
    """Rows of one chunk: a multiple of what adapters are computed by, where that many fit."""
    step = max(1, elements // width)
    return step if step < BLOCK_ROWS else step // BLOCK_ROWS * BLOCK_ROWS


def _row_digests(slot: Slot) -> dict[str, str]:
    """Token alignments, which plan.json leaves out, by content."""
    return {
        name: hashlib.blake2b(json.dumps(expression.rows).encode(), digest_size=8).hexdigest()
        for name, expression in {**slot.donors, ANCESTOR: slot.ancestor}.items()
        if isinstance(expression, Tokens)
    }
