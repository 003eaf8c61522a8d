"""A base checkpoint under a LoRA adapter, which reads as if its weights had been materialised.

Every adapted tensor is computed when its rows are asked for, in float64 from the stored values, and rounded
once to the base's dtype: the values that a materialised checkpoint of that dtype would hold. Nothing is kept.
Knows nothing of PEFT's files: `adapter` reads those.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from adamms.checkpoint.fingerprint import described, digest_parts
from adamms.checkpoint.finite import count_nonfinite, finite
from adamms.checkpoint.quantised.quantised import Rows, rows_of
from adamms.checkpoint.reader import Checkpoint
from adamms.checkpoint.tensor_entry import TensorEntry
from adamms.checkpoint.tensor_values import map_tensor, torch_dtype
from adamms.errors import AdammsError
from adamms.system.on_demand import torch

# Matrix products are always taken over the same rows, whatever rows are asked for: their last bits may depend
# on the shape. The recipe cuts its chunks at multiples of this.
BLOCK_ROWS = 8


@dataclass(frozen=True)
class LowRank:
    """What LoRA adds to a matrix W of shape (out, in): `scale * up @ down`.

    Args:
        down: lora_A, (rank, in); for an embedding, whose W is (tokens, width), (rank, tokens).
        up: lora_B, (out, rank); for an embedding (width, rank).
        scale: lora_alpha / rank, or its rank-stabilised form.
        embedding: W is an embedding: it gains the transposed product.
        magnitude: of DoRA, (out,): the sum's rows are given these norms.
    """

    down: TensorEntry
    up: TensorEntry
    scale: float
    embedding: bool = False
    magnitude: TensorEntry | None = None

    @property
    def entries(self) -> tuple[TensorEntry, ...]:
        return (self.down, self.up) if self.magnitude is None else (self.down, self.up, self.magnitude)


@dataclass(frozen=True)
class Change:
    """What an adapter makes of one tensor.

    Args:
        base: the base's own values, or those that the adapter has in their place.
        low_rank: what is added to them.
    """

    base: TensorEntry
    low_rank: LowRank | None = None


@dataclass(frozen=True)
class AdaptedCheckpoint(Checkpoint):
    """A base with an adapter; `folder` is the base's, and so is `config` unless the adapter unties the head.

    Args:
        base: the checkpoint below.
        adapter: the adapter's folder.
        changes: name -> what the adapter makes of it; every other tensor is the base's.
        untied: whether embeddings and head are two tables, which the base ties to one.
        note: what is to be said of the base's tied embeddings; "" if nothing is.
    """

    base: Checkpoint
    adapter: Path
    changes: Mapping[str, Change]
    untied: bool = False
    note: str = ""

    def __str__(self) -> str:
        return f"{self.folder} with adapter {self.adapter}"

    @property
    def adapted(self) -> frozenset[str]:
        return frozenset(self.changes)

    def computes(self, name: str) -> bool:
        return name in self.changes or self.base.computes(name)

    @property
    def dequantised(self) -> str:
        return self.base.dequantised

    @property
    def tokenizer_folders(self) -> tuple[Path, ...]:
        return (self.adapter, self.folder)

    def rows(self, name: str) -> Rows:
        if name not in self.changes:
            return self.base.rows(name)
        return AdaptedRows(self.tensors[name], self.changes[name])

    @cached_property
    def fingerprint(self) -> str:
        """A digest of the base's fingerprint and of everything that the adapter changes."""
        parts: list[str | TensorEntry] = [self.base.fingerprint]
        for name, change in sorted(self.changes.items()):
            parts.append(described(name, self.tensors[name]))
            entries = [change.base]
            if change.low_rank is not None:
                entries += change.low_rank.entries
                parts.append(f"{change.low_rank.scale!r} {change.low_rank.embedding}\n")
            for entry in entries:
                parts += [f"{entry.dtype} {entry.shape}\n", entry]
        return digest_parts(parts)


class AdaptedRows:
    """The rows of one adapted tensor.

    Args:
        entry: the shape and dtype that the result has.
        change: how it is made.
    """

    def __init__(self, entry: TensorEntry, change: Change) -> None:
        self.name = entry.name
        self.shape = entry.shape or (1,)
        self.dtype = torch_dtype(entry.dtype)
        self._base = rows_of(change.base)
        self._low_rank = change.low_rank
        if self._low_rank is not None:
            down, up = (map_tensor(part).double() for part in (self._low_rank.down, self._low_rank.up))
            # (rows, rank) and (rank, columns)
            self._left, self._right = (down.T.contiguous(), up.T) if self._low_rank.embedding else (up, down)
            magnitude = self._low_rank.magnitude
            self._magnitude = None if magnitude is None else map_tensor(magnitude).double().reshape(-1, 1)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> torch.Tensor:
        """The rows `rows`, whose step is 1, as a new tensor in the base's dtype.

        Raises:
            AdammsError: the adapter makes values that this dtype cannot hold.
        """
        start, stop, _ = rows.indices(len(self))
        found = torch.empty((max(stop - start, 0), *self.shape[1:]), dtype=self.dtype)
        begin = start // BLOCK_ROWS * BLOCK_ROWS
        base = self._base[begin : min(-(-stop // BLOCK_ROWS) * BLOCK_ROWS, len(self))]
        for first in range(begin, stop, BLOCK_ROWS):
            last = min(first + BLOCK_ROWS, len(self))
            block = self._block(base[first - begin : last - begin], first, last)
            low, high = max(start, first), min(stop, first + BLOCK_ROWS)
            found[low - start : high - start] = block[low - first : high - first]
        if not finite(found) and finite(base[start - begin : stop - begin]):
            for entry in () if self._low_rank is None else self._low_rank.entries:
                if count := count_nonfinite(map_tensor(entry)):
                    raise AdammsError(
                        f"{entry.file}: {entry.name} has {count} infinite or NaN values; so would {self.name}"
                    )
            raise AdammsError(f"the adapter makes values of {self.name} that {self.dtype} cannot hold")
        return found

    def _block(self, base: torch.Tensor, first: int, last: int) -> torch.Tensor:
        """Rows `first:last` in float64, from the base's."""
        values = base.double()
        if self._low_rank is None:
            return values
        values = values + (self._left[first:last] @ self._right).mul_(self._low_rank.scale)
        if self._magnitude is None:
            return values
        # DoRA (Liu et al., 2024, equation 5): each output's weights have a learned norm of their own.
        return values * (self._magnitude[first:last] / torch.linalg.vector_norm(values, dim=1, keepdim=True))
