"""The language of specs, the specs that come with adamms, and recognition."""

from pathlib import Path

import pytest

from adamms.architectures.label import Fused, Label, Stacked
from adamms.architectures.roles import parse_role
from adamms.architectures.spec import Architecture, known_architectures, load_architecture
from adamms.errors import AdammsError

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
HEAD_COUNTS = ("num_attention_heads", "num_key_value_heads", "num_key_value_heads")


def spec(folder: Path, text: str) -> Architecture:
    file = folder / "mine.yaml"
    file.write_text(text)
    return load_architecture(str(file))


def role(text: str) -> Label:
    return Label(parse_role(text))


# ---------------------------------------------------------------- the language


def test_a_spec_of_every_construct(tmp_path: Path) -> None:
    mine = spec(
        tmp_path,
        """
about: a test
classes: [MineForCausalLM, MineTwo]
model_types: [mine]
inference: Use yours.
language_model:
  (model.)?emb.weight: embed.weight
  (model|lm).layers.{i}.{p}_of_q: layers.{i}.attn.q.{p}
  model.layers.{i}.*.copy.weight: layers.{i}.mlp.up.weight@image
  model.layers.{i}.kv:
    concat: ["layers.{i}.attn.k.weight@text", "layers.{i}.attn.v.weight@text"]
    dim: 1
  out.weight: {role: head.weight, rows: 5}
other:
  tower: vision.**
  one segment: single.*
""",
    )
    assert (mine.name, mine.about) == ("mine", "a test")
    assert (mine.classes, mine.model_types) == (("MineForCausalLM", "MineTwo"), ("mine",))
    assert mine.inference == {"transformers": "Use yours.", "vllm": "Use yours."}
    assert mine.label("emb.weight") == mine.label("model.emb.weight") == role("embed.weight")
    assert mine.label("model.layers.12.bias_of_q") == role("layers.12.attn.q.bias")
    assert mine.label("lm.layers.0.weight_of_q") == role("layers.0.attn.q.weight")
    assert mine.label("model.layers.3.a.copy.weight") == role("layers.3.mlp.up.weight@image")
    assert mine.label("model.layers.4.kv") == Label(
        Fused((parse_role("layers.4.attn.k.weight@text"), parse_role("layers.4.attn.v.weight@text")), 1)
    )
    assert mine.label("out.weight") == Label(parse_role("head.weight"), rows=5)
    assert mine.label("vision.deep.er.weight") == Label(None, "tower")
    assert mine.label("single.x") == Label(None, "one segment")


def test_names_that_a_pattern_does_not_mean(tmp_path: Path) -> None:
    for i, name in enumerate(
        [
            *(
                "modelXemb.weight",
                "emb.weight.more",
                "prefix.emb.weight",
                "emb.bias",
            ),
            *("model.layers.x.weight_of_q", "model.layers.1.scale_of_q", "xx.layers.1.bias_of_q"),
            *("model.layers.1.a.b.copy.weight", "single.x.y", "vision.", "vision"),
        ]
    ):
        folder = tmp_path / str(i)
        folder.mkdir()
        mine = spec(
            folder,
            """
    language_model:
      (model.)?emb.weight: embed.weight
      (model|lm).layers.{i}.{p}_of_q: layers.{i}.attn.q.{p}
      model.layers.{i}.*.copy.weight: layers.{i}.mlp.up.weight
    other: {tower: vision.**, one: single.*}
    """,
        )
        assert mine.label(name) is None


def test_a_fusion_says_how_its_parts_lie(tmp_path: Path) -> None:
    mine = spec(
        tmp_path,
        """
language_model:
  l.{i}.qkv.{p}:
    concat: ["layers.{i}.attn.q.{p}", "layers.{i}.attn.k.{p}", "layers.{i}.attn.v.{p}"]
    dim: 0
    sizes: [num_attention_heads, 2, 2]
    groups: num_key_value_heads
""",
    )
    parts = tuple(parse_role(f"layers.1.attn.{p}.bias") for p in "qkv")
    fused = Fused(parts, 0, ("num_attention_heads", 2, 2), "num_key_value_heads")
    assert mine.label("l.1.qkv.bias") == Label(fused)


