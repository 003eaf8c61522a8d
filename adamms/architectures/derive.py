"""Architectures derived from transformers' own classes: what each tensor is, with nothing written down.

File names become module names as transformers' loader renames them; what lies in the text decoder is of the
language model. Which of its names are which known roles is said by the specs (spec.py); the others are open.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

from adamms.architectures.label import Label
from adamms.architectures.leftovers import by_rule
from adamms.architectures.meta_model import Decoder, build, find_decoder, tied_weights
from adamms.architectures.renaming import Renaming
from adamms.architectures.roles import open_role
from adamms.architectures.spec import Architecture, known_architectures, load_architecture

# What a part of a model beside its language model is, by the first word of a tensor's name that says so.
PARTS = (
    (r"talker", "talker"),
    (r"2wav|codec|vocoder|depth_decoder", "speech decoder"),
    (r"resampler|former|perceiver|abstractor|query_tokens", "resampler"),
    (r"project|connector|newline|merger|aligner|adapt[eo]r|bridge|mm_", "projector"),
    (r"cross_attn", "cross-attention layer"),
    (r"audio|speech|whisper|acoustic", "audio encoder"),
    (r"vis|video|image|img|vit|vq|siglip|clip|sam_|pixel|patch", "vision encoder"),
    (r"score|classif|qa_outputs", "classification head"),
    (r"action|state|time_|_expert", "action head"),
)
# What is not of the language model though it lies in its module, beside the layers.
_IN_DECODER = re.compile(r"cross_attn|perceiver|audio|speech|vis|image|img|vq|protein")
_EXPERT = re.compile(r"(?<=\.experts\.)\d+(?=\.)")


@dataclass(frozen=True)
class _Place:
    """Where a tensor of a file belongs.

    Args:
        stored: its name after the loader's renaming, before it is stacked or split.
        parameters: those of the class that it becomes, or becomes a part of.
    """

    stored: str
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class Derived:
    """What is left of a derived architecture where a class has labelled all tensors before.

    Args:
        name: the config's model_type.
    """

    name: str

    @property
    def inference(self) -> Mapping[str, str]:
        return DerivedArchitecture.inference


class DerivedArchitecture:
    """What a class of transformers says of the tensors of its checkpoints. Made by `derive`.

    Has what the mapping asks of a spec's Architecture.

    Args:
        name: the config's model_type.
        inserted: numbers of the layers that attend to the image, which a language model lacks (Llama 3.2).
        renaming: from a file's tensors to the class's parameters, which have no values.
        buffers: those of the parameters that are no weights.
        tied: parameter -> the one that it is tied to.
        decoder: where the language model is.
    """

    inference: Mapping[str, str] = {}

    def __init__(
        self,
        name: str,
        inserted: frozenset[int],
        renaming: Renaming,
        buffers: frozenset[str],
        tied: Mapping[str, str],
        decoder: Decoder,
    ) -> None:
        self.name = name
        self._inserted = inserted
        self._parameters = renaming.parameters
        self._renaming = renaming
        self._places = _Places(renaming)
        self._buffers = buffers
        self._tied = tied
        self._decoder = decoder

    def label(self, name: str) -> Label | None:
        """What the tensor `name` of a file is; None if the class has no such tensor."""
        place = self._places.find(name)
        if place is None:
            # Configs say less of an encoder than of the language model: it may have more layers.
            renamed = self._renaming.renamed(name)
            beside = renamed.startswith(self._beside)
            return Label(None, reason=self._reason(renamed)) if beside else None
        if not all(self._parameters[p].is_floating_point() for p in place.parameters):
            return Label(None, reason="a constant")
        copies = (self._copies.get(p) for p in place.parameters if p == place.stored)
        local = self._local(next(filter(None, copies), place.stored))
        if local is None:
            return Label(None, reason=self._reason(place.stored))
        return self._language(local)

    def missing(self, names: Iterable[str]) -> list[str]:
        """The parameters of the language model that files with these tensors do not give."""
        places = [place for name in names if (place := self._places.find(name))]
        given = {parameter for place in places for parameter in place.parameters}
        for one, other in self._tied.items():
            if one in given or other in given:
                given |= {one, other}
        return [
            name
            for name in self._parameters
            if name not in given and name not in self._buffers and self._local(name) is not None
        ]

    def _language(self, local: str) -> Label:
        """The role of a tensor that is called `local` in a language model whose stack is called `layers`."""
        label = self._dialect.label(_causal(local)) or by_rule(local) or Label(open_role(local))
        layer = next((role.layer for role in label.parts), None)
        if layer is None or not self._inserted:
            return label
        if layer in self._inserted:
            return Label(None, reason="cross-attention layer")
        return label.counted(layer - sum(other < layer for other in self._inserted))

    def _local(self, name: str) -> str | None:
        """A module's name within the language model, as specs spell it; None if it lies outside.

        Embeddings and head are `embed_tokens` and `lm_head` whatever they are called.
        """
        decoder = self._decoder
        called = {decoder.embeddings: "embed_tokens", decoder.head: "lm_head", decoder.layers: "layers"}
        for module, usual in called.items():
            if module and name.startswith(f"{module}."):
                return usual + name[len(module) :]
        if any(name.startswith(f"{other}.") for other in decoder.others):
            return None
        for part in (decoder.name, decoder.model):
            if part is not None and name.startswith(f"{part}." if part else ""):
                local = name[len(part) + 1 :] if part else name
                return None if _IN_DECODER.search(local.partition(".")[0]) else local
        return None

    def _reason(self, name: str) -> str:
        """Why a tensor beside the language model is kept: what it is, by the words of its name."""
        words = self._path_beside(name)
        for word in words:
            for pattern, reason in PARTS:
                if re.search(pattern, word):
                    return reason
        return f"{words[0]}: not of the language model"

    def _path_beside(self, name: str) -> list[str]:
        """The words of a name from where it parts from the decoder's."""
        words, path = name.split("."), self._decoder.name.split(".")
        shared = takewhile(lambda pair: pair[0] == pair[1], zip(words, path, strict=False))
        return words[len(list(shared)) :]

    @cached_property
    def _copies(self) -> dict[str, str]:
        """Parameter beside the language model -> the one in it that it is tied to."""
        pairs = [pair for tie in self._tied.items() for pair in (tie, tie[::-1])]
        return {one: other for one, other in pairs if self._local(one) is None and self._local(other)}

    @cached_property
    def _beside(self) -> tuple[str, ...]:
        """What the names of the modules beside the language model begin with, e.g. "model.visual."."""
        found: dict[str, None] = {}
        for name in self._parameters:
            if self._local(name) is None:
                words = name.split(".")
                found[".".join(words[: len(words) - len(self._path_beside(name)) + 1]) + "."] = None
        return tuple(found)

    @cached_property
    def _dialect(self) -> Architecture:
        """The spec that describes the most of the language model's tensors, of those the shortest.

        A head counts whether or not the class has one: with and without, names mean the same.
        """
        local = {"lm_head.weight", *(self._local(name) for name in self._parameters)} - {None}
        causal = {_causal(re.sub(r"^layers\.\d+\.", "layers.0.", each)) for each in local if each}

        def fit(spec: Architecture) -> tuple[int, int]:
            labels = (spec.label(name) for name in causal)
            return sum(label is not None and label.role is not None for label in labels), -len(spec.lines)

        return max(map(load_architecture, known_architectures()), key=fit)


