"""Full-size published checkpoints against the correspondences of the paper's and the authors' scripts.

The expectations are written out here from those correspondences (L.i = model.layers.i), pair by pair;
none is computed by the resolver. Several donors at once are compared with each alone.
"""

import re
from collections import Counter

import headers
import pytest
from headers import Tree, cat, kept, mean, published, read, rows, trees
from mappers import spec_mapper

from adamms.mapping.checks.configs import compare_configs
from adamms.mapping.checks.left_out import left_out
from adamms.mapping.specs.model import Model
from adamms.mapping.specs.resolve import SpecMapper

QWEN_LAYERS, LLAMA_LAYERS = 28, 32
NORMS = ("input_layernorm.weight", "post_attention_layernorm.weight")
PROJECTIONS = ("gate", "up", "down")
OUTER = ("lm_head.weight", "model.embed_tokens.weight", "model.norm.weight")


@pytest.fixture(scope="module")
def load() -> dict[str, Model]:
    return {file.stem: published(file.stem) for file in headers.FIXTURES.glob("*.json")}


def qwen_layer(prefix: str) -> list[str]:
    """The 12 tensors of a Qwen2 layer."""
    attention = [f"self_attn.{p}_proj.{part}" for p in "qkv" for part in ("weight", "bias")]
    other = ["self_attn.o_proj.weight", *NORMS, *(f"mlp.{p}_proj.weight" for p in PROJECTIONS)]
    return [prefix + name for name in attention + other]


def llama_layer(prefix: str) -> list[str]:
    """The 9 tensors of a Llama layer."""
    attention = [f"self_attn.{p}_proj.weight" for p in "qkvo"]
    return [prefix + name for name in (*attention, *NORMS, *(f"mlp.{p}_proj.weight" for p in PROJECTIONS))]


def qwen_text() -> list[str]:
    layers = [name for i in range(QWEN_LAYERS) for name in qwen_layer(f"model.layers.{i}.")]
    return [*layers, "model.norm.weight", "model.embed_tokens.weight", "lm_head.weight"]


def llama_text() -> list[str]:
    return [*OUTER, *(name for i in range(LLAMA_LAYERS) for name in llama_layer(f"model.layers.{i}."))]


def check(
    target: Model,
    donor: Model,
    expected: dict[str, Tree],
    unused: dict[str, int],
    mapper: SpecMapper | None = None,
) -> dict[str, str]:
    """Assert that the plan is `expected`, every tensor accounted for; return what is kept, with reasons."""
    plan = (mapper or spec_mapper()).plan(target, {"a": donor})
    assert trees(plan) == expected
    names = [slot.name for slot in plan.slots]
    assert names == sorted(target.checkpoint.tensors)  # each in exactly one slot
    for slot in plan.slots:
        entry = target.checkpoint.tensors[slot.name]
        assert (slot.shape, slot.dtype) == (entry.shape, entry.dtype)
    reasons = kept(plan)
    assert len(reasons) + len(expected) == len(names)
    assert all(reasons.values())
    assert {reason: len(left) for reason, left in plan.unused["a"].items()} == unused
    totals = plan.coverage()
    assert sum(row.tensors for row in totals) == len(names)
    assert sum(row.bytes for row in totals) == sum(e.nbytes for e in target.checkpoint.tensors.values())
    assert totals[0].action == "merge"
    assert totals[0].tensors == len(expected)
    return reasons


# The table of formats: tensors, elements with and without inv_freq, bytes.
SIZES = {
    "qwen2_vl_7b_instruct": (730, 8_291_375_616, 16_582_751_232),
    "llava_onevision_qwen2_7b_ov": (765, 8_030_348_832, 16_060_697_664),
    "llava_onevision_qwen2_7b_ov_hf": (765, 8_030_807_584, 16_061_615_168),
    "llava_v1_5_7b": (327, 6_759_395_328, 13_518_798_848),
    "sharegpt4v_7b": (327, 6_759_395_328, 13_518_798_848),
    "cogvlm_chat_hf": (1187, 17_639_685_376, 35_279_374_848),
    "mplug_owl2_llama2_7b": (882, 8_197_859_328, 16_395_726_848),
    "vicuna_7b_v1_5": (323, 6_738_415_616, 13_476_839_424),
    "llama_2_7b_hf": (323, 6_738_415_616, 13_476_839_424),
    "qwen2_7b_instruct": (339, 7_615_616_512, 15_231_233_024),
}


