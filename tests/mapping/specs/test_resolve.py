"""The options of the mapping, every branch of the embeddings, and what is refused."""

from pathlib import Path
from typing import Any

import mappers
import pytest
import tiny
from headers import Shapes, cat, kept, mean, model, read, rows, slot, trees
from mappers import spec_mapper
from pydantic import TypeAdapter, ValidationError

from adamms.architectures.recognise import recognise
from adamms.checkpoint import tensor_values
from adamms.checkpoint.quantised import quantised
from adamms.checkpoint.reader import open_checkpoint
from adamms.errors import AdammsError
from adamms.mapping.expression import Read, Slice, Tokens
from adamms.mapping.specs.model import Model
from adamms.mapping.specs.resolve import SpecMapper, describe

EMBED, HEAD, NORM = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"


def shapes_of(state: tiny.State) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def llama(**options: Any) -> dict[str, tuple[int, ...]]:
    return shapes_of(tiny.llama_state(**options))


def layer_of(name: str) -> int | None:
    parts = name.split(".")
    return int(parts[2]) if parts[1:2] == ["layers"] else None


def opened(folder: Path) -> Model:
    checkpoint = open_checkpoint(folder)
    return describe(checkpoint, recognise(checkpoint.config, folder))


# ---------------------------------------------------------------- filters


def norm_names(layers: int) -> set[str]:
    found = {NORM}
    for i in range(layers):
        found |= {f"model.layers.{i}.{p}_layernorm.weight" for p in ("input", "post_attention")}
    return found


def test_excluding_norm_keeps_every_norm_the_final_one_too() -> None:
    plan = spec_mapper(exclude=("norm",)).plan(model(llama()), {"a": model(llama())})
    assert kept(plan) == dict.fromkeys(norm_names(2), "mapper.exclude=norm")
    assert len(trees(plan)) == len(llama()) - 5


@pytest.mark.parametrize(
    ("exclude", "marks"),
    [
        (("attn",), ("self_attn",)),
        (("attn.k", "mlp.up"), ("k_proj", "up_proj")),
        (("embed", "head"), ("embed_tokens", "lm_head")),
        (("final_norm",), (NORM,)),
        (("norm.mlp",), ("post_attention_layernorm",)),
    ],
)
def test_exclude_by_role_and_group(exclude: tuple[str, ...], marks: tuple[str, ...]) -> None:
    shapes = llama(bias=True)
    plan = spec_mapper(exclude=exclude).plan(model(shapes), {"a": model(shapes)})
    assert set(kept(plan)) == {name for name in shapes if any(mark in name for mark in marks)}


def test_excluding_a_part_of_a_fused_tensor_keeps_the_whole() -> None:
    target = model(shapes_of(tiny.cogvlm_state()), "cogvlm")
    plan = spec_mapper(exclude=("attn.k",)).plan(target, {"a": model(llama())})
    reasons = kept(plan)
    assert {n for n, reason in reasons.items() if reason == "mapper.exclude=attn.k"} == {
        f"model.layers.{i}.self_attn.{e}_expert_query_key_value.weight"
        for i in (0, 1)
        for e in ("language", "vision")
    }


def test_layers_are_the_only_ones_merged_both_ends_included() -> None:
    shapes = llama(layers=5)
    plan = spec_mapper(layers=(1, 3)).plan(model(shapes), {"a": model(shapes)})
    assert set(trees(plan)) == {name for name in shapes if layer_of(name) in (1, 2, 3)}
    assert set(kept(plan).values()) == {"mapper.layers=[1, 3]"}


def test_match_is_searched_in_the_targets_names() -> None:
    shapes = llama()
    plan = spec_mapper(match=r"mlp\.(up|down)").plan(model(shapes), {"a": model(shapes)})
    assert set(trees(plan)) == {n for n in shapes if "mlp.up" in n or "mlp.down" in n}


def test_what_the_target_does_not_have_cannot_be_excluded() -> None:
    for name in ("norms", "norm.q", "moe", "linear_attn"):
        with pytest.raises(
            AdammsError, match=rf"mapper\.exclude is '{name}'; expected one of: embed, head, "
        ):
            spec_mapper(exclude=("norm", name)).plan(model(llama()), {"a": model(llama())})


