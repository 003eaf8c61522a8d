"""A difference of two models put into an adapter, tensor by tensor, with what is left of each.

Knows where an adapter has room: matrices of linear layers and embeddings; whole tensors if they are wanted.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from adamms.architectures.meta_model import UnknownClassError, build
from adamms.architectures.modules import Kind, Place, places_of
from adamms.checkpoint.adapters.adapter_writer import Matrix
from adamms.checkpoint.adapters.tying import is_head
from adamms.checkpoint.reader import Checkpoint
from adamms.errors import AdammsError
from adamms.mapping.names import layer_of
from adamms.merge.adapters import INSTEAD, AdapterSum
from adamms.merge.low_rank import squares, truncated
from adamms.report.extraction import Extracted, Extraction

VECTORS = "vectors (norms, biases)"
VOCABULARY = "embeddings and head (of most multimodal models vLLM takes none)"
EXPERTS = "experts (of a layer they are one parameter in transformers, which LoRA of matrices does not reach)"
OTHERS = "tensors that are no matrix, or embeddings and head at once"
JOINED = "tensors that transformers joins or splits on loading"


# What an adapter holds: matrices of layers, which PEFT and vLLM load; those of the vocabulary, too; or all
# that has a module, as whole tensors where it is no matrix, for PEFT.
Holds = Literal["layers", "matrices", "all"]


@dataclass(frozen=True)
class Difference:
    """What is to be put into an adapter.

    Args:
        base: the model that the adapter is for.
        names: of the tensors that may differ.
        merged: name -> its tensor in the other model.
        adapters: how its adapters add up; None where the weights are compared.
    """

    base: Checkpoint
    names: Sequence[str]
    merged: Callable[[str], torch.Tensor]
    adapters: AdapterSum | None = None


def places_in(base: Checkpoint, trust_remote_code: bool) -> dict[str, Place]:
    """Stored name -> its module; as the names say it, where transformers has no class of the model."""
    try:
        return places_of(build(base.config, base.folder, trust_remote_code), base.tensors)
    except UnknownClassError:
        found = {}
        for name, entry in base.tensors.items():
            module, _, parameter = name.rpartition(".")
            matrix = parameter == "weight" and len(entry.shape) == 2 and "embed" not in module
            kind: Kind = "other" if not matrix else "head" if is_head(name) else "linear"
            found[name] = Place(module, parameter, kind)
        return found


class AdapterParts:
    """What is collected for an adapter.

    Args:
        difference: what goes in.
        places: stored name -> its module.
        rank: of the matrices; None where adapters add up.
        holds: what goes in.
        device: where matrices are decomposed.

    Attributes:
        matrices, whole: for `write_adapter`.
    """

    def __init__(
        self,
        difference: Difference,
        places: Mapping[str, Place],
        rank: int | None,
        holds: Holds,
        device: torch.device | str,
    ) -> None:
        self.matrices: dict[str, Matrix] = {}
        self.whole: dict[tuple[str, str], torch.Tensor] = {}
        self._difference = difference
        self._places = places
        self._rank = rank
        self._holds = holds
        self._device = device
        self._extracted: list[Extracted] = []

    def add(self, name: str) -> None:
        """Put in what differs of the tensor `name`.

        Raises:
            AdammsError: infinite or NaN values; adapters that do not add up.
        """
        place, adapters = self._places.get(name), self._difference.adapters
        kinds = ("linear",) if self._holds == "layers" else ("linear", "embedding", "head")
        has_room = place is not None and place.kind in kinds
        if adapters is not None and has_room and (added := adapters.low_rank(name)) is not None:
            self._add_sum(name, *added)
            return
        merged, base = self._difference.merged(name), self._difference.base.read(name)
        if torch.equal(merged.cpu(), base.to(merged.dtype)):
            return
        if has_room and adapters is None:
            self._add_best(name, merged, base)
            return
        norm = math.sqrt(squares(merged.cpu(), base))
        if place is not None and self._holds == "all":
            self.whole[place.module, place.parameter] = merged.cpu().clone()
            self._extracted.append(Extracted(name, layer_of(name), 0, norm, 0.0))
            return
        if adapters is not None:
            raise AdammsError(
                f"an adapter changes {name}, which would be lost: mode.holds=all (for PEFT) takes it along, "
                f"and mode.holds=matrices embeddings and head; {INSTEAD}"
            )
        self._extracted.append(Extracted(name, layer_of(name), 0, norm, norm, _reason(name, place, merged)))

    def _add_sum(self, name: str, up: torch.Tensor, down: torch.Tensor) -> None:
        place = self._places[name]
        if len(down):
            self.matrices[place.module] = Matrix(up, down, place.kind == "embedding")
            square = (up.double().T @ up.double()) * (down.double() @ down.double().T)
            norm = math.sqrt(max(0.0, float(square.sum())))
            self._extracted.append(Extracted(name, layer_of(name), len(down), norm, 0.0))

    def _add_best(self, name: str, merged: torch.Tensor, base: torch.Tensor) -> None:
        assert self._rank is not None, "adapters add up"
        place = self._places[name]
        try:
            part = truncated(merged.to(self._device), base.to(self._device), self._rank)
        except AdammsError as error:
            raise AdammsError(f"{name}: {error}; leave the tensor out with mapper.exclude") from error
        self.matrices[place.module] = Matrix(part.up, part.down, place.kind == "embedding")
        found = Extracted(name, layer_of(name), len(part.down), math.sqrt(part.total), math.sqrt(part.left))
        self._extracted.append(found)

    def found(self) -> Extraction:
        """What the adapter holds.

        Raises:
            AdammsError: nothing.
        """
        if not self.matrices:
            others = (
                "" if not self._extracted else f" in a matrix, only in {self._extracted[0].name} and the like"
            )
            raise AdammsError(f"the models do not differ{others}: there is no adapter to make")
        return Extraction(max(matrix.rank for matrix in self.matrices.values()), tuple(self._extracted))

    @property
    def nbytes(self) -> int:
        """Of the adapter, about."""
        rank = max((matrix.rank for matrix in self.matrices.values()), default=0)
        sides = sum(len(matrix.up) + matrix.down.shape[1] for matrix in self.matrices.values())
        return 4 * rank * sides + sum(tensor.nbytes for tensor in self.whole.values())


def _reason(name: str, place: Place | None, tensor: torch.Tensor) -> str:
    """Why an adapter holds nothing of a tensor."""
    if ".experts." in name:
        return EXPERTS
    if place is None:
        return JOINED
    if place.kind in ("embedding", "head"):
        return VOCABULARY
    return VECTORS if tensor.dim() < 2 else OTHERS