def test_the_fixtures_have_the_published_sizes(load: dict[str, Model]) -> None:
    for name in SIZES:
        entries = load[name].checkpoint.tensors
        tensors, elements, nbytes = SIZES[name]
        assert len(entries) == tensors
        assert sum(e.elements for e in entries.values() if not e.name.endswith("inv_freq")) == elements
        assert sum(e.nbytes for e in entries.values()) == nbytes


# ---------------------------------------------------------------- Qwen2-VL and LLaVA-OneVision


def test_onevision_original_into_qwen2_vl(load: dict[str, Model]) -> None:
    expected = {name: read(name) for name in qwen_text()}
    assert len(expected) == 339
    reasons = check(
        load["qwen2_vl_7b_instruct"],
        load["llava_onevision_qwen2_7b_ov"],
        expected,
        {"vision encoder": 421, "projector": 5},
    )
    assert Counter(reasons.values()) == {"vision encoder": 391}
    assert all(name.startswith("visual.") for name in reasons)


def hf_name(name: str) -> str:
    return "language_model." + name


def test_onevision_hf_into_qwen2_vl_by_rows(load: dict[str, Model]) -> None:
    expected = {name: read(hf_name(name)) for name in qwen_text()}
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        expected[name] = rows(read(hf_name(name)), 0, 152064)
    reasons = check(
        load["qwen2_vl_7b_instruct"],
        load["llava_onevision_qwen2_7b_ov_hf"],
        expected,
        {"vision encoder": 421, "projector": 5},
        spec_mapper(embeddings="rows", embedding_rows=152064),
    )
    assert Counter(reasons.values()) == {"vision encoder": 391}


def test_onevision_hf_into_qwen2_vl_without_tokenizers_keeps_the_embeddings(load: dict[str, Model]) -> None:
    outer = ("model.embed_tokens.weight", "lm_head.weight")
    expected = {name: read(hf_name(name)) for name in qwen_text() if name not in outer}
    assert len(expected) == 337
    reasons = check(
        load["qwen2_vl_7b_instruct"],
        load["llava_onevision_qwen2_7b_ov_hf"],
        expected,
        {"vision encoder": 421, "projector": 5, "no tensor of the target takes it": 2},
    )
    assert all(reasons[name].startswith("152064 rows, a has 152128") for name in outer)


def test_qwen2_vl_into_onevision_original(load: dict[str, Model]) -> None:
    reasons = check(
        load["llava_onevision_qwen2_7b_ov"],
        load["qwen2_vl_7b_instruct"],
        {name: read(name) for name in qwen_text()},
        {"vision encoder": 391},
    )
    assert Counter(reasons.values()) == {"vision encoder": 421, "projector": 5}


def test_qwen2_vl_into_onevision_hf_by_rows(load: dict[str, Model]) -> None:
    target, donor = load["llava_onevision_qwen2_7b_ov_hf"], load["qwen2_vl_7b_instruct"]
    expected = {hf_name(name): read(name) for name in qwen_text()}
    outer = ("model.embed_tokens.weight", "lm_head.weight")
    for name in outer:  # 64 rows more in the target
        expected[hf_name(name)] = {"tokens": read(name), "rows": "0:152064 -64"}
    mapper = spec_mapper(embeddings="rows", embedding_rows=152064)
    reasons = check(target, donor, expected, {"vision encoder": 391}, mapper)
    assert Counter(reasons.values()) == {"vision encoder": 421, "projector": 5}
    plan = mapper.plan(target, {"a": donor})
    for name in outer:
        assert headers.slot(plan, hf_name(name)).to_json()["rows_from_donor"] == {"a": 152064}


def test_qwen2_vl_with_its_ancestor(load: dict[str, Model]) -> None:
    target = load["qwen2_vl_7b_instruct"]
    plan = spec_mapper().plan(target, {"a": load["llava_onevision_qwen2_7b_ov"]}, load["qwen2_7b_instruct"])
    ancestors = {r["name"]: r["ancestor"] for r in plan.to_json()["tensors"] if r["action"] == "merge"}
    assert ancestors == {name: read(name) for name in qwen_text()}