def test_a_bad_option_is_refused() -> None:
    for options, message in (
        ({"layers": (3, 1)}, r"mapper\.layers is \[3, 1\]; expected \[first, last\]"),
        ({"layers": (1,)}, r"mapper\.layers is \[1\]"),
        ({"match": "("}, r"mapper\.match is not a regular expression"),
        ({"embedding_rows": 3}, r"mapper\.embedding_rows needs mapper\.embeddings=rows"),
    ):
        with pytest.raises(AdammsError, match=message):
            spec_mapper(**options)
    schema = TypeAdapter(SpecMapper)
    schema.validate_python(mappers.OPTIONS["spec"])
    for key, value in {
        "duplicates": "orignal",
        "prefer": "vision",
        "embeddings": "token",
        "layers": (-1, 1),
        "embedding_rows": 0,
    }.items():
        with pytest.raises(ValidationError, match=key):
            schema.validate_python(mappers.OPTIONS["spec"] | {key: value})


# ---------------------------------------------------------------- duplicates, prefer, fusion


def test_the_donors_same_copy_is_taken_if_it_has_one() -> None:
    shapes = shapes_of(tiny.cogvlm_state())
    plan = spec_mapper().plan(model(shapes, "cogvlm"), {"a": model(shapes, "cogvlm")})
    merged = trees(plan)
    assert merged == {name: read(name) for name in merged}  # neighbouring slices have become one read
    assert set(kept(plan)) == {n for n in shapes if "vision.patch" in n or "inv_freq" in n}


@pytest.mark.parametrize("prefer", ["text", "image", "mean"])
def test_prefer_decides_where_only_the_donor_has_copies(prefer: str) -> None:
    donor = model(shapes_of(tiny.cogvlm_state()), "cogvlm")
    plan = spec_mapper(prefer=prefer).plan(model(llama()), {"a": donor})
    prefix = "model.layers.1.self_attn."
    both = [rows(read(f"{prefix}{e}_expert_query_key_value.weight"), 6, 12) for e in ("language", "vision")]
    expected = {"text": both[0], "image": both[1], "mean": mean(*both)}[prefer]
    assert trees(plan)[f"{prefix}k_proj.weight"] == expected


@pytest.mark.parametrize(("duplicates", "merged"), [("original", True), ("matching_only", False)])
def test_duplicates_decides_where_only_the_target_has_copies(duplicates: str, merged: bool) -> None:
    target = model(shapes_of(tiny.cogvlm_state()), "cogvlm")
    plan = spec_mapper(duplicates=duplicates).plan(target, {"a": model(llama())})
    name = "model.layers.0.self_attn.vision_expert_query_key_value.weight"
    text = name.replace("vision", "language")
    whole = cat(*(read(f"model.layers.0.self_attn.{p}_proj.weight") for p in "qkv"))
    assert trees(plan)[text] == whole
    assert (name in trees(plan)) == merged
    if merged:
        assert trees(plan)[name] == whole
    else:
        assert kept(plan)[name] == "mapper.duplicates=matching_only and a has no image copy of attn.q"


# ---------------------------------------------------------------- real checkpoints


@pytest.mark.parametrize("donor", ["onevision_fresh", "onevision_hub", "onevision_original"])
def test_every_spelling_of_onevision_maps_alike(donor: str, request: pytest.FixtureRequest) -> None:
    target = opened(request.getfixturevalue("qwen2_vl"))
    plan = spec_mapper().plan(target, {"a": opened(request.getfixturevalue(donor))})
    prefix = "" if donor == "onevision_original" else "language_model."
    text = [name for name in target.checkpoint.tensors if not name.startswith("visual.")]
    assert trees(plan) == {name: read(prefix + name) for name in text}
    assert len(text) == 3 + 2 * 12
    assert set(kept(plan).values()) == {"vision encoder"}
    assert set(plan.unused["a"]) == {"vision encoder", "projector"}


