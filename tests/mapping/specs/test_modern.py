"""Full-size headers of the families beyond the paper's: what corresponds to what between relatives.

The expectations are written out here from the formats' published definitions; none comes from the resolver.
"""

from collections import Counter
from collections.abc import Iterable

import headers
import pytest
from headers import Tree, cat, kept, published, read, rows, trees
from mappers import spec_mapper

from adamms.mapping.specs.model import Model

NORMS = ("input_layernorm.weight", "post_attention_layernorm.weight")
LLAMA = (
    *(f"self_attn.{p}_proj.weight" for p in "qkvo"),
    *(f"mlp.{p}_proj.weight" for p in ("gate", "up", "down")),
    *NORMS,
)
QWEN2 = (*LLAMA, *(f"self_attn.{p}_proj.bias" for p in "qkv"))
QWEN3 = (*LLAMA, *(f"self_attn.{p}_norm.weight" for p in "qk"))
GEMMA3 = (*QWEN3, *(f"{p}_feedforward_layernorm.weight" for p in ("pre", "post")))
INTERNLM2 = (
    *("attention.wqkv.weight", "attention.wo.weight", "attention_norm.weight", "ffn_norm.weight"),
    *(f"feed_forward.w{n}.weight" for n in (1, 2, 3)),
)
PHI3 = (
    *("self_attn.qkv_proj.weight", "self_attn.o_proj.weight", *NORMS),
    *("mlp.gate_up_proj.weight", "mlp.down_proj.weight"),
)
OUTER = ("model.embed_tokens.weight", "lm_head.weight")


@pytest.fixture(scope="module")
def load() -> dict[str, Model]:
    return {file.stem: published(file.stem) for file in headers.FIXTURES.glob("*.json")}


def layered(names: Iterable[str], layers: int) -> list[str]:
    """The tensors of `layers` layers and the final norm, in a causal language model's own names."""
    names = tuple(names)
    found = [f"model.layers.{i}.{name}" for i in range(layers) for name in names]
    return [*found, "model.norm.weight"]


def under(prefix: str, names: Iterable[str], model: str = "model.") -> dict[str, str]:
    """A causal language model's name -> the name in a format that puts it below `prefix`."""
    return {
        name: prefix + (model + name.removeprefix("model.") if name.startswith("model.") else name)
        for name in names
    }


PLAIN = ("", "model.")
WRAPPED = ("language_model.", "model.")  # language_model.model.layers, language_model.lm_head
MINICPM = ("llm.", "model.")
QWEN3_VL = ("", "model.language_model.")
IDEFICS3 = ("", "model.text_model.")

# target, donor, how each puts the language model, its layers and their tensors, whether the rows of
# embeddings and head agree without tokenizers
RELATIVES = [
    ("qwen2_5_vl_7b_instruct", "qwen2_5_7b", PLAIN, PLAIN, 28, QWEN2, True),
    ("qwen2_5_vl_7b_instruct", "internvl3_8b", PLAIN, WRAPPED, 28, QWEN2, False),
    ("internvl3_8b", "qwen2_5_vl_7b_instruct", WRAPPED, PLAIN, 28, QWEN2, False),
    ("internvl3_8b_hf", "internvl3_8b", WRAPPED, WRAPPED, 28, QWEN2, True),
    ("minicpm_v_2_6", "qwen2_vl_7b_instruct", MINICPM, PLAIN, 28, QWEN2, False),
    ("qwen2_vl_7b_instruct", "minicpm_v_2_6", PLAIN, MINICPM, 28, QWEN2, False),
    ("qwen3_vl_8b_instruct", "qwen3_8b", QWEN3_VL, PLAIN, 36, QWEN3, True),
    ("qwen3_vl_8b_instruct", "internvl3_5_8b", QWEN3_VL, WRAPPED, 36, QWEN3, True),
    ("internvl3_5_8b", "qwen3_vl_8b_instruct", WRAPPED, QWEN3_VL, 36, QWEN3, True),
    ("llava_v1_6_mistral_7b_hf", "mistral_7b_instruct_v0_2", WRAPPED, PLAIN, 32, LLAMA, False),
    ("llava_v1_6_vicuna_7b_hf", "llava_v1_5_7b", WRAPPED, PLAIN, 32, LLAMA, False),
    ("llama3_llava_next_8b_hf", "idefics3_8b_llama3", WRAPPED, IDEFICS3, 32, LLAMA, False),
    ("idefics3_8b_llama3", "llama_3_8b_instruct", IDEFICS3, PLAIN, 32, LLAMA, False),
    ("smolvlm_instruct", "smollm2_1_7b_instruct", IDEFICS3, PLAIN, 24, LLAMA, False),
    ("internvl2_5_8b", "internvl2_5_8b", WRAPPED, WRAPPED, 32, INTERNLM2, True),
    ("internvl2_5_8b", "internlm2_5_7b_chat", WRAPPED, PLAIN, 32, INTERNLM2, False),
    ("phi_3_vision_128k_instruct", "phi_3_mini_128k_instruct", PLAIN, PLAIN, 32, PHI3, True),
    ("gemma_3_4b_it", "gemma_3_4b_it", WRAPPED, WRAPPED, 34, GEMMA3, True),
]


