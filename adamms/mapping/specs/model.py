"""A checkpoint read through its architecture: what every tensor is, with completeness checked.

Joins `checkpoint` and `architectures`; knows nothing of a second model.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from adamms.architectures.derive import Derived
from adamms.architectures.label import Fused, Label, Stacked
from adamms.architectures.leftovers import label_all
from adamms.architectures.recognise import AnyArchitecture
from adamms.architectures.roles import Role
from adamms.architectures.spec import saved_without_head
from adamms.checkpoint.reader import Checkpoint
from adamms.errors import AdammsError, nearest
from adamms.mapping.expression import Expression, Read, Shape
from adamms.mapping.layout import Layout, StackedLayout
from adamms.mapping.simplify import take
from adamms.mapping.specs.fusion import is_transposed, layout_of, settings, stacked_layout

# Roles that the message of an incomplete layer names.
MISSING = 12


@dataclass(frozen=True)
class Model:
    """One checkpoint with the label of each of its tensors; make it with `describe`.

    Args:
        checkpoint: its files.
        architecture: the format that it is in.
        labels: tensor name -> what it is.
        wrapped: tensor name -> the one that the format has for it, for names with the prefix of a wrapper.
    """

    checkpoint: Checkpoint
    architecture: AnyArchitecture | Derived
    labels: Mapping[str, Label]
    wrapped: Mapping[str, str] = field(default_factory=dict)

    def shape(self, name: str) -> Shape:
        return self.checkpoint.tensors[name].shape

    def __str__(self) -> str:
        said = self.checkpoint.dequantised
        return f"{self.checkpoint} ({self.architecture.name}{f'; {said}' if said else ''})"

    @cached_property
    def roles(self) -> dict[Role, Expression]:
        """Where each role of the LM is found: a tensor, or a slice of a fused one.

        A head that is not stored is tied to the embeddings.
        """
        found: dict[Role, Expression] = {}
        for name, label in self.labels.items():
            layout = self.layout(name)
            if layout is not None:
                found |= zip(layout.parts, layout.split(Read(name), self.shape), strict=True)
            elif isinstance(label.role, Role):
                found[label.role] = self._leading(name, label.rows)
        embed, head = Role("embed", "weight"), Role("head", "weight")
        if embed in found and not self.headless:
            found.setdefault(head, found[embed])
        return found

    def _leading(self, name: str, rows: int | None) -> Expression:
        """So many of the tensor's leading rows; all if it is None."""
        whole, shape = Read(name), self.shape(name)
        if rows is None:
            return whole
        if rows > shape[0]:
            raise AdammsError(f"{self}: {name} has shape {shape}; expected at least {rows} rows")
        return take(whole, 0, 0, rows, self.shape)

    @property
    def headless(self) -> bool:
        """Whether it was saved without its head, which config.json does not tie to the embeddings.

        Of what it says of that, the outermost counts: the parts' may be their classes' defaults.
        """
        config = self.checkpoint.config
        tied = settings(config, "tie_word_embeddings")[-1:] == [True]
        return saved_without_head(config) and not tied

    def layout(self, name: str) -> Layout | StackedLayout | None:
        """Where the parts of the tensor `name` lie in it; None if it is one role's alone."""
        role, config = self.labels[name].role, self.checkpoint.config
        try:
            if isinstance(role, Fused):
                return layout_of(role, self.shape(name), config)
            if isinstance(role, Stacked):
                return stacked_layout(role, self.shape(name), config, self._transposed(name, role))
        except AdammsError as error:
            raise AdammsError(f"{self}: {name} {error}") from error
        return None

    def _transposed(self, name: str, stacked: Stacked) -> bool:
        """Whether experts lie as (in, out): by their shape, by their layer's others, else by the spec."""
        own = self.labels[name].parts[0]
        for other in (name, *self._stacks.get((own.layer, own.variant), ())):
            label = self.labels[other].role
            if isinstance(label, Stacked) and self.labels[other].parts[0].part == own.part:
                found = is_transposed(label, self.shape(other), self.checkpoint.config)
                if found is not None:
                    return found
        if stacked.transposed is None:
            raise AdammsError(
                f"has shape {self.shape(name)}, by which its matrices may lie as (out, in) or as (in, out); "
                f"name an architecture whose spec says `transposed` of this tensor"
            )
        return stacked.transposed

    @cached_property
    def _stacks(self) -> dict[tuple[int | None, str | None], list[str]]:
        """Layer and variant -> the tensors that hold all experts there."""
        found: dict[tuple[int | None, str | None], list[str]] = {}
        for name, label in self.labels.items():
            if isinstance(label.role, Stacked):
                found.setdefault((label.parts[0].layer, label.parts[0].variant), []).append(name)
        return found

    @cached_property
    def experts(self) -> dict[int | None, int]:
        """Layer -> how many experts it has, for the layers that have any."""
        found: dict[int | None, int] = {}
        for role in self.roles:
            if role.expert is not None:
                found[role.layer] = max(found.get(role.layer, 0), role.expert + 1)
        return found

    @cached_property
    def layers(self) -> frozenset[int]:
        """The decoder layers of which it has a tensor."""
        return frozenset(role.layer for role in self.roles if role.layer is not None)