# ---------------------------------------------------------------- CogVLM as target

ROTARY = "rotary frequencies (a constant)"
COGVLM_KEPT = {ROTARY: 32, "vision encoder": 768}


def cogvlm_from_llama_names(norm: str, k: str, v: str) -> dict[str, Tree]:
    """Both experts take the donor's tensors; `{n}` is the donor's copy for text (0) or image (1)."""
    expected = {name: read(name) for name in OUTER}
    for i in range(LLAMA_LAYERS):
        layer = f"model.layers.{i}."
        for name in NORMS:
            expected[layer + name] = read(layer + name.replace(".weight", norm))
        for n, expert in enumerate(("language", "vision")):
            for p in PROJECTIONS:
                expected[f"{layer}mlp.{expert}_mlp.{p}_proj.weight"] = read(f"{layer}mlp.{p}_proj.weight")
            expected[f"{layer}self_attn.{expert}_expert_query_key_value.weight"] = cat(
                read(f"{layer}self_attn.q_proj.weight"),
                read(layer + "self_attn.k_proj" + k.format(n=n)),
                read(layer + "self_attn.v_proj" + v.format(n=n)),
            )
            expected[f"{layer}self_attn.{expert}_expert_dense.weight"] = read(
                f"{layer}self_attn.o_proj.weight"
            )
    assert len(expected) == 387
    return expected


def test_llava_and_sharegpt4v_into_cogvlm(load: dict[str, Model]) -> None:
    for donor in ["llava_v1_5_7b", "sharegpt4v_7b"]:
        expected = cogvlm_from_llama_names(norm=".weight", k=".weight", v=".weight")
        reasons = check(load["cogvlm_chat_hf"], load[donor], expected, {ROTARY: 32, "projector": 4})
        assert Counter(reasons.values()) == COGVLM_KEPT


def test_mplug_owl2_into_cogvlm(load: dict[str, Model]) -> None:
    expected = cogvlm_from_llama_names(
        norm=".multiway.0.weight", k=".multiway.{n}.weight", v=".multiway.{n}.weight"
    )
    donor = load["mplug_owl2_llama2_7b"]
    left = Counter(label.reason for label in donor.labels.values() if label.reason)
    left["no tensor of the target takes it"] = 64  # layernorms' multiway.1: "not used" in the script too
    reasons = check(load["cogvlm_chat_hf"], donor, expected, dict(left))
    assert Counter(reasons.values()) == COGVLM_KEPT


def test_without_duplicates_cogvlms_vision_experts_are_kept(load: dict[str, Model]) -> None:
    """Appendix B: weights that are additional in the target merge with nothing."""
    plan = spec_mapper(duplicates="matching_only").plan(load["cogvlm_chat_hf"], {"a": load["llava_v1_5_7b"]})
    reasons = kept(plan)
    experts = [n for n in reasons if "vision_mlp" in n or "vision_expert" in n]
    assert len(experts) == 5 * LLAMA_LAYERS
    assert all("matching_only" in reasons[name] for name in experts)
    assert len(trees(plan)) == 387 - len(experts)


# ---------------------------------------------------------------- mPLUG-Owl2 and LLaVA as targets


def from_experts(name: str, start: int | None, prefer: str) -> Tree:
    """One tensor of the target from two of CogVLM's experts, `name` having `{e}` in their place."""

    def expert(e: str) -> Tree:
        whole = read(name.format(e=e))
        return whole if start is None else rows(whole, start, start + 4096)

    both = {"text": expert("language"), "image": expert("vision")}
    return mean(both["text"], both["image"]) if prefer == "mean" else both[prefer]


def shared_from_experts(layer: str, prefer: str) -> dict[str, Tree]:
    """q, o and mlp, which both mPLUG-Owl2 and LLaVA have once."""
    qkv = layer + "self_attn.{e}_expert_query_key_value.weight"
    found = {
        f"{layer}self_attn.q_proj.weight": from_experts(qkv, 0, prefer),
        f"{layer}self_attn.o_proj.weight": from_experts(
            layer + "self_attn.{e}_expert_dense.weight", None, prefer
        ),
    }
    for p in PROJECTIONS:
        found[f"{layer}mlp.{p}_proj.weight"] = from_experts(
            layer + "mlp.{e}_mlp." + f"{p}_proj.weight", None, prefer
        )
    return found


