"""Fused tensors taken apart and put together, against PyTorch's own reshaping."""

import pytest
import torch
from headers import cat, model, read, rows, trees
from hypothesis import given
from hypothesis import strategies as st
from mappers import spec_mapper

from adamms.architectures.label import Fused
from adamms.architectures.roles import parse_role
from adamms.errors import AdammsError
from adamms.mapping.evaluation import evaluate_rows
from adamms.mapping.expression import Read
from adamms.mapping.layout import Layout
from adamms.mapping.specs.fusion import layout_of, settings

PARTS = tuple(parse_role(f"layers.0.attn.{p}.weight") for p in "qkv")
HEADS = {"num_attention_heads": 8, "num_key_value_heads": 2}
SIZES = ("num_attention_heads", "num_key_value_heads", "num_key_value_heads")


@given(
    groups=st.integers(1, 4),
    shared=st.integers(1, 3),
    head=st.integers(1, 3),
    dim=st.integers(0, 1),
    seed=st.integers(0, 99),
)
def test_split_and_fuse_follow_the_published_grouping(
    groups: int, shared: int, head: int, dim: int, seed: int
) -> None:
    """InternLM2: [groups, queries that share a key + key + value, head] along the fused dimension."""
    generator = torch.Generator().manual_seed(seed)
    size = groups * (shared + 2) * head
    whole = torch.randn((size, 5), generator=generator)
    grouped = whole.reshape(groups, shared + 2, head, 5)
    parts = (grouped[:, :-2], grouped[:, -2], grouped[:, -1])
    expected = {name: part.reshape(-1, 5) for name, part in zip("qkv", parts, strict=True)}
    if dim:
        whole, expected = whole.T, {name: part.T for name, part in expected.items()}
    layout = Layout(PARTS, dim, tuple(part.shape[dim] for part in expected.values()), groups)

    def shape(name: str) -> tuple[int, ...]:
        return tuple(whole.shape if name == "w" else expected[name].shape)

    own = torch.zeros(1)
    for expression, part in zip(layout.split(Read("w"), shape), expected.values(), strict=True):
        assert torch.equal(evaluate_rows(expression, {"w": whole}, 0, part.shape[0], own), part)
    fused = layout.fuse([Read(name) for name in expected], shape)
    assert torch.equal(evaluate_rows(fused, expected, 0, whole.shape[0], own), whole)
    again = layout.fuse(layout.split(Read("w"), shape), shape)
    assert again == Read("w")  # a tensor of the same layout is read as it is


@pytest.mark.parametrize("where", [{}, {"text_config": 1}, {"llm_config": 1}, {"language_config": 1}])
def test_numbers_come_from_the_config_nested_or_not(where: dict[str, int]) -> None:
    config = {next(iter(where)): HEADS} if where else HEADS
    fused = Fused(PARTS, 0, SIZES, "num_key_value_heads")
    assert layout_of(fused, (48, 3), config) == Layout(PARTS, 0, (32, 8, 8), 2)


def test_without_sizes_the_parts_are_equal_and_in_one_piece() -> None:
    assert layout_of(Fused(PARTS, 1), (2, 9), {}) == Layout(PARTS, 1, (3, 3, 3), 1)


def test_a_layout_that_cannot_be_says_why() -> None:
    for fused, shape, config, message in [
        (
            Fused(PARTS, 0),
            (8, 3),
            {},
            r"has shape \(8, 3\); expected dimension 0 to divide into 3 equal parts",
        ),
        (Fused(PARTS, 1), (9,), {}, r"has shape \(9,\); expected dimension 1 to divide"),
        (Fused(PARTS, 0, SIZES), (46, 3), HEADS, r"divide into 3 parts as 8:2:2"),
        (Fused(PARTS, 0, SIZES, 5), (48, 3), HEADS, r"divide into 3 parts as 8:2:2 in 5 groups"),
        (Fused(PARTS, 0, SIZES), (48, 3), {}, r"needs num_attention_heads for its layout, and config.json"),
        (Fused(PARTS, 0, SIZES), (48, 3), HEADS | {"num_key_value_heads": None}, "needs num_key_value_heads"),
        (Fused(PARTS, 0, (1, 1, 1), "vocab_size"), (48, 3), HEADS, r"needs vocab_size"),
    ]:
        with pytest.raises(AdammsError, match=message):
            layout_of(fused, shape, config)


def test_a_nested_setting_comes_before_one_at_the_top() -> None:
    assert settings({"n": 1, "text_config": {"n": 2}, "llm_config": {"m": 3}}, "n") == [2, 1]
    assert settings({"n": None, "text_config": "a path"}, "n") == []


# ---------------------------------------------------------------- in a plan

HIDDEN = 16  # 8 heads of 2, 2 of keys
LAYER = "model.layers.0."


def llama() -> dict[str, tuple[int, ...]]:
    shapes = {"model.embed_tokens.weight": (7, HIDDEN), "lm_head.weight": (7, HIDDEN)}
    shapes["model.norm.weight"] = (HIDDEN,)
    attention = {"q": HIDDEN, "k": 4, "v": 4, "o": HIDDEN}
    shapes |= {f"{LAYER}self_attn.{p}_proj.weight": (size, HIDDEN) for p, size in attention.items()}
    shapes |= {f"{LAYER}mlp.{p}_proj.weight": (20, HIDDEN) for p in ("gate", "up")}
    shapes[f"{LAYER}mlp.down_proj.weight"] = (HIDDEN, 20)
    return shapes | {f"{LAYER}{p}_layernorm.weight": (HIDDEN,) for p in ("input", "post_attention")}