def describe(checkpoint: Checkpoint, architecture: AnyArchitecture) -> Model:
    """Label every tensor of `checkpoint`.

    Raises:
        AdammsError: a tensor that no line of the spec describes, a fused tensor that does not divide
            into its parts, or layers that are missing or incomplete.
    """
    drafting = _drafting_layers(checkpoint.config)
    labels = label_all(checkpoint.tensors, architecture.label, drafting, str(checkpoint.folder))
    known = labels.known
    unknown = [name for name in checkpoint.tensors if name not in known]
    if unknown:
        raise AdammsError(
            f"{checkpoint.folder}: {len(unknown)} tensors are not described by the architecture "
            f"{architecture.name!r}, first {unknown[0]!r} of shape {checkpoint.tensors[unknown[0]].shape}."
            + nearest(unknown[0], known)
            + " Another architecture=NAME, or a spec of your own, may fit."
        )
    model = Model(checkpoint, architecture, known, labels.wrapped)
    missing = architecture.missing([labels.wrapped.get(name, name) for name in known])
    if missing is None:
        _check_layers(model)
        _check_head(model)
    elif missing:
        raise AdammsError(
            f"{model}: incomplete: its files lack {len(missing)} tensors of the language model, first "
            f"{missing[0]!r}"
        )
    _check_experts(model)
    return model


def _drafting_layers(config: Mapping[str, Any]) -> range:
    """Numbers of the layers behind the decoder's that predict further tokens: DeepSeek and GLM count on."""
    layers, more = (
        next((value for value in settings(config, key) if isinstance(value, int)), 0)
        for key in ("num_hidden_layers", "num_nextn_predict_layers")
    )
    return range(layers, layers + more) if layers else range(0)


def _check_layers(model: Model) -> None:
    """Every layer from 0 on is there, and none lacks what another has beside all of its own.

    Attention and MLP by themselves: dense and sparse layers have the same attention.
    """
    layers: dict[int, set[str]] = {}
    for role in model.roles:
        if role.layer is not None:
            layers.setdefault(role.layer, set()).add(str(replace(role, layer=None)))
    if not layers:
        raise AdammsError(f"{model}: no tensor of a decoder layer found")
    config = model.checkpoint.config
    said = [value for value in settings(config, "num_hidden_layers") if isinstance(value, int)]
    count = said[0] if said else max(layers) + 1
    parts = {layer: _attention_and_mlp(roles) for layer, roles in layers.items()}
    kinds = [sorted(set(each), key=len) for each in zip(*parts.values(), strict=True)]
    for layer in range(max(count, max(layers) + 1)):
        both = zip(parts.get(layer, _attention_and_mlp(())), kinds, strict=True)
        fuller: list[frozenset[str]] = [
            next((kind - own for kind in known if own < kind), frozenset()) for own, known in both
        ]
        missing = sorted(frozenset().union(*fuller))
        if missing and layer < count:
            more = f" and {len(missing) - MISSING} more" if len(missing) > MISSING else ""
            lacks = ", ".join(missing[:MISSING]) + more
            raise AdammsError(f"{model}: incomplete: layer {layer} of {count} lacks {lacks}")
        if layer >= count:
            raise AdammsError(f"{model}: holds layer {layer}, config.json says there are {count} layers")


def _attention_and_mlp(roles: Iterable[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Those of a layer's attention with all norms, and those of its MLP or experts."""
    mlp = frozenset(role for role in roles if role.startswith(("mlp.", "moe.")))
    return frozenset(roles) - mlp, mlp


def _check_experts(model: Model) -> None:
    """No expert is missing, nor lacks what another of its layer has."""
    layers: dict[int | None, dict[int, set[str]]] = {}
    for role in model.roles:
        if role.expert is not None:
            part = f"{role.kind}.{role.part}"
            layers.setdefault(role.layer, {}).setdefault(role.expert, set()).add(part)
    for layer, experts in layers.items():
        every = set().union(*experts.values())
        for expert in range(model.experts[layer]):
            missing = sorted(every - experts.get(expert, set()))
            if missing:
                raise AdammsError(
                    f"{model}: incomplete: expert {expert} of layer {layer} lacks {', '.join(missing)}"
                )


def _check_head(model: Model) -> None:
    stored = any(role.kind == "head" for label in model.labels.values() for role in label.parts)
    said = settings(model.checkpoint.config, "tie_word_embeddings")
    if not stored and False in said and True not in said and not model.headless:
        raise AdammsError(
            f"{model}: incomplete: no head (lm_head) is stored, and config.json says that it is not tied "
            f"to the embeddings"
        )
