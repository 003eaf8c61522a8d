"""The words in which architectures are described."""

import pytest

from adamms.architectures.roles import (
    LAYER_ROLES,
    MODEL_ROLES,
    ROLE_GROUPS,
    Role,
    check_named,
    is_named,
    open_role,
    parse_role,
)
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
        ("layers.2.attn.kv_a.weight", Role("attn.kv_a", "weight", 2)),
        ("layers.2.norm.q_a.weight", Role("norm.q_a", "weight", 2)),
        ("layers.3.moe.router.weight", Role("moe.router", "weight", 3)),
        ("layers.3.moe.shared.up.weight", Role("moe.shared.up", "weight", 3)),
        ("layers.3.moe.expert.17.gate.bias", Role("moe.expert.gate", "bias", 3, expert=17)),
        ("layers.3.moe.expert.down.weight", Role("moe.expert.down", "weight", 3)),
        ("layers.3.linear_attn.A_log", Role("linear_attn.A_log", "", 3)),
        ("layers.3.linear_attn.in_proj_qkv.weight", Role("linear_attn.in_proj_qkv", "weight", 3)),
        ("layers.3.router.per_expert_scale@text", Role("router.per_expert_scale", "", 3, "text")),
        ("embed_tokens_per_layer.weight", Role("embed_tokens_per_layer", "weight")),
    ]:
        assert parse_role(text) == role
        assert str(role) == text


def test_anything_else_is_not_a_role() -> None:
    for text in [
        *("", "embed", "weight", "embed.weights", "layers.attn.q.weight", "layers.x.attn.q.weight"),
        *("layers.1.attn.q", "layers.1.attn.q.weight@video", "layers.1.embed.weight", "attn.q.weight"),
        *("layers.1.attn.q.weight@text@image", " embed.weight", "layers.-1.attn.q.weight", "a..b", "a b"),
        *("layers.1.moe.expert.x.gate.weight", "layers.1.moe.expert.3.weight", "layers.1.attn.q_c.weight"),
        *("layers.1.moe.router.scale", "layers.1.mlp.expert.3.gate.weight", "layers.1.norm.q_b.weight"),
    ]:
        with pytest.raises(AdammsError, match="is not a canonical role"):
            parse_role(text)


def test_a_misspelt_role_names_the_nearest() -> None:
    with pytest.raises(AdammsError, match=r"Nearest: layers\.0\.mlp\.gate\.weight"):
        parse_role("layers.0.mlp.gates.weight")
    with pytest.raises(AdammsError, match=r"Nearest: layers\.0\.moe\.expert\.gate\.weight"):
        parse_role("layers.0.moe.experts.gate.weight")


def test_a_decoders_own_name_is_an_open_role_whatever_it_begins_with() -> None:
    assert open_role("layers.3.attn.q.weight@text") == parse_role("layers.3.attn.q.weight@text")
    role = open_role("layers.3.mlp.router_scale")
    assert role == Role("mlp.router_scale", "", 3)
    assert str(role) == "layers.3.mlp.router_scale"
    for text in ("", "language model", "a."):
        with pytest.raises(AdammsError, match="is not a canonical role"):
            open_role(text)


def test_a_filter_names_a_role_a_group_or_leading_words() -> None:
    for name, named in {
        "attn": ["attn.q", "attn.kv_b"],
        "attn.q": ["attn.q"],
        "mlp": ["mlp.up", "moe.router", "moe.expert.gate", "moe.shared.up", "mlp.router_scale"],
        "moe": ["moe.router", "moe.expert.gate", "moe.shared.up"],
        "moe.expert": ["moe.expert.gate"],
        "linear_attn": ["linear_attn.A_log", "linear_attn.in_proj.qkv", "linear_attn.norm"],
        "linear_attn.in_proj": ["linear_attn.in_proj.qkv"],
        "norm": ["norm.q_a", "final_norm", "linear_attn.norm", "pre_ff_layernorm", "norm"],  # as Mamba has
    }.items():
        kinds = {"attn.q", "attn.kv_b", "mlp.up", "moe.router", "moe.expert.gate", "moe.shared.up", "embed"}
        kinds |= {
            "mlp.router_scale",
            "linear_attn.A_log",
            "linear_attn.in_proj.qkv",
            "norm.q_a",
            "final_norm",
            "linear_attn.norm",
            "pre_ff_layernorm",
            "norm",
        }
        assert {kind for kind in kinds if is_named(kind, [name])} == set(named), name
        check_named("mapper.exclude", [name], kinds)


def test_a_filter_that_names_nothing_is_an_error_with_what_there_is() -> None:
    kinds = ["attn.q", "norm.attn", "linear_attn.A_log"]
    message = (
        r"mapper\.exclude is 'linear_atn'; expected one of: attn\.q, norm\.attn, attn, norm, linear_attn, "
        r"linear_attn\.A_log\. Nearest: linear_attn"
    )
    with pytest.raises(AdammsError, match=message):
        check_named("mapper.exclude", ["norm", "linear_atn"], kinds)


def test_groups_hold_what_their_names_say() -> None:
    assert ROLE_GROUPS["norm"] == (
        *("norm.attn", "norm.mlp", "norm.attn_out", "norm.mlp_out", "norm.q", "norm.k"),
        *("norm.q_a", "norm.kv_a", "final_norm"),
    )
    assert ROLE_GROUPS["attn"][:4] == ("attn.q", "attn.k", "attn.v", "attn.o")  # q/k norms are norms
    assert set(ROLE_GROUPS["attn"] + ROLE_GROUPS["mlp"] + ROLE_GROUPS["norm"]) | {"embed", "head"} == {
        *LAYER_ROLES,
        *MODEL_ROLES,
    }
