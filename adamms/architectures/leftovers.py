"""What a checkpoint may hold beside its architecture's tensors: constants, heads, prefixes of wrappers.

Data, with the functions that apply it. A rule is looked up for a tensor that the architecture does not
describe; a rule that gives it another name counts where the architecture describes that name.
"""

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass

from adamms.architectures.label import Label
from adamms.errors import AdammsError

# Reason -> pattern of a name without prefixes. A target keeps such tensors: what loads it loads or skips
# them. None takes those of a donor.
LEFTOVERS = {
    "rotary frequencies (a constant)": r"(.+\.)?rotary_(pos_)?emb\.((original_)?inv_freq|\w+_cached)",
    "position numbers (a constant)": r"(.+\.)?position_ids",
    "attention mask (a constant)": r"(.+\.)?(masked_bias|causal_mask)",
    "expert selection (balances the experts' load, no weight)": r".*\b(e_score_correction_bias|expert_bias)",
    "multi-token prediction": r"(.+\.)?(mtp|mtp_\w+)\..+",
    "value head (reinforcement learning)": r"(v_head|value_head|reward_head)\..+",
    "classification head": r"(score|classifier|qa_outputs)\..+",
    "moving average of the weights": r"(ema|ema_model|model_ema|shadow_params)\..+|n_averaged",
    "state of training": r"(optimizer\w*|lr_scheduler\w*)\..+|(.+\.)?(exp_avg|exp_avg_sq|_extra_state)",
}
_LEFTOVERS = {reason: re.compile(pattern) for reason, pattern in LEFTOVERS.items()}
# DeepSeek and GLM count it among the layers: those from num_hidden_layers on.
DRAFTING = "multi-token prediction"
# What is wrong with a checkpoint that holds such tensors -> pattern of a name's last words.
REFUSED = {
    "it looks quantised; merging needs its 16- or 32-bit weights": re.compile(
        r".*\.(qweight|qzeros|scales|g_idx|SCB|weight_format|W_q|weight\.(absmax|quant_map|nested_\w+|quant_state\..+)"
        r"|weight_(packed|shape|zero_point|g_idx)|(weight|input|output|q|k|v)_scale(_inv|_2)?|\w+_proj_(blocks|scales))"
    ),
    "an adapter lies beside its weights; materialise it with PEFT's merge_and_unload": re.compile(
        r".*\.(lora_(embedding_)?[AB]|lora_magnitude_vector|base_layer)(\..+)?"
    ),
}
# Modules that compilation, FSDP and checkpointing put around any other: they are no part of a path.
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
# What trainers put before all names: DDP and DeepSpeed, PEFT, TRL, Lightning.
PREFIXES = ("module.", "base_model.model.", "pretrained_model.", "state_dict.", "base_model.", "model.")
# What a model saved without its head (Qwen2Model) leaves out before all names.
BACKBONE = "model."

_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")


@dataclass(frozen=True)
class Labels:
    """What the tensors of a checkpoint are.

    Args:
        known: name -> label, of those that an architecture or a rule describes.
        wrapped: name -> the one that the architecture describes, for names with the prefix of a wrapper.
    """

    known: Mapping[str, Label]
    wrapped: Mapping[str, str]


def label_all(
    names: Iterable[str], describe: Callable[[str], Label | None], drafting: Container[int], where: str
) -> Labels:
    """Label the tensors `names` by their architecture and, where it says nothing, by the rules.

    Args:
        describe: what the architecture says of a name; None where it says nothing.
        drafting: numbers of the layers that predict further tokens.
        where: the checkpoint, for messages.

    Raises:
        AdammsError: a tensor of a checkpoint that cannot be merged, or two names that the rules make one.
    """
    known: dict[str, Label] = {}
    renamed: dict[str, str] = {}
    for name in names:
        label = describe(name)
        layer = _LAYER.search(name)
        if (label is None or label.parts) and layer is not None and int(layer[1]) in drafting:
            label = Label(None, reason=DRAFTING)
        for other in _other_names(name) if label is None else ():
            if label := describe(other):
                renamed[name] = other
                break
        if label := label or leftover(name, where):
            known[name] = label
    _check_names(known, renamed, where)
    return Labels(known, {old: new for old, new in renamed.items() if new != BACKBONE + old})


def leftover(name: str, where: str) -> Label | None:
    """What the rules say of a tensor that the architecture does not describe under any name.

    Raises:
        AdammsError: it is of a checkpoint that cannot be merged.
    """
    for problem, rule in REFUSED.items():
        if rule.fullmatch(name):
            raise AdammsError(f"{where}: holds {name!r}: {problem}")
    return next((label for plain in _without_prefixes(name) if (label := by_rule(plain))), None)


def by_rule(name: str) -> Label | None:
    """What the rules say of a name without prefixes."""
    reason = next((reason for reason, rule in _LEFTOVERS.items() if rule.fullmatch(name)), None)
    return None if reason is None else Label(None, reason=reason)


def _other_names(name: str) -> Iterator[str]:
    """The names that `name` may stand for, the nearest first; those of a model with a head last."""
    plain = list(_without_prefixes(name))
    yield from plain
    yield from (BACKBONE + each for each in plain)


def _without_prefixes(name: str) -> Iterator[str]:
    """`name` without wrappers, and with one prefix of training after the other taken from it."""
    plain = ".".join(word for word in name.split(".") if word not in WRAPPERS)
    yield plain
    while prefix := next((prefix for prefix in PREFIXES if plain.startswith(prefix)), None):
        plain = plain.removeprefix(prefix)
        yield plain


def _check_names(known: Mapping[str, Label], renamed: Mapping[str, str], where: str) -> None:
    owners: dict[str, str] = {name: name for name in known if name not in renamed}
    for old, new in renamed.items():
        if new in owners:
            raise AdammsError(
                f"{where}: {owners[new]!r} and {old!r} are both {new!r} without the prefixes of training; "
                f"remove one of them from the files"
            )
        owners[new] = old
