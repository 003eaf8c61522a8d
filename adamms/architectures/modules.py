"""Which module of transformers' class a stored tensor is a parameter of, and of what kind that module is.

For adapters, which name modules. Knows no adapters and no weights.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from adamms.architectures.meta_model import tied_weights
from adamms.architectures.renaming import Renaming

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Kind = Literal["linear", "embedding", "head", "other"]


@dataclass(frozen=True)
class Place:
    """Where a stored tensor is in a live model.

    >>> Place("model.layers.0.self_attn.q_proj", "weight", "linear").parameter
    'weight'

    Args:
        module: its path.
        parameter: its name there.
        kind: whether it is the matrix of a linear layer, a table that is looked up in, the matrix that gives
            the next token, or anything else; a table that is embeddings and head at once is something else.
    """

    module: str
    parameter: str
    kind: Kind


def places_of(model: "PreTrainedModel", names: Iterable[str]) -> dict[str, Place]:
    """Stored name -> place, of the tensors that become one parameter of a module without submodules.

    Args:
        model: on any device.
        names: of all stored tensors.
    """
    from torch import nn
    from transformers.core_model_loading import dot_natural_key

    renaming, tied, head = Renaming(model), tied_weights(model), model.get_output_embeddings()
    joined = {*tied, *tied.values()}
    found = {}
    for name in sorted(names, key=dot_natural_key):
        renamed = renaming.find(name)
        path, _, parameter = renamed.parameter.rpartition(".")
        if renamed.converter is not None or renamed.parameter not in renaming.parameters:
            continue
        module = model.get_submodule(path)
        if any(True for _ in module.children()):
            continue
        kind: Kind = "other"
        if parameter == "weight" and renamed.parameter not in joined:
            if isinstance(module, nn.Linear):
                kind = "head" if module is head else "linear"
            elif isinstance(module, nn.Embedding):
                kind = "embedding"
        found[name] = Place(path, parameter, kind)
    return found
