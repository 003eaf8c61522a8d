"""The canonical roles of a decoder LM's tensors: the words in which architectures are described.

A known role is `embed`, `head`, `final_norm`, or `layers.{i}.` and one of LAYER_ROLES; then `.weight` or
`.bias`; then, for a weight that a model has twice, its variant `@text` or `@image`. An expert's number stands
within: `layers.3.moe.expert.17.gate.weight`; without it all experts of the layer are meant. Every other name
of a decoder's tensor is an open role: the name itself, as `layers.3.linear_attn.A_log`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from adamms.errors import AdammsError, nearest

# norm.attn and norm.mlp stand before attention and MLP, norm.{attn,mlp}_out after them (Gemma), norm.q and
# norm.k on each head's queries and keys (Qwen3, Gemma 3), norm.q_a and norm.kv_a on compressed ones (MLA).
NORMS = (
    *("norm.attn", "norm.mlp", "norm.attn_out", "norm.mlp_out"),
    *("norm.q", "norm.k", "norm.q_a", "norm.kv_a"),
)
# attn.q_a compresses queries and attn.q_b restores them, attn.kv_a and attn.kv_b keys and values (MLA).
ATTENTION = ("attn.q", "attn.k", "attn.v", "attn.o", "attn.q_a", "attn.q_b", "attn.kv_a", "attn.kv_b")
MLP = ("mlp.gate", "mlp.up", "mlp.down")
# moe.expert.gate_up: gate and up, whose rows alternate (gpt-oss).
EXPERTS = ("moe.expert.gate", "moe.expert.up", "moe.expert.down", "moe.expert.gate_up")
EXPERT_PARTS = tuple(role.rpartition(".")[2] for role in EXPERTS)
# The experts that every token goes to; moe.shared.router says how much of them it takes.
SHARED_EXPERTS = ("moe.shared.gate", "moe.shared.up", "moe.shared.down", "moe.shared.router")
MOE = ("moe.router", *EXPERTS, *SHARED_EXPERTS)
LAYER_ROLES = (*ATTENTION, *MLP, *MOE, *NORMS)
MODEL_ROLES = ("embed", "head", "final_norm")
# Those whose rows are tokens; the last is an open role of Gemma 3n and 4.
VOCABULARY_ROLES = ("embed", "head", "embed_tokens_per_layer")
VARIANTS = ("text", "image")

# What a role filter may name: a role, or a group of roles. `norm` is every norm, as in the
# authors' --noLN; `mlp` is the feed-forward part of a layer, also where it consists of experts.
ROLE_GROUPS: dict[str, tuple[str, ...]] = {
    **{role: (role,) for role in MODEL_ROLES + LAYER_ROLES},
    "attn": ATTENTION,
    "mlp": (*MLP, *MOE),
    "norm": (*NORMS, "final_norm"),
    "moe": MOE,
    "moe.expert": EXPERTS,
    "moe.shared": SHARED_EXPERTS,
}

# A role that begins with one of these words is a known one, so that a misspelt one is an error.
_RESERVED = {role.split(".")[0] for role in ROLE_GROUPS} | {"layers", "weight", "bias"}
_VARIANT = rf"(?:@(?P<variant>{'|'.join(VARIANTS)}))?"
_KNOWN = re.compile(
    rf"(?:layers\.(?P<layer>\d+)\.(?:(?P<layer_role>{'|'.join(map(re.escape, LAYER_ROLES))})"
    rf"|moe\.expert\.(?P<expert>\d+)\.(?P<projection>{'|'.join(EXPERT_PARTS)}))"
    rf"|(?P<model_role>{'|'.join(MODEL_ROLES)}))\.(?P<part>weight|bias){_VARIANT}"
)
_OPEN = re.compile(
    rf"(?:layers\.(?P<layer>\d+)\.)?(?P<kind>[\w-]+(?:\.[\w-]+)*?)(?:\.(?P<part>weight|bias))?{_VARIANT}"
)


@dataclass(frozen=True)
class Role:
    """What one tensor, or one part of a fused tensor, is in the decoder LM.

    >>> parse_role("layers.3.attn.q.weight@text")
    Role(kind='attn.q', part='weight', layer=3, variant='text', expert=None)
    >>> parse_role("layers.3.moe.expert.17.up.weight")
    Role(kind='moe.expert.up', part='weight', layer=3, variant=None, expert=17)
    >>> parse_role("layers.3.linear_attn.A_log")
    Role(kind='linear_attn.A_log', part='', layer=3, variant=None, expert=None)

    Args:
        kind: e.g. "attn.q" or "embed"; of an open role its name without layer and part.
        part: "weight" or "bias"; of an open role "" where its name ends in neither.
        layer: index of the decoder layer; None outside the layers.
        variant: "text" or "image" for a duplicated weight; None for a shared one.
        expert: index of the expert, of kinds "moe.expert.*"; None for all experts of the layer together.
    """

    kind: str
    part: str
    layer: int | None = None
    variant: str | None = None
    expert: int | None = None

    def with_variant(self, variant: str | None) -> "Role":
        return replace(self, variant=variant)

    def __str__(self) -> str:
        layer = "" if self.layer is None else f"layers.{self.layer}."
        kind = self.kind
        if self.expert is not None:
            group, _, projection = kind.rpartition(".")
            kind = f"{group}.{self.expert}.{projection}"
        part = f".{self.part}" if self.part else ""
        variant = "" if self.variant is None else f"@{self.variant}"
        return f"{layer}{kind}{part}{variant}"


def parse_role(text: str) -> Role:
    """The Role that `text` such as 'layers.3.attn.q.weight@text' names, a known or an open one.

    Raises:
        AdammsError: no role, or one that begins as known roles do and is none.
    """
    role = open_role(text)
    if role.kind.split(".")[0] in _RESERVED and _KNOWN.fullmatch(text) is None:
        raise _no_role(text)
    return role


def open_role(name: str) -> Role:
    """The known role that `name` is, else the open role of a tensor of this name within its decoder.

    >>> open_role("layers.3.mlp.router_scale")
    Role(kind='mlp.router_scale', part='', layer=3, variant=None, expert=None)

    Raises:
        AdammsError: what can be no name of a tensor.
    """
    match = _KNOWN.fullmatch(name)
    if match is not None:
        kind = match["layer_role"] or match["model_role"] or f"moe.expert.{match['projection']}"
    else:
        match = _OPEN.fullmatch(name)
        if match is None:
            raise _no_role(name)
        kind = match["kind"]
    numbers = match.groupdict()
    layer, expert = (None if numbers.get(key) is None else int(numbers[key]) for key in ("layer", "expert"))
    return Role(kind, match["part"] or "", layer, match["variant"], expert)


def roles_in(text: str) -> tuple[Role, ...]:
    """The roles that " + " joins in a text.

    >>> [str(role) for role in roles_in("layers.3.mlp.gate.weight + layers.3.mlp.up.weight")]
    ['layers.3.mlp.gate.weight', 'layers.3.mlp.up.weight']

    Raises:
        AdammsError: one of them is none.
    """
    return tuple(map(open_role, text.split(" + ")))


def _no_role(text: str) -> AdammsError:
    known = [f"layers.0.{role}.weight" for role in LAYER_ROLES] + [f"{r}.weight" for r in MODEL_ROLES]
    return AdammsError(f"{text!r} is not a canonical role.{nearest(text, known)}")


def is_named(kind: str, names: Iterable[str]) -> bool:
    """Whether one of `names` is this kind of role, its group, or its leading words; `norm` is every norm.

    >>> is_named("attn.q", ["attn"]), is_named("linear_attn.in_proj_qkv", ["norm", "linear_attn"])
    (True, True)
    >>> is_named("pre_ff_layernorm", ["norm"]), is_named("norm", ["norm"])
    (True, True)
    """
    open_norm = "norm" in kind.rpartition(".")[2]
    return any(
        kind in (name, *ROLE_GROUPS.get(name, ()))
        or kind.startswith(f"{name}.")
        or (name == "norm" and open_norm)
        for name in names
    )


def check_named(what: str, names: Iterable[str], kinds: Iterable[str]) -> None:
    """Raise AdammsError if one of `names` is none of the `kinds` that there are, nor a group of them."""
    kinds = list(dict.fromkeys(kinds))
    for name in names:
        if not any(is_named(kind, [name]) for kind in kinds):
            groups = [group for group in ROLE_GROUPS if any(is_named(kind, [group]) for kind in kinds)]
            choices = list(dict.fromkeys([*groups, *(kind.split(".")[0] for kind in kinds), *kinds]))
            raise AdammsError(
                f"{what} is {name!r}; expected one of: {', '.join(choices)}." + nearest(name, choices)
            )
