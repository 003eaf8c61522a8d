"""Which tensor of one format corresponds to which of another, written out pair by pair; test data.

Written from the authors' scripts where there is one (llava-qwen2qwenvl.py, llava2mplugowl.py,
mplugowl2cogvlm.py, and their siblings for the baselines), by the same rules where there is none: what
exists once goes to every copy, copies for text and image go to their like, and of what only the donor
has twice the text copy is taken. Nothing here comes from adamms.

`a + b` are rows one after the other; `a[0:1]` are rows in units of the hidden size.
"""

import re
from typing import Any

Tree = dict[str, Any]
Table = dict[str, str]

LLAMA = (
    *(f"self_attn.{p}_proj.weight" for p in "qkvo"),
    *(f"mlp.{p}_proj.weight" for p in ("gate", "up", "down")),
    *(f"{p}_layernorm.weight" for p in ("input", "post_attention")),
)
QWEN2 = (*LLAMA, *(f"self_attn.{p}_proj.bias" for p in "qkv"))
OUTER = ("lm_head.weight", "model.embed_tokens.weight", "model.norm.weight")
EMBEDDINGS = OUTER[:2]

COGVLM_FROM_LLAMA = {
    "input_layernorm.weight": "input_layernorm.weight",
    "post_attention_layernorm.weight": "post_attention_layernorm.weight",
    "self_attn.language_expert_query_key_value.weight": "self_attn.q_proj.weight + self_attn.k_proj.weight"
    " + self_attn.v_proj.weight",
    "self_attn.vision_expert_query_key_value.weight": "self_attn.q_proj.weight + self_attn.k_proj.weight"
    " + self_attn.v_proj.weight",
    "self_attn.language_expert_dense.weight": "self_attn.o_proj.weight",
    "self_attn.vision_expert_dense.weight": "self_attn.o_proj.weight",
    "mlp.language_mlp.gate_proj.weight": "mlp.gate_proj.weight",
    "mlp.language_mlp.up_proj.weight": "mlp.up_proj.weight",
    "mlp.language_mlp.down_proj.weight": "mlp.down_proj.weight",
    "mlp.vision_mlp.gate_proj.weight": "mlp.gate_proj.weight",
    "mlp.vision_mlp.up_proj.weight": "mlp.up_proj.weight",
    "mlp.vision_mlp.down_proj.weight": "mlp.down_proj.weight",
}
COGVLM_FROM_MPLUG_OWL2 = COGVLM_FROM_LLAMA | {
    "input_layernorm.weight": "input_layernorm.multiway.0.weight",
    "post_attention_layernorm.weight": "post_attention_layernorm.multiway.0.weight",
    "self_attn.language_expert_query_key_value.weight": "self_attn.q_proj.weight"
    " + self_attn.k_proj.multiway.0.weight + self_attn.v_proj.multiway.0.weight",
    "self_attn.vision_expert_query_key_value.weight": "self_attn.q_proj.weight"
    " + self_attn.k_proj.multiway.1.weight + self_attn.v_proj.multiway.1.weight",
}
MPLUG_OWL2_FROM_LLAMA = {
    "self_attn.q_proj.weight": "self_attn.q_proj.weight",
    "self_attn.o_proj.weight": "self_attn.o_proj.weight",
    "mlp.gate_proj.weight": "mlp.gate_proj.weight",
    "mlp.up_proj.weight": "mlp.up_proj.weight",
    "mlp.down_proj.weight": "mlp.down_proj.weight",
    "self_attn.k_proj.multiway.0.weight": "self_attn.k_proj.weight",
    "self_attn.k_proj.multiway.1.weight": "self_attn.k_proj.weight",
    "self_attn.v_proj.multiway.0.weight": "self_attn.v_proj.weight",
    "self_attn.v_proj.multiway.1.weight": "self_attn.v_proj.weight",
    "input_layernorm.multiway.0.weight": "input_layernorm.weight",
    "input_layernorm.multiway.1.weight": "input_layernorm.weight",
    "post_attention_layernorm.multiway.0.weight": "post_attention_layernorm.weight",
    "post_attention_layernorm.multiway.1.weight": "post_attention_layernorm.weight",
}
MPLUG_OWL2_FROM_COGVLM = {
    "self_attn.q_proj.weight": "self_attn.language_expert_query_key_value.weight[0:1]",
    "self_attn.o_proj.weight": "self_attn.language_expert_dense.weight",
    "mlp.gate_proj.weight": "mlp.language_mlp.gate_proj.weight",
    "mlp.up_proj.weight": "mlp.language_mlp.up_proj.weight",
    "mlp.down_proj.weight": "mlp.language_mlp.down_proj.weight",
    "self_attn.k_proj.multiway.0.weight": "self_attn.language_expert_query_key_value.weight[1:2]",
    "self_attn.k_proj.multiway.1.weight": "self_attn.vision_expert_query_key_value.weight[1:2]",
    "self_attn.v_proj.multiway.0.weight": "self_attn.language_expert_query_key_value.weight[2:3]",
    "self_attn.v_proj.multiway.1.weight": "self_attn.vision_expert_query_key_value.weight[2:3]",
    "input_layernorm.multiway.0.weight": "input_layernorm.weight",
    "input_layernorm.multiway.1.weight": "input_layernorm.weight",
    "post_attention_layernorm.multiway.0.weight": "post_attention_layernorm.weight",
    "post_attention_layernorm.multiway.1.weight": "post_attention_layernorm.weight",
}
LLAMA_FROM_COGVLM = {
    "self_attn.q_proj.weight": "self_attn.language_expert_query_key_value.weight[0:1]",
    "self_attn.k_proj.weight": "self_attn.language_expert_query_key_value.weight[1:2]",
    "self_attn.v_proj.weight": "self_attn.language_expert_query_key_value.weight[2:3]",
    "self_attn.o_proj.weight": "self_attn.language_expert_dense.weight",
    "mlp.gate_proj.weight": "mlp.language_mlp.gate_proj.weight",
    "mlp.up_proj.weight": "mlp.language_mlp.up_proj.weight",
    "mlp.down_proj.weight": "mlp.language_mlp.down_proj.weight",
    "input_layernorm.weight": "input_layernorm.weight",
    "post_attention_layernorm.weight": "post_attention_layernorm.weight",
}
LLAMA_FROM_MPLUG_OWL2 = {
    "self_attn.q_proj.weight": "self_attn.q_proj.weight",
    "self_attn.k_proj.weight": "self_attn.k_proj.multiway.0.weight",
    "self_attn.v_proj.weight": "self_attn.v_proj.multiway.0.weight",
    "self_attn.o_proj.weight": "self_attn.o_proj.weight",
    "mlp.gate_proj.weight": "mlp.gate_proj.weight",
    "mlp.up_proj.weight": "mlp.up_proj.weight",
    "mlp.down_proj.weight": "mlp.down_proj.weight",
    "input_layernorm.weight": "input_layernorm.multiway.0.weight",
    "post_attention_layernorm.weight": "post_attention_layernorm.multiway.0.weight",
}