@pytest.mark.parametrize("prefer", ["text", "image", "mean"])
def test_cogvlm_into_mplug_owl2(prefer: str, load: dict[str, Model]) -> None:
    expected = {name: read(name) for name in OUTER}
    for i in range(LLAMA_LAYERS):
        layer = f"model.layers.{i}."
        expected |= shared_from_experts(layer, prefer)
        for n, e in enumerate(("language", "vision")):
            qkv = read(f"{layer}self_attn.{e}_expert_query_key_value.weight")
            expected[f"{layer}self_attn.k_proj.multiway.{n}.weight"] = rows(qkv, 4096, 8192)
            expected[f"{layer}self_attn.v_proj.multiway.{n}.weight"] = rows(qkv, 8192, 12288)
            for name in NORMS:
                copy = name.replace(".weight", f".multiway.{n}.weight")
                expected[layer + copy] = read(layer + name)
    assert len(expected) == 419
    unused = {ROTARY: 32, "vision encoder": 768}
    if prefer != "mean":  # the other expert's o and mlp; of its fused q, k, v the last two are read
        unused["no tensor of the target takes it"] = 4 * LLAMA_LAYERS
    check(load["mplug_owl2_llama2_7b"], load["cogvlm_chat_hf"], expected, unused, spec_mapper(prefer=prefer))


@pytest.mark.parametrize("prefer", ["text", "image", "mean"])
def test_cogvlm_into_llava(prefer: str, load: dict[str, Model]) -> None:
    expected = {name: read(name) for name in OUTER}
    for i in range(LLAMA_LAYERS):
        layer = f"model.layers.{i}."
        expected |= shared_from_experts(layer, prefer)
        expected |= {layer + name: read(layer + name) for name in NORMS}
        qkv = layer + "self_attn.{e}_expert_query_key_value.weight"
        expected[f"{layer}self_attn.k_proj.weight"] = from_experts(qkv, 4096, prefer)
        expected[f"{layer}self_attn.v_proj.weight"] = from_experts(qkv, 8192, prefer)
    unused = {ROTARY: 32, "vision encoder": 768}
    if prefer != "mean":
        unused["no tensor of the target takes it"] = 5 * LLAMA_LAYERS
    reasons = check(
        load["llava_v1_5_7b"], load["cogvlm_chat_hf"], expected, unused, spec_mapper(prefer=prefer)
    )
    assert Counter(reasons.values()) == {ROTARY: 32, "projector": 4}


def test_llava_into_mplug_owl2_with_its_ancestor(load: dict[str, Model]) -> None:
    expected = {name: read(name) for name in OUTER}
    for i in range(LLAMA_LAYERS):
        layer = f"model.layers.{i}."
        for name in ("q_proj", "o_proj"):
            expected[f"{layer}self_attn.{name}.weight"] = read(f"{layer}self_attn.{name}.weight")
        for p in PROJECTIONS:
            expected[f"{layer}mlp.{p}_proj.weight"] = read(f"{layer}mlp.{p}_proj.weight")
        for n in (0, 1):
            for name in (
                "self_attn.k_proj",
                "self_attn.v_proj",
                "input_layernorm",
                "post_attention_layernorm",
            ):
                expected[f"{layer}{name}.multiway.{n}.weight"] = read(f"{layer}{name}.weight")
    assert len(expected) == 419
    target, donor = load["mplug_owl2_llama2_7b"], load["llava_v1_5_7b"]
    reasons = check(target, donor, expected, {ROTARY: 32, "projector": 4})
    assert len(reasons) == 463
    plan = spec_mapper().plan(target, {"a": donor}, load["llama_2_7b_hf"])
    ancestors = {r["name"]: r["ancestor"] for r in plan.to_json()["tensors"] if r["action"] == "merge"}
    assert ancestors == expected  # each multiway copy against the same ancestor tensor


@pytest.mark.parametrize(
    ("target", "donor"), [("llava_v1_5_7b", "sharegpt4v_7b"), ("sharegpt4v_7b", "llava_v1_5_7b")]
)
def test_sharegpt4v_and_llava_are_the_same_by_name(target: str, donor: str, load: dict[str, Model]) -> None:
    expected = {name: read(name) for name in llama_text()}
    assert len(expected) == 291
    reasons = check(load[target], load[donor], expected, {ROTARY: 32, "projector": 4})
    assert Counter(reasons.values()) == {ROTARY: 32, "projector": 4}


