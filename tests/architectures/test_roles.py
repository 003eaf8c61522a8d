"""The words in which architectures are described."""

import pytest

from adamms.architectures.roles import LAYER_ROLES, MODEL_ROLES, ROLE_GROUPS, Role, parse_role
from adamms.errors import AdammsError


def test_roles_parse_and_print_as_themselves() -> None:
    for text, role in [
        ("embed.weight", Role("embed", "weight")),
        ("head.bias", Role("head", "bias")),
        ("final_norm.weight", Role("final_norm", "weight")),
        ("layers.0.attn.q.weight", Role("attn.q", "weight", 0)),
        ("layers.31.mlp.down.bias", Role("mlp.down", "bias", 31)),
        ("layers.7.norm.attn.weight@text", Role("norm.attn", "weight", 7, "text")),
        ("layers.2.norm.q.weight", Role("norm.q", "weight", 2)),
        ("layers.2.norm.mlp_out.weight", Role("norm.mlp_out", "weight", 2)),
        ("layers.7.attn.k.weight@image", Role("attn.k", "weight", 7, "image")),
    ]:
        assert parse_role(text) == role
        assert str(role) == text


def test_anything_else_is_not_a_role() -> None:
    for text in [
        *("", "embed", "weight", "embed.weights", "layers.attn.q.weight", "layers.x.attn.q.weight"),
        *("layers.1.attn.q", "layers.1.attn.q.weight@video", "layers.1.embed.weight", "attn.q.weight"),
        *("layers.1.attn.q.weight@text@image", " embed.weight", "layers.-1.attn.q.weight"),
    ]:
        with pytest.raises(AdammsError, match="is not a canonical role"):
            parse_role(text)


def test_a_misspelt_role_names_the_nearest() -> None:
    with pytest.raises(AdammsError, match=r"Nearest: layers\.0\.mlp\.gate\.weight"):
        parse_role("layers.0.mlp.gates.weight")


def test_groups_hold_what_their_names_say() -> None:
    assert ROLE_GROUPS["norm"] == (
        *("norm.attn", "norm.mlp", "norm.attn_out", "norm.mlp_out", "norm.q", "norm.k"),
        "final_norm",
    )
    assert ROLE_GROUPS["attn"] == ("attn.q", "attn.k", "attn.v", "attn.o")  # q/k norms are norms
    assert set(ROLE_GROUPS["attn"] + ROLE_GROUPS["mlp"] + ROLE_GROUPS["norm"]) | {"embed", "head"} == {
        *LAYER_ROLES,
        *MODEL_ROLES,
    }