def test_what_an_included_spec_includes_comes_along_under_both_prefixes(tmp_path: Path) -> None:
    mine = spec(tmp_path, 'include: {gemma3_text: {"model.": text., "": top.}}')
    assert mine.label("text.layers.0.post_attention_layernorm.weight") == role(
        "layers.0.norm.attn_out.weight"
    )  # Gemma's own
    assert mine.label("text.layers.0.self_attn.q_norm.weight") == role("layers.0.norm.q.weight")  # Qwen3's
    assert mine.label("text.layers.0.self_attn.q_proj.weight") == role("layers.0.attn.q.weight")  # Llama's
    assert mine.label("top.lm_head.weight") == role("head.weight")
    for name in ("model.layers.0.self_attn.q_proj.weight", "model.norm.weight", "lm_head.weight"):
        assert mine.label(name) is None


def test_included_lines_come_under_other_prefixes_and_after_the_own_ones(tmp_path: Path) -> None:
    mine = spec(
        tmp_path,
        """
language_model:
  text.layers.{i}.mlp.up_proj.{p}: layers.{i}.mlp.gate.{p}
include:
  llama:
    model.: (text|lm.text).
    lm_head.: head.
""",
    )
    assert mine.label("text.embed_tokens.weight") == role("embed.weight")
    assert mine.label("lm.text.layers.2.self_attn.q_proj.bias") == role("layers.2.attn.q.bias")
    assert mine.label("head.weight") == role("head.weight")
    assert mine.label("text.layers.1.mlp.up_proj.weight") == role("layers.1.mlp.gate.weight")
    assert mine.label("lm.text.layers.1.mlp.up_proj.weight") == role("layers.1.mlp.up.weight")
    assert mine.label("model.embed_tokens.weight") is None


