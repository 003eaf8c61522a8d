"""A checkpoint read through its architecture: what every tensor is, with completeness checked.

Joins `checkpoint` and `architectures`; knows nothing of a second model.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from adamms.architectures.roles import Role
from adamms.architectures.spec import Architecture, Fused, Label
from adamms.checkpoint.reader import Checkpoint
from adamms.errors import AdammsError, nearest
from adamms.mapping.expression import Expression, Read, Shape, Slice


@dataclass(frozen=True)
class Model:
    """One checkpoint with the label of each of its tensors; make it with `describe`."""

    checkpoint: Checkpoint
    architecture: Architecture
    labels: Mapping[str, Label]

    def shape(self, name: str) -> Shape:
        return self.checkpoint.tensors[name].shape

    def __str__(self) -> str:
        return f"{self.checkpoint} ({self.architecture.name})"

    def roles(self) -> dict[Role, Expression]:
        """Where each role of the LM is found: a tensor, or a slice of a fused one.

        A head that is not stored is tied to the embeddings.
        """
        found: dict[Role, Expression] = {}
        for name, label in self.labels.items():
            for role, expression in self._parts(name, label):
                found[role] = expression
        embed, head = Role("embed", "weight"), Role("head", "weight")
        if embed in found:
            found.setdefault(head, found[embed])
        return found

    def _parts(self, name: str, label: Label) -> Iterator[tuple[Role, Expression]]:
        match label.role:
            case Role() as role:
                yield role, Read(name)
            case Fused(parts, dim):
                size = self.shape(name)[dim] // len(parts)
                for index, part in enumerate(parts):
                    yield part, Slice(Read(name), dim, index * size, (index + 1) * size)


def describe(checkpoint: Checkpoint, architecture: Architecture) -> Model:
    """Label every tensor of `checkpoint`.

    Raises:
        AdammsError: a tensor that no line of the spec describes, a fused tensor that does not divide
            into its parts, or layers that are missing or incomplete.
    """
    labels = {name: architecture.label(name) for name in checkpoint.tensors}
    unknown = [name for name, label in labels.items() if label is None]
    known = {name: label for name, label in labels.items() if label is not None}
    if unknown:
        raise AdammsError(
            f"{checkpoint.folder}: {len(unknown)} tensors are not described by the architecture "
            f"{architecture.name!r}, first {unknown[0]!r} of shape {checkpoint.tensors[unknown[0]].shape}."
            + nearest(unknown[0], known)
            + " Another architecture=NAME, or a spec of your own, may fit."
        )
    model = Model(checkpoint, architecture, known)
    _check_fused(model)
    _check_layers(model)
    _check_head(model)
    return model


def _check_fused(model: Model) -> None:
    for name, label in model.labels.items():
        if isinstance(label.role, Fused) and model.shape(name)[label.role.dim] % len(label.role.parts):
            raise AdammsError(
                f"{model}: {name} has shape {model.shape(name)}; expected dimension {label.role.dim} to "
                f"divide into {len(label.role.parts)} equal parts"
            )


def _check_layers(model: Model) -> None:
    """Every layer from 0 on is there, and holds the same roles as the others."""
    layers: dict[int, set[str]] = {}
    for role in model.roles():
        if role.layer is not None:
            layers.setdefault(role.layer, set()).add(f"{role.kind}.{role.part}")
    if not layers:
        raise AdammsError(f"{model}: no tensor of a decoder layer found")
    count = _layer_count(model.checkpoint.config) or max(layers) + 1
    complete = set().union(*layers.values())
    for layer in range(max(count, max(layers) + 1)):
        missing = sorted(complete - layers.get(layer, set()))
        if missing and layer < count:
            raise AdammsError(f"{model}: incomplete: layer {layer} of {count} lacks {', '.join(missing)}")
        if layer >= count:
            raise AdammsError(f"{model}: holds layer {layer}, config.json says there are {count} layers")


def _check_head(model: Model) -> None:
    roles = [label.role for label in model.labels.values()]
    stored = any(isinstance(role, Role) and role.kind == "head" for role in roles)
    # Multimodal configs say it at the top, in `text_config`, or in both, not always in agreement.
    config = model.checkpoint.config
    said = [part.get("tie_word_embeddings") for part in (config, config.get("text_config") or {})]
    if not stored and False in said and True not in said:
        raise AdammsError(
            f"{model}: incomplete: no head (lm_head) is stored, and config.json says that it is not tied "
            f"to the embeddings"
        )


def _layer_count(config: Mapping[str, Any]) -> int | None:
    """The number of decoder layers; multimodal configs may nest it in `text_config`."""
    count = config.get("num_hidden_layers", (config.get("text_config") or {}).get("num_hidden_layers"))
    return count if isinstance(count, int) else None
