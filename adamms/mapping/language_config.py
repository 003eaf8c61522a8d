"""The part of a config.json that speaks of the language model, with the defaults of transformers' class.

Knows where formats nest it. Reads no weight.
"""

import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from adamms.architectures.meta_model import quiet, undocumented
from adamms.checkpoint.reader import Checkpoint
from adamms.mapping.names import may_be_language

Config = Mapping[str, Any]

# Where multimodal configs nest the config of their language model, the outer ones first.
NESTED = ("thinker_config", "text_config", "llm_config", "language_config")
# The keys of one number: transformers' first, then those of formats that it does not know.
HEADS = ("num_attention_heads", "num_heads", "n_heads", "n_head")
KEY_VALUE_HEADS = ("num_key_value_heads", "num_kv_heads", "n_kv_heads", "n_head_kv", "multi_query_group_num")
HEAD_DIM = ("head_dim", "attention_head_dim", "kv_channels", "head_size")
HIDDEN = ("hidden_size", "n_embd", "d_model", "dim")
# Whose rows are the heads.
PROJECTION = re.compile(r"self_attn\.(q|k)_proj\.weight$")


def nested_parts(config: Config) -> list[Config]:
    """The config, and what it nests of its language model, one in the other."""
    parts = [config]
    for key in NESTED:
        inner = parts[-1].get(key)
        if isinstance(inner, Mapping):
            parts.append(inner)
    return parts


def innermost(config: Config) -> Config:
    """The config of the language model itself, as it is written."""
    return nested_parts(config)[-1]


def plain(config: Config) -> dict[str, Any]:
    """What is written of the language model; the innermost wins."""
    found: dict[str, Any] = {}
    for part in nested_parts(config):
        found |= {key: value for key, value in part.items() if value is not None or key not in found}
    return found


def completed(checkpoint: Checkpoint) -> dict[str, Any]:
    """The same with transformers' defaults, where it knows the format."""
    for part in reversed(nested_parts(checkpoint.config)):
        known = _by_transformers(part)
        if known is not None:
            return known if _fits(checkpoint, known) else plain(checkpoint.config)
    return plain(checkpoint.config)


def _fits(checkpoint: Checkpoint, config: Config) -> bool:
    """Whether projections have the rows of these heads: in a file cut short, defaults do not hold."""
    heads, size = number(config, *HEADS), number(config, *HEAD_DIM)
    size = size or number(config, *HIDDEN) // max(1, heads)
    rows = {"q": heads * size, "k": (number(config, *KEY_VALUE_HEADS) or heads) * size}
    found: dict[str, list[int]] = {"q": [], "k": []}
    for name, entry in checkpoint.tensors.items():
        place = PROJECTION.search(name)
        if place is not None and may_be_language(name):
            found[place[1]].append(entry.shape[0])
    return all(not own or any(n % max(1, rows[which]) == 0 for n in own) for which, own in found.items())


def _by_transformers(config: Config) -> dict[str, Any] | None:
    """What transformers' class makes of a config; None where it has none, or not for this very format."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    model_type, declared = config.get("model_type"), config.get("architectures") or []
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        return None
    if isinstance(declared, list) and declared and not {*map(str, declared)} & {*dir(transformers)}:
        return None  # another format of that name: original LLaVA calls itself llava, too
    try:
        with quiet(), undocumented():
            whole = CONFIG_MAPPING[model_type].from_dict(deepcopy(dict(config)))
            found: dict[str, Any] = whole.get_text_config(decoder=True).to_dict()
    except Exception:  # noqa: BLE001  (a class raises whatever it likes of a config that it does not expect)
        return None
    said = config.get("num_attention_heads")
    return found if said is None or said == found.get("num_attention_heads") else None


def number(config: Config, *keys: str) -> int:
    """The positive number that the first of the keys gives; 0 where none does."""
    found = (config.get(key) for key in keys)
    return next((n for n in found if isinstance(n, int) and not isinstance(n, bool) and n > 0), 0)