BAD = {
    "unknown key": ("clases: [A]", r"mine\.yaml: unknown key 'clases'; expected .* Nearest: classes\."),
    "not a mapping": ("[1, 2]", r"mine\.yaml: a spec is a mapping with the keys"),
    "not YAML": ("a: [", r"mine\.yaml: not valid YAML"),
    "role of two words": ("language_model: {a: {fused: [x]}}", r"language_model: a: concat is missing"),
    "concat without dim": (
        "language_model: {a: {concat: [embed.weight, head.weight]}}",
        r"a: dim is missing",
    ),
    "misspelt role": (
        "language_model: {'l.{i}': 'layers.{i}.attn.qq.weight'}",
        r"mine\.yaml: 'layers\.0\.attn\.qq\.weight' is not a canonical role\. Nearest: layers\.0\.attn\.q",
    ),
    "misspelt role in a fusion": (
        "language_model: {a: {concat: [embed.weight, head.wieght], dim: 0}}",
        r"'head\.wieght' is not a canonical role\. Nearest: head\.weight",
    ),
    "advice that is no text": ("inference: [vllm]", r"mine\.yaml: inference is \['vllm'\]: Input should be"),
    "advice for no engine": (
        "inference: {sglang: No.}",
        r"inference: sglang .* should be 'transformers' or 'vllm'",
    ),
    "fusion of one": (
        "language_model: {a: {concat: [embed.weight], dim: 0}}",
        r"a: concat is \['embed\.weight'\]: Tuple should have at least 2 items",
    ),
    "fusion along nothing": (
        "language_model: {a: {concat: [embed.weight, head.weight], dim: rows}}",
        r"a: dim is 'rows': Input should be a valid integer",
    ),
    "sizes of too few parts": (
        "language_model: {a: {concat: [embed.weight, head.weight], dim: 0, sizes: [1]}}",
        r"a: sizes is \[1\]; expected one for each of 2 parts",
    ),
    "size of nothing": (
        "language_model: {a: {concat: [embed.weight, head.weight], dim: 0, sizes: [1, 0]}}",
        r"a: sizes: 1 is 0: Input should be greater than 0",
    ),
    "rows that are none": (
        "language_model: {a: {role: head.weight, rows: 0}}",
        r"a: rows is 0: Input should be greater than 0",
    ),
    "misspelt key of leading rows": (
        "language_model: {a: {role: head.weight, row: 5}}",
        r"a: rows is missing",
    ),
    "group of nothing": (
        "language_model: {a: {concat: [embed.weight, head.weight], dim: 0, groups: [2]}}",
        r"a: groups is \[2\]: Input should be a valid integer",
    ),
    "misspelt key of a fusion": (
        "language_model: {a: {concat: [embed.weight, head.weight], dim: 0, group: 2}}",
        r"unknown key 'language_model: a: group'; expected concat, dim, sizes, groups\. Nearest: groups",
    ),
    "stack of nothing": ("language_model: {a: {transposed: true}}", r"a: stack is missing"),
    "stack of another kind": (
        "language_model: {a: {stack: 'layers.{i}.mlp.gate.weight'}}",
        r"a: stack has layers\.0\.mlp\.gate\.weight; expected roles of experts without a number, such as ",
    ),
    "stack of one expert": (
        "language_model: {a: {stack: 'layers.{i}.moe.expert.{e}.gate.weight'}}",
        r"a: stack has layers\.0\.moe\.expert\.0\.gate\.weight; expected roles of experts without a",
    ),
    "stack of misspelt roles": (
        "language_model: {a: {stack: 'layers.{i}.moe.expert.gates.weight'}}",
        r"'layers\.0\.moe\.expert\.gates\.weight' is not a canonical role\. Nearest: layers\.0\.moe\.",
    ),
    "stack of a bad fusion": (
        "language_model: {a: {stack: {concat: [embed.weight, head.weight]}}}",
        r"a: stack: dim is missing",
    ),
    "stack turned into what": (
        "language_model: {a: {stack: 'layers.{i}.moe.expert.gate.weight', transposed: 3}}",
        r"a: transposed is 3: Input should be a valid boolean",
    ),
    "misspelt key of a stack": (
        "language_model: {a: {stack: 'layers.{i}.moe.expert.gate.weight', transpose: true}}",
        r"unknown key 'language_model: a: transpose'; expected stack, transposed\. Nearest: transposed",
    ),
    "unbalanced pattern": ("other: {tower: 'vision.('}", r"mine\.yaml: vision\.\(: not a pattern"),
    "includes an unknown spec": (
        "include: {lama: {}}",
        r"include is 'lama'; expected one of: .* Nearest: llama",
    ),
}


def test_a_stack_holds_the_roles_of_all_experts(tmp_path: Path) -> None:
    mine = spec(
        tmp_path,
        """
        language_model:
          l.{i}.{e}.up: layers.{i}.moe.expert.{e}.up.weight
          l.{i}.down: {stack: "layers.{i}.moe.expert.down.weight", transposed: true}
          l.{i}.both:
            stack:
              concat: ["layers.{i}.moe.expert.gate.weight", "layers.{i}.moe.expert.up.weight"]
              dim: 0
        """,
    )
    gate, up, down = (parse_role(f"layers.3.moe.expert.{p}.weight") for p in ("gate", "up", "down"))
    assert mine.label("l.3.12.up") == role("layers.3.moe.expert.12.up.weight")
    assert mine.label("l.3.down") == Label(Stacked(down, transposed=True))
    assert mine.label("l.3.both") == Label(Stacked(Fused((gate, up), 0)))
    both = mine.label("l.3.both")
    assert both is not None
    assert both.parts == (gate, up)
    assert both.counted(1) == mine.label("l.1.both")


def test_a_bad_spec_is_refused_with_the_reason(tmp_path: Path) -> None:
    for i, case in enumerate(BAD):
        folder = tmp_path / str(i)
        folder.mkdir()
        text, message = BAD[case]
        with pytest.raises(AdammsError, match=message):
            spec(folder, text)


