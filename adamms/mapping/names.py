"""What a tensor's name says of its place: in which layer, and whether it can be of the language model.

For what has no spec: a mapping by content, and checks of any plan. A name that says nothing is of nothing.
"""

import re
from collections.abc import Sequence

# `model.layers.3.mlp.up_proj.weight`: the stack, the layer, and what it is in the layer.
PLACE = re.compile(r"(?P<stack>(?:[^.\d]\w*\.)+)(?P<layer>\d+)\.(?P<local>.+)")
_NOT_LANGUAGE = re.compile(
    r"vis|vit|vpm|apm|image|img|audio|speech|patch|pixel|siglip|clip|sam_|resampler|projector|mm_|merger"
    r"|talker|2wav|perceiver|connector|abstractor|aligner|qformer|encoder"
)
_SAID = re.compile(r"(model\.)?language_model\.")  # whatever the stack in it is called
_LANGUAGE = re.compile(r"language|text|embed_tokens|per_layer|lm_head|word_embeddings|wte")


def may_be_language(name: str, shape: Sequence[int] = ()) -> bool:
    """Whether a tensor can be of the language model: in a stack of layers or called so, and nothing else.

    Where names say nothing, three dimensions do: experts are stacked so.
    """
    if is_foreign(name):
        return False
    return len(shape) == 3 or bool(PLACE.match(name) or _LANGUAGE.search(name))


def is_foreign(name: str) -> bool:
    """Whether a tensor is called something else than a part of a language model."""
    return bool(_NOT_LANGUAGE.search(name.lower())) and not _SAID.match(name)


def layer_of(name: str) -> str:
    """The layer that a tensor lies in, "model.layers.3"; "" for none."""
    place = PLACE.match(name)
    return "" if place is None else f"{place['stack']}{place['layer']}"
