"""What config.json says of two language models, compared: equal shapes do not prove equal meaning.

32 heads of 128 dimensions have the shapes of 64 heads of 64. Knows formats' keys; reads no weight.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from adamms.checkpoint.reader import Checkpoint
from adamms.mapping.language_config import (
    HEAD_DIM,
    HEADS,
    HIDDEN,
    KEY_VALUE_HEADS,
    Config,
    completed,
    number,
    plain,
)
from adamms.mapping.names import may_be_language
from adamms.mapping.plan import Difference

# Spellings of one function.
ACTIVATIONS = {"swish": "silu", "gelu_new": "gelu_pytorch_tanh", "gelu_fast": "gelu_pytorch_tanh"}
# Tensors that normalise queries or keys: of the language model's own attention, not of a vision encoder's.
QK_NORM = re.compile(r"(?<!cross_)attn\.((q|k|qk|query|key)_(layer)?norm|norm_[qk])\.")

# What people call a setting -> the keys that say it. Models that differ in one of these are not one model.
KINDS: Mapping[str, tuple[str, ...]] = {
    "attention heads": HEADS,
    "key/value heads": KEY_VALUE_HEADS,
    "head_dim": HEAD_DIM,
    "key/value heads of global layers": ("num_global_key_value_heads",),
    "head_dim of global layers": ("global_head_dim",),
    "qk_nope_head_dim": ("qk_nope_head_dim",),
    "qk_rope_head_dim": ("qk_rope_head_dim",),
    "v_head_dim": ("v_head_dim",),
    "rope_interleave": ("rope_interleave",),
    "linear_num_key_heads": ("linear_num_key_heads",),
    "linear_num_value_heads": ("linear_num_value_heads",),
    "linear_key_head_dim": ("linear_key_head_dim",),
    "linear_value_head_dim": ("linear_value_head_dim",),
    "activation": ("hidden_activation", "hidden_act", "activation_function"),
}
# Those that any two language models can be compared by.
ESSENTIAL = ("attention heads", "key/value heads", "head_dim", "activation")
# The same for what fine-tuning may change: shown where it differs.
SHOWN: Mapping[str, tuple[str, ...]] = {
    "layers": ("num_hidden_layers",),
    "experts": ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"),
    "norm epsilon": ("rms_norm_eps", "layer_norm_eps", "norm_eps", "layernorm_epsilon"),
    "vocab_size": ("vocab_size",),
    **{
        key: (key,)
        for key in (
            *("num_experts_per_tok", "norm_topk_prob", "routed_scaling_factor", "no_rope_layers"),
            *("attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar"),
            *("embedding_multiplier", "residual_multiplier", "attention_multiplier", "logits_scaling"),
            *("scale_emb", "scale_depth", "dim_model_base"),
        )
    },
}
ROTARY_SHARE = ("partial_rotary_factor", "rotary_pct", "rotary_percent")
# Kinds of rope_scaling that leave the positions of text as they are.
NO_SCALING = ("default", "mrope", "None")


@dataclass(frozen=True)
class LanguageSettings:
    """What config.json says of a language model, as text, in one spelling for all formats.

    Args:
        kinds: setting -> value; what is not said has none. Heads, activation, q/k norm.
        windows: of every layer the attention window, "none" where all is seen; one for all layers if they are
            alike; empty where nothing is said.
        shown: setting -> value of what fine-tuning may change: rope, epsilon, vocabulary, ...
    """

    kinds: Mapping[str, str]
    windows: tuple[str, ...]
    shown: Mapping[str, str]

    @property
    def unknown(self) -> list[str]:
        """What any language model should say, and this one does not."""
        return [what for what in ESSENTIAL if what not in self.kinds]

    @property
    def complete(self) -> bool:
        return not self.unknown and "rope_theta" in self.shown and "norm epsilon" in self.shown


@dataclass(frozen=True)
class Comparison:
    """Two language models by their config.json.

    Args:
        conflicts: what makes them different models, whatever the shapes say.
        differences: what they differ in beside that, and what could not be compared.
    """

    conflicts: tuple[Difference, ...]
    differences: tuple[Difference, ...]


def completed_settings(checkpoint: Checkpoint) -> LanguageSettings:
    """What a checkpoint says, with transformers' defaults."""
    return _settings(checkpoint, completed(checkpoint))


def compare_configs(
    name: str,
    target: Checkpoint,
    other: Checkpoint,
    complete: Callable[[Checkpoint], LanguageSettings] = completed_settings,
) -> Comparison:
    """Hold the model `name` (a donor, or "ancestor") against the target.

    Where the files leave nothing open, transformers is not asked for defaults: it takes seconds to load.

    Args:
        complete: what else says `completed_settings`.
    """
    mine, theirs = (_settings(each, plain(each.config)) for each in (target, other))
    alike = (mine.kinds, mine.windows, mine.shown.keys()) == (
        theirs.kinds,
        theirs.windows,
        theirs.shown.keys(),
    )
    if not alike or not mine.complete:
        mine, theirs = complete(target), complete(other)
    conflicts = [*_differing(name, mine.kinds, theirs.kinds), *_windows(name, mine.windows, theirs.windows)]
    differences = _differing(name, mine.shown, theirs.shown)
    unknown = [what for what in ESSENTIAL if what in mine.unknown or what in theirs.unknown]
    if unknown:
        said = ["not said" if each.unknown else "said" for each in (mine, theirs)]
        differences = (*differences, Difference(name, f"{', '.join(unknown)}: not compared", *said))
    return Comparison(tuple(conflicts), tuple(differences))