def test_two_donors_at_once(load: dict[str, Model]) -> None:
    donors = {"llava": load["llava_v1_5_7b"], "mplug": load["mplug_owl2_llama2_7b"]}
    plan = spec_mapper().plan(load["cogvlm_chat_hf"], donors)
    assert trees(plan, "llava") == cogvlm_from_llama_names(norm=".weight", k=".weight", v=".weight")
    assert trees(plan, "mplug") == cogvlm_from_llama_names(
        norm=".multiway.0.weight", k=".multiway.{n}.weight", v=".multiway.{n}.weight"
    )


# ---------------------------------------------------------------- several donors


@pytest.mark.parametrize(
    ("target", "donors"),
    [
        ("mplug_owl2_llama2_7b", ("cogvlm_chat_hf", "llava_v1_5_7b")),
        ("cogvlm_chat_hf", ("mplug_owl2_llama2_7b", "llava_v1_5_7b", "sharegpt4v_7b")),
        ("qwen2_vl_7b_instruct", ("llava_onevision_qwen2_7b_ov", "qwen2_7b_instruct")),
        ("qwen2_vl_7b_instruct", ("llava_onevision_qwen2_7b_ov_hf", "llava_onevision_qwen2_7b_ov")),
    ],
)
def test_several_donors_are_each_mapped_as_it_is_alone(target: str, donors: tuple[str, ...]) -> None:
    receiver, opened = published(target), {name: published(name) for name in donors}
    together = spec_mapper().plan(receiver, opened)
    alone = {name: spec_mapper().plan(receiver, {name: donor}) for name, donor in opened.items()}
    for position, slot in enumerate(together.slots):
        single = {name: plan.slots[position] for name, plan in alone.items()}
        assert slot.donors == {n: s.donors[n] for n, s in single.items() if s.merged}
        assert slot.merged == any(s.merged for s in single.values())
        if slot.merged:
            assert slot.lacking == {n: s.reason for n, s in single.items() if not s.merged}
    for name, plan in alone.items():
        assert together.unused[name] == plan.unused[name]
        merged = [slot for slot in plan.slots if slot.merged]
        (part,) = [part for part in together.parts() if part.donor == name]
        assert (part.tensors, part.parameters) == (len(merged), sum(slot.elements for slot in merged))


# ---------------------------------------------------------------- compared before anything is merged


def test_no_pair_of_conf_is_refused(load: dict[str, Model]) -> None:
    """Their config.json agree in what counts; no plan leaves out part of a language model."""
    compared = 0
    for file in sorted((headers.FIXTURES.parents[1] / "conf/model").glob("*.yaml")):
        given = dict(re.findall(r"/checkpoint@(?:donors\.)?(\w+): (\w+)", file.read_text()))
        models = {role: load[name] for role, name in given.items() if name in load}
        target = models.pop("target", None)
        for name, other in models.items():
            if target is not None:
                found = compare_configs(name, target.checkpoint, other.checkpoint)
                assert found.conflicts == (), file.stem
                plan = spec_mapper().plan(target, {name: other})
                assert left_out(plan, {name: other.checkpoint}) == [], file.stem
                compared += 1
    assert compared >= 40


def test_what_the_papers_models_differ_in_is_shown(load: dict[str, Model]) -> None:
    def shown(target: str, other: str) -> dict[str, tuple[str, str]]:
        found = compare_configs("a", load[target].checkpoint, load[other].checkpoint)
        return {one.what: (one.target, one.other) for one in found.differences}

    assert (
        shown("qwen2_vl_7b_instruct", "llava_onevision_qwen2_7b_ov") == {}
    )  # mrope is no difference of kind
    assert shown("qwen2_vl_7b_instruct", "qwen2_7b_instruct") == {}
    assert shown("mplug_owl2_llama2_7b", "llava_v1_5_7b") == {"norm epsilon": ("1e-06", "1e-05")}
    assert shown("cogvlm_chat_hf", "llava_v1_5_7b") == {}
    assert shown("llava_1_5_7b_hf", "vicuna_7b_v1_5") == {"vocab_size": ("32064", "32000")}