def phi3() -> dict[str, tuple[int, ...]]:
    fused = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")
    shapes = {name: shape for name, shape in llama().items() if not any(part in name for part in fused)}
    shapes[f"{LAYER}self_attn.qkv_proj.weight"] = (24, HIDDEN)
    shapes[f"{LAYER}mlp.gate_up_proj.weight"] = (40, HIDDEN)
    return shapes


def internlm2() -> dict[str, tuple[int, ...]]:
    return {
        "model.tok_embeddings.weight": (7, HIDDEN),
        "output.weight": (7, HIDDEN),
        "model.norm.weight": (HIDDEN,),
        f"{LAYER}attention.wqkv.weight": (24, HIDDEN),
        f"{LAYER}attention.wo.weight": (HIDDEN, HIDDEN),
        **{f"{LAYER}feed_forward.w{n}.weight": (20, HIDDEN) for n in (1, 3)},
        f"{LAYER}feed_forward.w2.weight": (HIDDEN, 20),
        **{f"{LAYER}{p}_norm.weight": (HIDDEN,) for p in ("attention", "ffn")},
    }


WQKV = read(f"{LAYER}attention.wqkv.weight")
QKV = read(f"{LAYER}self_attn.qkv_proj.weight")
PLAIN = {p: read(f"{LAYER}self_attn.{p}_proj.weight") for p in "qkv"}


def test_a_plain_target_takes_slices_of_each_group() -> None:
    plan = spec_mapper().plan(model(llama()), {"a": model(internlm2(), "internlm2", config=HEADS)})
    found = trees(plan)
    assert found[f"{LAYER}self_attn.q_proj.weight"] == cat(rows(WQKV, 0, 8), rows(WQKV, 12, 20))
    assert found[f"{LAYER}self_attn.k_proj.weight"] == cat(rows(WQKV, 8, 10), rows(WQKV, 20, 22))
    assert found[f"{LAYER}self_attn.v_proj.weight"] == cat(rows(WQKV, 10, 12), rows(WQKV, 22, 24))
    assert len(found) == len(llama())


def test_a_grouped_target_takes_each_group_from_a_plain_donor() -> None:
    plan = spec_mapper().plan(model(internlm2(), "internlm2", config=HEADS), {"a": model(llama())})
    q, k, v = PLAIN.values()
    assert trees(plan)[f"{LAYER}attention.wqkv.weight"] == cat(
        *(rows(q, 0, 8), rows(k, 0, 2), rows(v, 0, 2)), *(rows(q, 8, 16), rows(k, 2, 4), rows(v, 2, 4))
    )


def test_a_grouped_target_takes_from_a_donor_fused_in_another_way_and_back() -> None:
    grouped, fused = model(internlm2(), "internlm2", config=HEADS), model(phi3(), "phi3", config=HEADS)
    found = trees(spec_mapper().plan(grouped, {"a": fused}))
    gate_up = read(f"{LAYER}mlp.gate_up_proj.weight")
    assert found[f"{LAYER}attention.wqkv.weight"] == cat(
        *(rows(QKV, 0, 8), rows(QKV, 16, 18), rows(QKV, 20, 22)),
        *(rows(QKV, 8, 16), rows(QKV, 18, 20), rows(QKV, 22, 24)),
    )
    assert found[f"{LAYER}feed_forward.w1.weight"] == rows(gate_up, 0, 20)
    assert found[f"{LAYER}feed_forward.w3.weight"] == rows(gate_up, 20, 40)
    back = trees(spec_mapper().plan(fused, {"a": grouped}))
    assert back[f"{LAYER}self_attn.qkv_proj.weight"] == cat(
        *(rows(WQKV, 0, 8), rows(WQKV, 12, 20)),
        *(rows(WQKV, 8, 10), rows(WQKV, 20, 22), rows(WQKV, 10, 12), rows(WQKV, 22, 24)),
    )


def test_the_same_layout_is_read_as_it_is() -> None:
    for shapes, name in ((internlm2(), "internlm2"), (phi3(), "phi3")):
        plan = spec_mapper().plan(model(shapes, name, config=HEADS), {"a": model(shapes, name, config=HEADS)})
        assert trees(plan) == {tensor: read(tensor) for tensor in shapes}


def test_parts_of_other_sizes_are_an_error_though_their_sum_is_right() -> None:
    """6 query heads and 3 of keys have as many rows in all as 8 and 2."""
    other = {"num_attention_heads": 6, "num_key_value_heads": 3}
    target, donor = model(phi3(), "phi3", config=HEADS), model(phi3(), "phi3", config=other)
    with pytest.raises(
        AdammsError,
        match=r"qkv_proj\.weight \(layers\.0\.attn\.q\.weight\): the target has \[16, 16\], donor 'a' gives "
        r"\[12, 16\] from .*mapper\.exclude=\[attn\.q\]",
    ):
        spec_mapper().plan(target, {"a": donor})


def test_a_checkpoint_without_the_numbers_says_which_tensor_needs_them() -> None:
    with pytest.raises(AdammsError, match=r"qkv_proj\.weight needs num_attention_heads for its layout"):
        model(phi3(), "phi3")


def test_a_fused_tensor_is_kept_when_the_donor_lacks_a_part() -> None:
    donor = {name: shape for name, shape in llama().items() if "k_proj" not in name}
    plan = spec_mapper().plan(model(phi3(), "phi3", config=HEADS), {"a": model(donor)})
    (slot,) = [slot for slot in plan.slots if "qkv_proj" in slot.name]
    assert slot.reason == "a has no attn.k.weight"