def _settings(checkpoint: Checkpoint, config: Config) -> LanguageSettings:
    """What a checkpoint says of its language model, given the part of its config.json that speaks of that."""
    kinds = {what: text for what, keys in KINDS.items() if (text := _text(_first(config, keys)))}
    _add_defaults(kinds, config)
    norms = any(QK_NORM.search(name) and may_be_language(name) for name in checkpoint.tensors)
    said = _first(config, ("use_qk_norm", "qk_layernorm", "qk_norm")) is True
    kinds["q/k norm"] = "yes" if norms or said else "no"
    shown = {what: text for what, keys in SHOWN.items() if (text := _text(_first(config, keys)))}
    tied = checkpoint.config.get("tie_word_embeddings", config.get("tie_word_embeddings"))
    if isinstance(tied, bool):
        shown["tied embeddings"] = "yes" if tied else "no"
    return LanguageSettings(kinds, _attention_windows(config), _rope(config) | shown)


def _differing(name: str, mine: Mapping[str, str], theirs: Mapping[str, str]) -> tuple[Difference, ...]:
    """The settings that both say, and say otherwise."""
    return tuple(
        Difference(name, what, mine[what], theirs[what])
        for what in mine
        if what in theirs and mine[what] != theirs[what]
    )


def _windows(name: str, mine: tuple[str, ...], theirs: tuple[str, ...]) -> Iterator[Difference]:
    """The first layer whose window differs; layers that only one model has do not count."""
    if not mine or not theirs:
        return
    layers = max(len(mine), len(theirs)) if 1 in (len(mine), len(theirs)) else min(len(mine), len(theirs))
    for layer in range(layers):
        one, other = (each[0 if len(each) == 1 else layer] for each in (mine, theirs))
        if one != other:
            where = "attention window" + ("" if layers == 1 else f" of layer {layer}")
            yield Difference(name, where, one, other)
            return


# ---------------------------------------------------------------- one config


def _first(config: Config, keys: tuple[str, ...]) -> Any:
    return next((config[key] for key in keys if config.get(key) is not None), None)


def _text(value: Any) -> str:
    """A value as people write it; "" for none. Numbers of one value have one text: 1e6 and 1000000."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:.10g}" if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return ACTIVATIONS.get(value, value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, Mapping):
        return ", ".join(
            f"{key} {_text(each)}" for key, each in sorted(value.items(), key=str) if _text(each)
        )
    return str(value)


def _add_defaults(kinds: dict[str, str], config: Config) -> None:
    """Without key/value heads every head has its own; without head_dim the heads share the hidden size."""
    heads = number(config, *HEADS)
    if heads:
        kinds.setdefault("key/value heads", str(heads))
        if hidden := number(config, *HIDDEN):
            kinds.setdefault("head_dim", str(hidden // heads))


def _attention_windows(config: Config) -> tuple[str, ...]:
    """A window of all positions that there are is none."""
    if not number(config, *HEADS):
        return ()
    size, positions = number(config, "sliding_window"), number(config, "max_position_embeddings")
    if config.get("use_sliding_window") is False or (positions and size >= positions):
        size = 0
    sliding = str(size) if size else "none"
    kinds = config.get("layer_types")
    if isinstance(kinds, list | tuple) and kinds:
        chunk = f"chunks of {config.get('attention_chunk_size')}"
        names = {"full_attention": "none", "sliding_attention": sliding, "chunked_attention": chunk}
        return tuple(names.get(str(kind), str(kind)) for kind in kinds)
    pattern = number(config, "sliding_window_pattern")
    if size and pattern and (layers := number(config, "num_hidden_layers")):
        return tuple("none" if (layer + 1) % pattern == 0 else sliding for layer in range(layers))
    return (sliding,)


def _rope(config: Config) -> dict[str, str]:
    """Base and scaling of the rotary positions, under the names of the layers' kinds where those differ.

    The sections of Qwen-VL's mrope share the angles out among time, height and width: of text they are equal.
    """
    given = _first(config, ("rope_parameters", "rope_scaling"))
    given = dict(given) if isinstance(given, Mapping) else {}
    per_kind = {kind: each for kind, each in given.items() if isinstance(each, Mapping)}
    if not per_kind:
        own = {"rope_theta": config.get("rope_theta"), "partial_rotary_factor": _first(config, ROTARY_SHARE)}
        return _one_rope({key: value for key, value in own.items() if value is not None} | given)
    found: dict[str, str] = {}
    for kind, each in sorted(per_kind.items()):
        found |= {f"{what} ({kind})": text for what, text in _one_rope(each).items()}
    return found


def _one_rope(given: Config) -> dict[str, str]:
    rest = dict(given)
    kind = str(rest.pop("rope_type", None) or rest.pop("type", None))
    rest.pop("type", None)
    theta, share = rest.pop("rope_theta", None), rest.pop("partial_rotary_factor", None)
    factors = {key: value for key, value in rest.items() if not key.startswith("mrope")}
    scaling = "none" if kind in NO_SCALING else f"{kind} ({_text(factors)})" if factors else kind
    found = {"rope_theta": _text(theta), "rope_scaling": scaling, "rotary share": _text(share or 1.0)}
    return {what: text for what, text in found.items() if text}
