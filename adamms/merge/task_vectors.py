"""Task vectors as surveys and formulas take them: differences from a base, those of some sizes alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from adamms.merge.kernel import Kept
from adamms.merge.method import ANCESTOR, TARGET, Chunk
from adamms.system.on_demand import torch

Numbers = Mapping[str, float]


@dataclass(frozen=True)
class TaskVectors:
    """Chunk -> every model -> its difference from the base, 0 where it is not kept.

    The size of an element is its magnitude, times the factor of its row (along the last dimension) if the
    rows have factors. A call overwrites the chunk, whose tensors are float64.

    Args:
        least, most: model -> the sizes that are kept; empty for all.
        factors: model -> one of each row, in float64, or one of a tensor of one dimension.
        base: ANCESTOR, for TARGET and the donors; or TARGET, for the donors alone.
    """

    least: Numbers = field(default_factory=dict)
    most: Numbers = field(default_factory=dict)
    factors: Mapping[str, torch.Tensor] = field(default_factory=dict)
    base: str = ANCESTOR

    def __call__(self, chunk: Chunk) -> dict[str, torch.Tensor]:
        vectors = self._differences(chunk)
        for name, tau in vectors.items() if self.trims else ():
            kept, sizes = self.kept(name, chunk), self._sizes(name, tau, chunk)
            # NaN and infinity pass on.
            tau.masked_fill_((sizes < kept.least) | ((sizes > kept.most) & (sizes < math.inf)), 0.0)
        return vectors

    @property
    def trims(self) -> bool:
        """Whether elements of some sizes are left out."""
        return bool(self.least or self.most)

    def sizes(self, chunk: Chunk) -> dict[str, torch.Tensor]:
        """Model -> the size of each element; overwrites the chunk."""
        return {name: self._sizes(name, tau, chunk) for name, tau in self._differences(chunk).items()}

    def operands(self, chunk: Chunk) -> tuple[Mapping[str, torch.Tensor], torch.Tensor]:
        """The models, and what they are taken from."""
        return (chunk.donors, chunk.target) if self.base == TARGET else (chunk.models(), chunk.base())

    def all_kept(self, names: Iterable[str], chunk: Chunk | None) -> list[Kept] | None:
        """What is kept of several models; None if nothing is left out."""
        return [self.kept(name, chunk) for name in names] if self.trims else None

    def kept(self, name: str, chunk: Chunk | None) -> Kept:
        """What of a model is kept."""
        least, most = self.least.get(name, 0.0), self.most.get(name, math.inf)
        if not self.factors:
            return Kept(least, most)
        assert chunk is not None, "factors are those of some rows"
        if len(chunk.shape) < 2:
            return Kept(least, most, self.factors[name], chunk.target.numel())
        width = chunk.shape[-1]
        first, rows = chunk.start // width, chunk.target.numel() // width
        return Kept(least, most, self.factors[name][first : first + rows], width)

    def _differences(self, chunk: Chunk) -> dict[str, torch.Tensor]:
        models, base = self.operands(chunk)
        return {name: values.sub_(base) for name, values in models.items()}

    def _sizes(self, name: str, vector: torch.Tensor, chunk: Chunk) -> torch.Tensor:
        factors = self.kept(name, chunk).factors
        if factors is None:
            return vector.abs()
        rows = vector.abs().view(len(factors), -1)
        return rows.mul_(factors.to(vector.device)[:, None]).view(vector.shape)