@pytest.mark.parametrize("target", ["onevision_fresh", "onevision_hub", "onevision_original"])
def test_and_the_other_way_round(target: str, request: pytest.FixtureRequest) -> None:
    plan = spec_mapper().plan(
        opened(request.getfixturevalue(target)), {"a": opened(request.getfixturevalue("qwen2_vl"))}
    )
    prefix = "" if target == "onevision_original" else "language_model."
    assert trees(plan) == {name: read(name.removeprefix(prefix)) for name in trees(plan)}
    assert len(trees(plan)) == 3 + 2 * 12


def test_biases_that_the_donor_lacks_are_kept(request: pytest.FixtureRequest) -> None:
    plan = spec_mapper().plan(
        opened(request.getfixturevalue("qwen2_vl")), {"a": opened(request.getfixturevalue("llama"))}
    )
    reasons = {name: reason for name, reason in kept(plan).items() if not name.startswith("visual.")}
    assert reasons == {
        f"model.layers.{i}.self_attn.{p}_proj.bias": f"a has no attn.{p}.bias" for i in (0, 1) for p in "qkv"
    }


def test_biases_that_only_the_donor_has_are_listed_as_unused() -> None:
    plan = spec_mapper().plan(model(llama()), {"a": model(llama(bias=True))})
    (left,) = plan.unused["a"].values()
    assert list(left) == sorted(name for name in llama(bias=True) if name.endswith(".bias"))