def test_an_unknown_spec_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(AdammsError, match=r"unknown architecture 'qwen3x'; known: .* Nearest: qwen3"):
        load_architecture("qwen3x")
    with pytest.raises(AdammsError, match="unknown architecture"):
        load_architecture(str(tmp_path / "absent.yaml"))


# ---------------------------------------------------------------- the specs


def test_every_spec_loads_and_says_what_it_is_for() -> None:
    for name in known_architectures():
        architecture = load_architecture(name)
        assert architecture.about
        assert architecture.classes or not architecture.model_types
        assert architecture.lines


def test_no_class_or_type_means_two_formats() -> None:
    architectures = [load_architecture(name) for name in known_architectures()]
    for words in ([a.classes for a in architectures], [a.model_types for a in architectures]):
        flat = [word for some in words for word in some]
        assert len(flat) == len(set(flat))


def test_what_the_names_of_todays_families_mean() -> None:
    for architecture, name, expected in [
        ("qwen3", "model.layers.1.self_attn.q_norm.weight", "layers.1.norm.q.weight"),
        ("gemma3_text", "model.layers.1.pre_feedforward_layernorm.weight", "layers.1.norm.mlp.weight"),
        ("gemma3_text", "model.layers.1.post_feedforward_layernorm.weight", "layers.1.norm.mlp_out.weight"),
        ("llama", "model.layers.1.post_attention_layernorm.weight", "layers.1.norm.mlp.weight"),
        ("internlm2", "model.layers.1.feed_forward.w3.weight", "layers.1.mlp.up.weight"),
        ("internvl", "language_model.model.layers.1.feed_forward.w2.weight", "layers.1.mlp.down.weight"),
        ("internvl", "language_model.output.weight", "head.weight"),
        ("internvl", "language_model.lm_head.weight", "head.weight"),
        ("internvl", "language_model.model.layers.1.self_attn.k_norm.weight", "layers.1.norm.k.weight"),
        ("internvl", "language_model.model.layers.1.self_attn.q_proj.bias", "layers.1.attn.q.bias"),
        ("minicpm_v", "llm.lm_head.weight", "head.weight"),
        ("phi3_v", "model.vision_embed_tokens.wte.weight", "embed.weight"),
    ]:
        assert load_architecture(architecture).label(name) == role(expected)


@pytest.mark.parametrize(
    ("architecture", "name", "parts", "sizes", "groups"),
    [
        ("phi3", "model.layers.1.mlp.gate_up_proj.weight", "mlp.gate mlp.up", (), 1),
        ("phi3_v", "model.layers.1.self_attn.qkv_proj.weight", "attn.q attn.k attn.v", HEAD_COUNTS, 1),
        (
            "internvl",
            "language_model.model.layers.1.attention.wqkv.weight",
            *("attn.q attn.k attn.v", HEAD_COUNTS, "num_key_value_heads"),
        ),
    ],
)
def test_what_fused_names_mean(
    architecture: str, name: str, parts: str, sizes: tuple[str, ...], groups: int | str
) -> None:
    roles = tuple(parse_role(f"layers.1.{part}.weight") for part in parts.split())
    assert load_architecture(architecture).label(name) == Label(Fused(roles, 0, sizes, groups))


VLLM_ALONE = (
    *("internvl", "minicpm_v", "phi3_v", "keye_vl", "ovis", "llava_onevision_2", "molmo2"),
    *("openvla", "kimi_vl", "deepseek_vl2"),
)


def test_formats_that_an_engine_lacks_say_what_to_do() -> None:
    advised = {name: load_architecture(name).inference for name in known_architectures()}
    for engine in ("transformers", "vllm"):
        assert "llava-hf/llava-onevision-qwen2-7b-ov-hf" in advised["llava_onevision"][engine]
        for name in ("cambrian", "llava_onevision_1_5"):
            assert "engine=replay" in advised[name][engine]
    for name in VLLM_ALONE:
        assert "engine=vllm engine.trust_remote_code=true" in advised[name].pop("transformers")
    for name in advised.keys() - {"llava_onevision", "cambrian", "llava_onevision_1_5"}:
        assert not advised[name], name