class _Places:
    """Where each tensor of a checkpoint goes in the class; experts go alike, so one of them is asked for.

    Args:
        renaming: the class's.
    """

    def __init__(self, renaming: Renaming) -> None:
        self._renaming = renaming
        self._places: dict[str, _Place | None] = {}

    def find(self, name: str) -> _Place | None:
        """Where a tensor goes; None if the class has no place for it. Experts are renamed alike."""
        expert = _EXPERT.search(name)
        key = name if expert is None else f"{name[: expert.start()]}0{name[expert.end() :]}"
        if key not in self._places:
            self._places[key] = self._place(key)
        found = self._places[key]
        if found is None or expert is None:
            return found
        return _Place(_EXPERT.sub(expert[0], found.stored), found.parameters)

    def _place(self, name: str) -> _Place | None:
        found, known = self._renaming.find(name), self._renaming.parameters
        if found.parameter not in known:
            return self._one_of_a_stack(self._renaming.renamed(name))
        if found.converter is None:
            return _Place(found.parameter, (found.parameter,))
        first, *others = found.converter.target_patterns
        beside = (found.parameter.replace(first, each) for each in others)
        parameters = (found.parameter, *(each for each in beside if each in known))
        return _Place(self._renaming.unconverted(name), parameters)

    def _one_of_a_stack(self, renamed: str) -> _Place | None:
        """The place of one expert's tensor in the class's stack, where its loader does not stack them."""
        before, _, own = renamed.partition(".experts.0.")
        parts = ("down",) if re.match(r"down|w2", own) else ("gate", "up")
        stacks = (
            [f"{before}.experts.{part}_proj" for part in ("down", "gate_up", "gate", "up")] if own else []
        )
        known = self._renaming.parameters
        taken = [name for name in stacks if name in known and any(part in name for part in parts)]
        return _Place(renamed, tuple(taken)) if taken else None


def derive(config: Mapping[str, Any], where: Path, trust_remote_code: bool = False) -> DerivedArchitecture:
    """The architecture that transformers' class for a config.json, found in `where`, implies.

    Raises:
        AdammsError: transformers has no such class, it refuses the config, or it is no decoder-only model.
    """
    model = build(config, where, trust_remote_code)
    return DerivedArchitecture(
        str(config.get("model_type") or model.config.model_type),
        frozenset(getattr(model.config.get_text_config(), "cross_attention_layers", None) or ()),
        Renaming(model),
        frozenset(name for name, _ in model.named_buffers()),
        tied_weights(model),
        find_decoder(model, where),
    )


def _causal(local: str) -> str:
    """How a spec of a causal language model calls what is called so within its decoder."""
    return local if local.startswith("lm_head.") else f"model.{local}"