# (target's layers, donor's layers) -> per layer: target's tensor <- the donor's.
LAYERS: dict[tuple[str, str], Table] = {
    ("llama", "llama"): {name: name for name in LLAMA},
    ("llama", "cogvlm"): LLAMA_FROM_COGVLM,
    ("llama", "mplug_owl2"): LLAMA_FROM_MPLUG_OWL2,
    ("cogvlm", "llama"): COGVLM_FROM_LLAMA,
    ("cogvlm", "mplug_owl2"): COGVLM_FROM_MPLUG_OWL2,
    ("cogvlm", "cogvlm"): {name: name for name in COGVLM_FROM_LLAMA},
    ("mplug_owl2", "llama"): MPLUG_OWL2_FROM_LLAMA,
    ("mplug_owl2", "cogvlm"): MPLUG_OWL2_FROM_COGVLM,
    ("mplug_owl2", "mplug_owl2"): {name: name for name in MPLUG_OWL2_FROM_LLAMA},
    ("qwen2", "qwen2"): {name: name for name in QWEN2},
}

# Architecture -> the kind of its layers, and what the names of its language model begin with.
FORMATS = {
    "llama": ("llama", ""),
    "llava": ("llama", ""),
    "llava_hf": ("llama", "language_model."),
    "cambrian": ("llama", ""),
    "cogvlm": ("cogvlm", ""),
    "mplug_owl2": ("mplug_owl2", ""),
    "qwen2": ("qwen2", ""),
    "qwen2_vl": ("qwen2", ""),
    "llava_onevision": ("qwen2", ""),
    "llava_onevision_hf": ("qwen2", "language_model."),
}


def correspondences(
    pair: tuple[str, str], layers: int, hidden: int, prefixes: tuple[str, str] = ("", "")
) -> dict[str, Tree]:
    """Target tensor -> the donor's expression as plan.json writes it.

    Args:
        pair: the kinds of layers of target and donor.
        layers, hidden: the size of both language models.
        prefixes: what the names of target and donor begin with.
    """
    mine, theirs = prefixes
    found = {mine + name: _tree(name, theirs, hidden) for name in OUTER}
    for i in range(layers):
        layer = f"model.layers.{i}."
        for name, source in LAYERS[pair].items():
            found[mine + layer + name] = _tree(source, theirs + layer, hidden)
    return found


def _tree(source: str, prefix: str, hidden: int) -> Tree:
    parts = [_part(part, prefix, hidden) for part in source.split(" + ")]
    return parts[0] if len(parts) == 1 else {"concat": parts, "dim": 0}


def _part(part: str, prefix: str, hidden: int) -> Tree:
    match = re.fullmatch(r"(?P<name>[^\[]+)(?:\[(?P<start>\d):(?P<stop>\d)\])?", part)
    assert match is not None
    read = {"read": prefix + match["name"]}
    if match["start"] is None:
        return read
    return {
        "slice": read,
        "dim": 0,
        "start": int(match["start"]) * hidden,
        "stop": int(match["stop"]) * hidden,
    }
