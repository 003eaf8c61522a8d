"""The canonical roles of a decoder LM's tensors: the words in which architectures are described.

A role is `embed`, `head`, `final_norm`, or `layers.{i}.` and one of attn.{q,k,v,o}, mlp.{gate,up,down},
norm.{attn,mlp,attn_out,mlp_out,q,k}; then `.weight` or `.bias`; then, for a weight that a model has twice,
its variant `@text` or `@image`.
"""

import re
from dataclasses import dataclass, replace

from adamms.errors import AdammsError, nearest

# norm.attn and norm.mlp stand before attention and MLP, norm.{attn,mlp}_out after them (Gemma), norm.q and
# norm.k on each head's queries and keys (Qwen3, Gemma 3).
NORMS = ("norm.attn", "norm.mlp", "norm.attn_out", "norm.mlp_out", "norm.q", "norm.k")
ATTENTION = ("attn.q", "attn.k", "attn.v", "attn.o")
MLP = ("mlp.gate", "mlp.up", "mlp.down")
LAYER_ROLES = (*ATTENTION, *MLP, *NORMS)
MODEL_ROLES = ("embed", "head", "final_norm")
VARIANTS = ("text", "image")

# What a role filter may name: a role, or a group of roles. `norm` is every norm, as in the
# authors' --noLN.
ROLE_GROUPS: dict[str, tuple[str, ...]] = {
    **{role: (role,) for role in MODEL_ROLES + LAYER_ROLES},
    "attn": ATTENTION,
    "mlp": MLP,
    "norm": (*NORMS, "final_norm"),
}

_PATTERN = re.compile(
    rf"(?:layers\.(?P<layer>\d+)\.(?P<layer_role>{'|'.join(map(re.escape, LAYER_ROLES))})"
    rf"|(?P<model_role>{'|'.join(MODEL_ROLES)}))"
    rf"\.(?P<part>weight|bias)(?:@(?P<variant>{'|'.join(VARIANTS)}))?"
)


@dataclass(frozen=True)
class Role:
    """What one tensor, or one part of a fused tensor, is in the decoder LM.

    >>> parse_role("layers.3.attn.q.weight@text")
    Role(kind='attn.q', part='weight', layer=3, variant='text')

    Args:
        kind: e.g. "attn.q" or "embed".
        part: "weight" or "bias".
        layer: index of the decoder layer; None outside the layers.
        variant: "text" or "image" for a duplicated weight; None for a shared one.
    """

    kind: str
    part: str
    layer: int | None = None
    variant: str | None = None

    def with_variant(self, variant: str | None) -> "Role":
        return replace(self, variant=variant)

    def __str__(self) -> str:
        layer = "" if self.layer is None else f"layers.{self.layer}."
        variant = "" if self.variant is None else f"@{self.variant}"
        return f"{layer}{self.kind}.{self.part}{variant}"


def parse_role(text: str) -> Role:
    """The Role that `text` such as 'layers.3.attn.q.weight@text' names; AdammsError if none."""
    match = _PATTERN.fullmatch(text)
    if match is None:
        known = [f"layers.0.{role}.weight" for role in LAYER_ROLES] + [f"{r}.weight" for r in MODEL_ROLES]
        raise AdammsError(f"{text!r} is not a canonical role.{nearest(text, known)}")
    return Role(
        kind=match["layer_role"] or match["model_role"],
        part=match["part"],
        layer=int(match["layer"]) if match["layer"] else None,
        variant=match["variant"],
    )