def test_planning_reads_headers_only(
    qwen2_vl: Path, onevision_hub: Path, qwen2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a value was mapped")

    monkeypatch.setattr(tensor_values, "map_tensor", never)
    monkeypatch.setattr(quantised, "map_tensor", never)
    monkeypatch.setattr(tensor_values.mmap, "mmap", never)
    plan = spec_mapper().plan(opened(qwen2_vl), {"a": opened(onevision_hub)}, opened(qwen2))
    assert plan.coverage()[0].tensors == 27
    with pytest.raises(AssertionError, match="a value was mapped"):
        open_checkpoint(qwen2).read(NORM)


# ---------------------------------------------------------------- layers, several donors, ancestor


def test_layers_that_the_donor_lacks_are_kept() -> None:
    target, donor = llama(layers=3), llama(layers=2)
    plan = spec_mapper().plan(model(target), {"a": model(donor)})
    assert kept(plan) == {name: "a has 2 layers" for name in target if layer_of(name) == 2}


def test_layers_that_the_target_lacks_are_listed_as_unused() -> None:
    plan = spec_mapper().plan(model(llama(layers=1)), {"a": model(llama(layers=2))})
    (left,) = plan.unused["a"].values()
    assert list(left) == sorted(name for name in llama(layers=2) if layer_of(name) == 1)


def test_a_donor_that_lacks_a_part_leaves_it_to_the_others() -> None:
    target = llama(layers=2, bias=True)
    plan = spec_mapper().plan(
        model(target),
        {"whole": model(target), "short": model(llama(layers=1, bias=True)), "plain": model(llama())},
    )
    assert not kept(plan)
    bias = slot(plan, "model.layers.0.self_attn.q_proj.bias")
    assert dict(bias.donors) == {"whole": Read(bias.name), "short": Read(bias.name)}
    assert bias.lacking == {"plain": "plain has no attn.q.bias"}
    deep = slot(plan, "model.layers.1.self_attn.q_proj.bias")
    assert dict(deep.donors) == {"whole": Read(deep.name)}
    assert deep.lacking == {"short": "short has 1 layers", "plain": "plain has no attn.q.bias"}
    assert deep.to_json()["lacking"] == deep.lacking
    assert slot(plan, NORM).lacking == {}


def test_reasons_of_all_donors_are_given_where_none_has_it() -> None:
    target = llama(layers=2)
    plan = spec_mapper().plan(model(target), {"a": model(llama(layers=1)), "b": model(llama(layers=1))})
    assert kept(plan)["model.layers.1.mlp.up_proj.weight"] == "a has 1 layers; b has 1 layers"


def test_the_ancestor_has_its_own_expression_or_none() -> None:
    target = llama(bias=True)
    plan = spec_mapper().plan(model(target), {"a": model(target)}, ancestor=model(llama()))
    assert slot(plan, NORM).ancestor == Read(NORM)
    assert slot(plan, "model.layers.0.self_attn.q_proj.bias").ancestor is None
    record = slot(plan, NORM).to_json()
    assert record["ancestor"] == {"read": NORM}


# ---------------------------------------------------------------- tied heads


def test_a_tied_donor_gives_its_embeddings_for_the_targets_head() -> None:
    plan = spec_mapper().plan(model(llama()), {"a": model(llama(head=False))})
    assert trees(plan)[HEAD] == trees(plan)[EMBED] == read(EMBED)


def test_a_tied_target_takes_the_donors_embeddings_and_no_head() -> None:
    plan = spec_mapper().plan(model(llama(head=False)), {"a": model(llama())})
    assert trees(plan)[EMBED] == read(EMBED)
    assert HEAD not in trees(plan)
    assert plan.unused["a"] == {"no tensor of the target takes it": (HEAD,)}


@pytest.mark.parametrize("tied", [True, False])
def test_real_tied_checkpoints_map_either_way(tied: bool, tmp_path: Path, onevision_hub: Path) -> None:
    folder = tiny.save_qwen2_vl(tmp_path / "tied", tied=tied)
    target, donor = opened(folder), opened(onevision_hub)
    assert (HEAD in target.checkpoint.tensors) != tied
    there, back = spec_mapper().plan(target, {"a": donor}), spec_mapper().plan(donor, {"a": target})
    assert (HEAD in trees(there)) != tied
    assert trees(back)["language_model.lm_head.weight"] == read(EMBED if tied else HEAD)


# ---------------------------------------------------------------- embeddings


WORDS = ["[UNK]", "red", "green", "blue", "<image>", "<pad>", "dog"]


def tokenised(folder: Path, words: list[str] | None, rows: int, **options: Any) -> Model:
    """A llama of `rows` rows whose folder has a tokenizer of `words`, if any."""
    folder.mkdir()
    if words is not None:
        tiny.write_tokenizer(folder, words)
    return model(llama(vocabulary=rows, **options), folder=folder)


@pytest.mark.parametrize(
    ("mine", "theirs", "rows", "donor_rows", "expected"),
    [
        (WORDS, WORDS, 7, 7, "read"),  # equal counts, tokenizers agree
        (None, None, 7, 7, "read"),  # equal counts, none there
        (WORDS, None, 7, 7, "read"),
        (None, WORDS, 7, 7, "read"),
        (WORDS, WORDS[::-1], 7, 7, (6, 5, 4, 3, 2, 1, 0)),  # they disagree
        (WORDS, [*WORDS[:5], "cat"], 7, 7, (0, 1, 2, 3, 4, -1, -1)),
        (WORDS, WORDS, 9, 7, (0, 1, 2, 3, 4, 5, 6, -1, -1)),  # padded rows of the target
        (WORDS, WORDS, 7, 9, (0, 1, 2, 3, 4, 5, 6)),  # padded rows of the donor
        (WORDS, WORDS[:3], 7, 3, (0, 1, 2, -1, -1, -1, -1)),
        (WORDS, WORDS, 7, 5, (0, 1, 2, 3, 4, -1, -1)),  # a donor whose matrix lacks rows of its tokens
        (None, None, 9, 7, "keep"),
        (WORDS, None, 9, 7, "keep"),
        (None, WORDS, 7, 9, "keep"),
    ],
)
def test_auto_decides_by_counts_and_tokenizers(
    mine: list[str] | None,
    theirs: list[str] | None,
    rows: int,
    donor_rows: int,
    expected: str | tuple[int, ...],
    tmp_path: Path,
) -> None:
    target = tokenised(tmp_path / "target", mine, rows)
    plan = spec_mapper().plan(target, {"a": tokenised(tmp_path / "donor", theirs, donor_rows)})
    for name in (EMBED, HEAD):
        found = slot(plan, name)
        if expected == "keep":
            assert found.reason == (
                f"{rows} rows, a has {donor_rows}, and not both have a tokenizer to align them"
            )
        elif expected == "read":
            assert found.donors["a"] == Read(name)
        else:
            assert found.donors["a"] == Tokens(Read(name), expected)
            assert found.to_json()["rows_from_donor"] == {"a": sum(row >= 0 for row in expected)}
    assert slot(plan, NORM).donors["a"] == Read(NORM)


def test_keep_keeps_embeddings_and_head_only(tmp_path: Path) -> None:
    plan = spec_mapper(embeddings="keep").plan(model(llama()), {"a": model(llama(vocabulary=9))})
    assert kept(plan) == {EMBED: "mapper.embeddings=keep", HEAD: "mapper.embeddings=keep"}


def test_rows_takes_equal_counts_whatever_the_tokenizers_say(tmp_path: Path) -> None:
    target = tokenised(tmp_path / "target", WORDS, 7)
    donor = tokenised(tmp_path / "donor", WORDS[::-1], 7)
    plan = spec_mapper(embeddings="rows").plan(target, {"a": donor})
    assert slot(plan, EMBED).donors["a"] == Read(EMBED)


def test_rows_refuses_other_counts_and_says_what_to_do() -> None:
    with pytest.raises(
        AdammsError, match=r"shape mismatch at .*: the target has \[7, 6\], donor 'a' gives \[9, 6\] from .*"
    ) as caught:
        spec_mapper(embeddings="rows").plan(model(llama()), {"a": model(llama(vocabulary=9))})
    assert "mapper.embedding_rows=N" in str(caught.value)
    assert "mapper.embeddings=tokens" in str(caught.value)


@pytest.mark.parametrize(
    ("mine", "theirs", "common", "expected"),
    [
        (7, 9, 7, Slice(Read(EMBED), 0, 0, 7)),
        (7, 9, 5, Tokens(Read(EMBED), (0, 1, 2, 3, 4, -1, -1))),
        (9, 7, 7, Tokens(Read(EMBED), (0, 1, 2, 3, 4, 5, 6, -1, -1))),
        (7, 7, 7, Slice(Read(EMBED), 0, 0, 7)),
    ],
)
def test_rows_with_a_common_prefix(mine: int, theirs: int, common: int, expected: object) -> None:
    mapper = spec_mapper(embeddings="rows", embedding_rows=common)
    plan = mapper.plan(model(llama(vocabulary=mine)), {"a": model(llama(vocabulary=theirs))})
    assert slot(plan, EMBED).donors["a"] == expected


def test_a_prefix_that_not_both_have_is_refused() -> None:
    mapper = spec_mapper(embeddings="rows", embedding_rows=8)
    with pytest.raises(AdammsError, match=r"mapper\.embedding_rows is 8; expected 1 to 7"):
        mapper.plan(model(llama()), {"a": model(llama(vocabulary=9))})


def test_tokens_aligns_equal_counts_too(tmp_path: Path) -> None:
    target, donor = (tokenised(tmp_path / name, WORDS, 8) for name in ("target", "donor"))
    plan = spec_mapper(embeddings="tokens").plan(target, {"a": donor})
    assert slot(plan, HEAD).donors["a"] == Tokens(Read(HEAD), (0, 1, 2, 3, 4, 5, 6, -1))


@pytest.mark.parametrize("lacking", ["target", "donor"])
def test_tokens_needs_both_tokenizers_and_names_who_lacks_one(lacking: str, tmp_path: Path) -> None:
    words = {"target": WORDS, "donor": WORDS} | {lacking: None}
    target, donor = (tokenised(tmp_path / name, words[name], 7) for name in ("target", "donor"))
    with pytest.raises(AdammsError, match=rf"needs both tokenizers; .*/{lacking} has no tokenizer\.json"):
        spec_mapper(embeddings="tokens").plan(target, {"a": donor})


def test_a_tied_donor_is_aligned_by_token_for_the_head_too(tmp_path: Path) -> None:
    target = tokenised(tmp_path / "target", WORDS, 7)
    donor = tokenised(tmp_path / "donor", WORDS[::-1], 7, head=False)
    plan = spec_mapper().plan(target, {"a": donor})
    assert slot(plan, HEAD).donors["a"] == Tokens(Read(EMBED), (6, 5, 4, 3, 2, 1, 0))


# ---------------------------------------------------------------- refused


def without(shapes: Shapes, *names: str) -> Shapes:
    return {name: shape for name, shape in shapes.items() if name not in names}


def test_an_undescribed_tensor_is_named_with_the_nearest() -> None:
    shapes = llama() | {"model.layers.0.self_attn.qk_proj.weight": (6, 6), "model.zzz": (1,)}
    with pytest.raises(
        AdammsError,
        match=r"2 tensors are not described by the architecture 'llama', first "
        r"'model\.layers\.0\.self_attn\.qk_proj\.weight' of shape \(6, 6\)\. Nearest: "
        r"model\.layers\.0\.self_attn\.[qk]_proj\.weight",
    ):
        model(shapes)


def test_a_shape_mismatch_names_the_tensor_and_both_shapes() -> None:
    name = r"model\.layers\.0\.mlp\.down_proj\.weight"
    with pytest.raises(
        AdammsError,
        match=rf"shape mismatch at {name}: the target has \[6, 10\], donor 'big' gives \[6, 12\] from {name} "
        r".*mapper\.exclude=\[mlp\.down\] keeps the target's",
    ):
        spec_mapper().plan(model(llama()), {"big": model(llama(feed_forward=12))})


def test_a_donor_of_another_size_is_told_so_and_offered_no_setting() -> None:
    target, donor = ({"hidden_size": width} for width in (6, 12))
    small, big = model(llama(), config=target), model(llama(hidden=12), config=donor)
    with pytest.raises(AdammsError, match=r"only models of one size merge: the target's .* is 6, big's 12$"):
        spec_mapper().plan(small, {"big": big})


def test_a_mismatch_of_a_fused_tensor_names_all_that_is_read() -> None:
    target = model(shapes_of(tiny.cogvlm_state()), "cogvlm")
    donor = llama() | {"model.layers.0.self_attn.k_proj.weight": (3, 6)}  # grouped keys
    with pytest.raises(
        AdammsError,
        match=r"attn\.k\.weight@text\): the target has \[6, 6\], donor 'a' gives \[3, 6\] from .*k_proj",
    ):
        spec_mapper().plan(target, {"a": model(donor)})
    donor = llama() | {"model.layers.0.self_attn.k_proj.weight": (6, 5)}
    with pytest.raises(AdammsError, match=r"has \[6, 6\], donor 'a' gives \[6, 5\] from .*k_proj"):
        spec_mapper().plan(target, {"a": model(donor)})


def test_copies_of_two_shapes_have_no_mean() -> None:
    donor = shapes_of(tiny.cogvlm_state())
    donor["model.layers.0.self_attn.vision_expert_dense.weight"] = (6, 5)
    with pytest.raises(AdammsError, match=r"o_proj\.weight: a .* does not fit: cannot average"):
        spec_mapper(prefer="mean").plan(model(llama()), {"a": model(donor, "cogvlm")})


def test_embeddings_of_another_width_are_a_mismatch_not_a_reason_to_keep() -> None:
    with pytest.raises(AdammsError, match=r"shape mismatch at lm_head\.weight: .*mapper\.embeddings=keep"):
        spec_mapper().plan(model(llama()), {"a": model(llama(hidden=8))})


def test_a_mismatch_that_is_excluded_does_not_matter() -> None:
    plan = spec_mapper(exclude=("mlp",)).plan(model(llama()), {"a": model(llama(feed_forward=12))})
    assert not any("mlp" in name for name in trees(plan))


def test_a_layer_that_lacks_a_tensor_is_incomplete() -> None:
    with pytest.raises(AdammsError, match=r"layer 1 of 3 lacks mlp\.up\.weight, norm\.attn\.weight"):
        model(
            without(
                llama(layers=3), "model.layers.1.mlp.up_proj.weight", "model.layers.1.input_layernorm.weight"
            )
        )


@pytest.mark.parametrize("nested", [False, True])
def test_the_number_of_layers_is_that_of_the_config(nested: bool) -> None:
    config: dict[str, Any] = {"num_hidden_layers": 3}
    config = {"text_config": config} if nested else config
    model(llama(layers=3), config=config)
    with pytest.raises(AdammsError, match=r"incomplete: layer 2 of 3 lacks attn\.k\.weight"):
        model(llama(layers=2), config=config)
    with pytest.raises(AdammsError, match=r"holds layer 3, config\.json says there are 3 layers"):
        model(llama(layers=4), config=config)


def test_a_missing_layer_in_the_middle_is_incomplete() -> None:
    shapes = {name: shape for name, shape in llama(layers=3).items() if layer_of(name) != 1}
    with pytest.raises(AdammsError, match=r"incomplete: layer 1 of 3 lacks"):
        model(shapes)


def test_no_layer_at_all() -> None:
    with pytest.raises(AdammsError, match="no tensor of a decoder layer found"):
        model({EMBED: (7, 6)})


@pytest.mark.parametrize(
    ("config", "complete"),
    [
        ({}, True),
        ({"tie_word_embeddings": True}, True),
        ({"tie_word_embeddings": False}, False),
        ({"text_config": {"tie_word_embeddings": False}}, False),
        ({"tie_word_embeddings": True, "text_config": {"tie_word_embeddings": False}}, True),
    ],
)
def test_a_missing_head_is_incomplete_only_where_the_config_says_untied(
    config: dict[str, Any], complete: bool
) -> None:
    shapes = llama(head=False)
    if complete:
        model(shapes, config=config)
        return
    with pytest.raises(AdammsError, match=r"incomplete: no head \(lm_head\) is stored"):
        model(shapes, config=config)


def test_a_fused_tensor_that_does_not_divide() -> None:
    shapes = shapes_of(tiny.cogvlm_state())
    name = "model.layers.0.self_attn.language_expert_query_key_value.weight"
    with pytest.raises(AdammsError, match=r"has shape \(19, 6\); expected dimension 0 to divide into 3"):
        model(shapes | {name: (19, 6)}, "cogvlm")


def test_a_plan_that_merges_nothing_says_why() -> None:
    with pytest.raises(AdammsError, match=r"merges nothing: .*every tensor is kept: mapper\.match=zzz"):
        spec_mapper(match="zzz").plan(model(llama()), {"a": model(llama())})


def test_no_donor_at_all() -> None:
    with pytest.raises(AdammsError, match=r"no donor given; name one with model\.donors\.<name>\.path"):
        spec_mapper().plan(model(llama()), {})


@pytest.mark.parametrize("dtype", ["I8", "U8", "F8_E4M3"])
def test_weights_in_a_quantised_dtype_are_refused_on_either_side(dtype: str) -> None:
    with pytest.raises(AdammsError, match=f"has dtype {dtype}, which looks quantised; expected one of"):
        spec_mapper().plan(model(llama(), dtype=dtype), {"a": model(llama())})
    with pytest.raises(AdammsError, match=f"has dtype {dtype}, which looks quantised; expected one of"):
        spec_mapper().plan(model(llama()), {"a": model(llama(), dtype=dtype)})


# ---------------------------------------------------------------- plan.json


def test_plan_json_has_every_tensor_with_its_action() -> None:
    target = model(shapes_of(tiny.cogvlm_state()), "cogvlm", dtype="BF16")
    content = spec_mapper().plan(target, {"a": model(llama())}).to_json()
    assert content["donors"] == {"a": "/no/such/folder (llama)"}
    assert content["target"] == "/no/such/folder (cogvlm)"
    records = {record["name"]: record for record in content["tensors"]}
    assert list(records) == sorted(target.checkpoint.tensors)
    kept_one = records["model.vision.patch_embedding.proj.weight"]
    assert kept_one == {
        "name": "model.vision.patch_embedding.proj.weight",
        "shape": [3, 2],
        "dtype": "BF16",
        "role": None,
        "action": "keep",
        "reason": "vision encoder",
    }
    name = "model.layers.0.self_attn.language_expert_query_key_value.weight"
    assert records[name] == {
        "name": name,
        "shape": [18, 6],
        "dtype": "BF16",
        "role": "layers.0.attn.q.weight@text + layers.0.attn.k.weight@text + layers.0.attn.v.weight@text",
        "action": "merge",
        "donors": {"a": cat(*(read(f"model.layers.0.self_attn.{p}_proj.weight") for p in "qkv"))},
    }
    assert content["coverage"][0]["action"] == "merge"
    for row in content["coverage"]:
        chosen = [r for r in content["tensors"] if r.get("reason", "") == row["reason"]]
        assert row["tensors"] == len(chosen)
        assert row["bytes"] == 2 * row["parameters"]