def test_relatives_correspond_by_name(load: dict[str, Model]) -> None:
    for target, donor, own, theirs, layers, names, rows_agree in RELATIVES:
        plan = spec_mapper().plan(load[target], {"a": load[donor]})
        assert [slot.name for slot in plan.slots] == sorted(load[target].checkpoint.tensors)
        outer = ("model.tok_embeddings.weight", "output.weight") if names is INTERNLM2 else OUTER
        outer = outer[:1] if names is GEMMA3 else outer  # the head is tied
        language = layered(names, layers)
        mine, his = (
            under(own[0], (*language, *outer), own[1]),
            under(theirs[0], (*language, *outer), theirs[1]),
        )
        merged = (*language, *outer) if rows_agree else language
        assert trees(plan) == {mine[name]: read(his[name]) for name in merged}
        reasons = kept(plan)
        if not rows_agree:
            for name in outer:
                assert "and not both have a tokenizer to align them" in reasons.pop(mine[name])
        assert set(reasons.values()) <= {"vision encoder", "projector", "resampler"}
        unread = {name for names in plan.unused["a"].values() for name in names}
        stored = set(load[donor].checkpoint.tensors)
        assert unread | {his[name] for name in merged} | ({his[name] for name in outer} & stored) == stored


# ---------------------------------------------------------------- other layouts

GROUP = 768  # rows of wqkv per key head: four query heads, a key and a value, of 128


def of_groups(wqkv: Tree, start: int, stop: int) -> Tree:
    return cat(*(rows(wqkv, g * GROUP + start, g * GROUP + stop) for g in range(8)))


def test_a_llama_takes_slices_of_internlm2s_groups(load: dict[str, Model]) -> None:
    found = trees(spec_mapper().plan(load["llama_3_8b_instruct"], {"a": load["internvl2_5_8b"]}))
    for i in range(32):
        layer, donor = f"model.layers.{i}.", f"language_model.model.layers.{i}."
        wqkv = read(f"{donor}attention.wqkv.weight")
        assert found[f"{layer}self_attn.q_proj.weight"] == of_groups(wqkv, 0, 512)
        assert found[f"{layer}self_attn.k_proj.weight"] == of_groups(wqkv, 512, 640)
        assert found[f"{layer}self_attn.v_proj.weight"] == of_groups(wqkv, 640, 768)
        assert found[f"{layer}self_attn.o_proj.weight"] == read(f"{donor}attention.wo.weight")
        for own, theirs in (("gate", 1), ("up", 3), ("down", 2)):
            assert found[f"{layer}mlp.{own}_proj.weight"] == read(f"{donor}feed_forward.w{theirs}.weight")
        for own, theirs in zip(NORMS, ("attention_norm.weight", "ffn_norm.weight"), strict=True):
            assert found[layer + own] == read(donor + theirs)
    assert len(found) == 32 * 9 + 1  # and the final norm


def test_internlm2s_groups_take_from_a_llama(load: dict[str, Model]) -> None:
    plan = spec_mapper().plan(load["internvl2_5_8b"], {"a": load["llama3_llava_next_8b_hf"]})
    found = trees(plan)
    for i in range(32):
        layer = f"language_model.model.layers.{i}."
        q, k, v = (read(f"{layer}self_attn.{p}_proj.weight") for p in "qkv")
        pieces = [
            rows(part, g * size, (g + 1) * size)
            for g in range(8)
            for part, size in ((q, 512), (k, 128), (v, 128))
        ]
        assert found[f"{layer}attention.wqkv.weight"] == cat(*pieces)
    assert len(found) == 32 * 7 + 1
    left = Counter({reason: len(names) for reason, names in plan.unused["a"].items()})
    assert set(left) == {"vision encoder", "projector", "no tensor of the target takes it"}
    assert left["no tensor of the target takes it"] == 2  # embeddings and head


def test_llama_3_2_vision_takes_a_llama_between_its_own_layers(load: dict[str, Model]) -> None:
    cross = (3, 8, 13, 18, 23, 28, 33, 38)
    own = [i for i in range(40) if i not in cross]
    for donor, prefix in (
        ("llama_3_8b_instruct", "model."),
        ("idefics3_8b_llama3", "model.text_model."),
        ("llama3_llava_next_8b_hf", "language_model.model."),
    ):
        plan = spec_mapper().plan(load["llama_3_2_11b_vision_instruct"], {"a": load[donor]})
        expected = {
            f"language_model.model.layers.{mine}.{name}": read(f"{prefix}layers.{theirs}.{name}")
            for theirs, mine in enumerate(own)
            for name in LLAMA
        }
        expected["language_model.model.norm.weight"] = read(f"{prefix}norm.weight")
        if donor == "llama_3_8b_instruct":  # 128256 rows of the head in both
            expected["language_model.lm_head.weight"] = read("lm_head.weight")
        assert trees(plan) == expected
        reasons = Counter(kept(plan).values())
        assert reasons["cross-attention layer"] == 8 * 13
        assert reasons.total() == 906 - len(expected)


def test_a_llama_takes_from_llama_3_2_vision(load: dict[str, Model]) -> None:
    plan = spec_mapper().plan(load["llama_3_8b_instruct"], {"a": load["llama_3_2_11b_vision_instruct"]})
    found = trees(plan)
    assert len(found) == 32 * 9 + 2
    up = {i: found[f"model.layers.{i}.mlp.up_proj.weight"]["read"].split(".")[3] for i in (2, 3, 6, 7, 31)}
    assert up == {2: "2", 3: "4", 6: "7", 7: "9", 31: "39"}


def test_without_norms_all_of_a_familys_norms_are_kept(load: dict[str, Model]) -> None:
    for target, donor in [("qwen3_vl_8b_instruct", "qwen3_8b"), ("gemma_3_4b_it", "gemma_3_4b_it")]:
        plan = spec_mapper(exclude=("norm",)).plan(load[target], {"a": load[donor]})
        reasons = kept(plan)
        norms = [name for name in reasons if "language_model" in name]
        per_layer = {"qwen3_vl_8b_instruct": 4 * 36, "gemma_3_4b_it": 6 * 34}[target]
        assert len(norms) == per_layer + 1
        assert {reasons[name] for name in norms} == {"mapper.exclude=norm"}
        assert all("norm" in name for name in norms)
