"""What methods measure, and what they draw, depends on no chunk, thread or shard; where they cannot act."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import tiny_merges as merging
import torch
from configured import configured
from mappers import spec_mapper
from tiny_merges import make, measured, written

from adamms.checkpoint.reader import open_checkpoint
from adamms.errors import AdammsError
from adamms.mapping.plan import Plan
from adamms.merge import kernel, stream
from adamms.merge.catalogue import known_methods
from adamms.merge.election import Majority
from adamms.merge.method import Chunk, Method
from adamms.merge.methods.linear import Linear
from adamms.merge.recipe import Recipe
from adamms.merge.surveys.survey import measure
from adamms.merge.surveys.thresholds import Ranking, Thresholds
from adamms.merge.task_vectors import TaskVectors

METHODS: dict[str, Method] = {
    "task_arithmetic": configured("merge/task_arithmetic", scaling=0.7),
    "ties": configured("merge/ties", density=0.3),
    "ties_mergekit": configured(
        "merge/ties", density=0.3, scaling=1.0, scope="tensor", combine="mean", election="weighted"
    ),
    "dare_linear": configured("merge/dare_linear", density=0.4),
    "dare_ties": configured("merge/dare_ties", density=0.4),
    "dare_ties_tensor": configured("merge/dare_ties", density=0.4, scope="tensor"),
    "metagpt": configured("merge/metagpt"),
    "metagpt_tensor": configured("merge/metagpt", scope="tensor"),
}
EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
WORDS = ["[UNK]", "a", "b", "c", "d", "e", "f"]


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Recipe]:
    """A merge with fused, averaged and token-aligned operands, some rows idle; its inputs sharded as asked.

    The target lacks no token; the donor lacks `f`, the ancestor `b`.
    """
    root = tmp_path_factory.mktemp("ways")

    def make_one(method: Method, shards: int = 1, torch_zip: bool = False) -> Recipe:
        folder = root / f"{shards}{torch_zip}"
        kind = {"shards": shards, "torch_zip": torch_zip}
        if not folder.exists():
            fused = tiny.cogvlm_state(3, dtype=torch.float16)
            donor = tiny.write_model(folder / "a", fused, "CogVLMForCausalLM", **kind)
            target = tiny.write_model(folder / "t", tiny.llama_state(4, dtype=torch.bfloat16), **kind)
            ancestor = tiny.write_model(folder / "b", tiny.llama_state(5), **kind)
            tiny.write_tokenizer(target, WORDS)
            tiny.write_tokenizer(donor, [*WORDS[-2::-1], "x"])
            tiny.write_tokenizer(ancestor, ["[UNK]", "a", "y", *WORDS[3:]])
        mapper = spec_mapper(prefer="mean")
        return make(method, folder / "t", {"a": folder / "a"}, folder / "b", 0.4, mapper)

    return make_one


@pytest.mark.parametrize("name", METHODS)
def test_chunks_threads_and_shards_do_not_show(
    name: str, ways: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = METHODS[name]
    expected, statistics = written(ways(method), tmp_path / "expected"), ways(method).statistics
    for chunk in (1, 7, 13):
        monkeypatch.setattr(stream, "CHUNK_ELEMENTS", chunk)
        recipe = ways(method)
        assert recipe.statistics == statistics
        assert written(recipe, tmp_path / f"chunk {chunk}") == expected
    monkeypatch.undo()
    for workers in (1, 4):
        assert written(ways(method), tmp_path / f"workers {workers}", workers) == expected
    for shards, torch_zip in ((3, False), (2, True)):
        recipe = ways(method, shards, torch_zip)
        assert recipe.statistics == statistics
        assert written(recipe, tmp_path / f"shards {shards}") == expected


def test_what_is_measured_does_not_depend_on_threads(ways: Callable[..., Recipe]) -> None:
    for method in METHODS.values():
        plain = ways(method)
        for workers in (1, 5):
            again = measured(replace(plain, statistics=None), workers)
            assert again.statistics == plain.statistics


def test_the_statistics_travel_with_the_recipe_and_do_not_change_its_fingerprint(
    ways: Callable[..., Recipe],
) -> None:
    for method in METHODS.values():
        recipe = ways(method)
        bare = Recipe(recipe.target, recipe.donors, recipe.plan, method, recipe.coefficients, recipe.ancestor)
        assert bare.fingerprint == recipe.fingerprint
        raw = pickle.dumps(recipe)
        assert len(raw) < len(pickle.dumps(bare)) + 2000
        travelled = pickle.loads(raw)
        assert travelled.statistics == recipe.statistics
        for (_, tensor), (_, expected) in zip(travelled.tensors(), recipe.tensors(), strict=True):
            tiny.assert_same_bits(tensor, expected)


def test_a_recipe_that_has_not_measured_says_so(ways: Callable[..., Recipe]) -> None:
    plain = ways(configured("merge/ties"))
    bare = Recipe(
        plain.target, plain.donors, plain.plan, configured("merge/ties"), plain.coefficients, plain.ancestor
    )
    with pytest.raises(AdammsError, match=r"merge=ties has to survey the model first: recipe\.surveyed"):
        bare.tensor(HEAD)


@pytest.mark.parametrize("name", METHODS)
def test_progress_adds_up_to_what_is_announced(name: str, ways: Callable[..., Recipe]) -> None:
    method, counted = METHODS[name], []
    plain = ways(method)
    bare = Recipe(plain.target, plain.donors, plain.plan, method, plain.coefficients, plain.ancestor)
    measured(bare, 2, counted.append)
    survey = method.survey()
    passes = survey.passes if survey is not None and survey.scope == "model" else 0
    assert sum(counted) == passes * sum(slot.nbytes for slot in plain.plan.slots if slot.merged)


def test_a_survey_of_one_tensor_goes_through_it_chunk_by_chunk(
    ways: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a method that looks at tensors one by one would hold the largest in float64."""
    monkeypatch.setattr(stream, "CHUNK_ELEMENTS", 12)
    seen: list[int] = []
    operands = TaskVectors.operands

    def watched(vectors: TaskVectors, chunk: Chunk) -> object:
        seen.append(chunk.target.numel())
        return operands(vectors, chunk)

    monkeypatch.setattr(TaskVectors, "operands", watched)
    monkeypatch.setattr(kernel, "LIBRARY", None)
    ways(configured("merge/ties", density=0.3, scope="tensor")).tensor("model.layers.0.mlp.up_proj.weight")
    assert max(seen) == 12


# ---------------------------------------------------------------- where a method cannot act


def test_rows_without_the_ancestors_token_stay_the_targets_and_do_not_count(
    ways: Callable[..., Recipe],
) -> None:
    recipe = ways(configured("merge/task_arithmetic", scaling=0.5))
    own = recipe.target.read(HEAD)
    changed = (recipe.tensor(HEAD) != own).any(1).tolist()
    assert changed == [word not in ("b", "f") for word in WORDS]
    aligned = {alignment.tensor: alignment.matched for alignment in recipe.plan.alignments()}
    assert aligned == {EMBED: 5, HEAD: 5}
    ties = ways(configured("merge/ties", density=0.5))
    counts = []
    ranking = Ranking(Chunk.task_vectors, lambda count: counts.append(count) or (1,))
    slots = [slot for slot in ties.plan.slots if slot.merged]
    assert isinstance(measure(ranking, slots, ties.survey_chunks, 0), Thresholds)
    rows = sum(slot.elements for slot in slots) - 2 * 2 * 6  # two tensors, two tokens, six wide
    assert counts == [rows, rows]


def shallow_ancestor(folder: Path) -> tuple[dict[str, tiny.State], dict[str, Path]]:
    """States and folders of a target, a donor, and an ancestor without the second layer."""
    layers = {"t": 2, "a": 2, "ancestor": 1}
    states = {name: tiny.llama_state(seed, layers=layers[name]) for seed, name in enumerate(layers)}
    return states, {name: tiny.write_model(folder / name, state) for name, state in states.items()}


def kept_of(plan: Plan) -> dict[str, str]:
    return {slot.name: slot.reason for slot in plan.slots if not slot.merged}


def test_a_tensor_that_the_ancestor_lacks_is_kept_with_the_reason(tmp_path: Path) -> None:
    states = {
        n: tiny.llama_state(i, layers=2 - (n == "ancestor")) for i, n in enumerate(("t", "a", "ancestor"))
    }
    folders = {name: tiny.write_model(tmp_path / name, state) for name, state in states.items()}
    for method in METHODS.values():
        recipe = make(method, folders["t"], {"a": folders["a"]}, folders["ancestor"], 0.4)
        kept = kept_of(recipe.plan)
        assert set(kept) == {name for name in states["t"] if ".layers.1." in name}
        assert set(kept.values()) == {f"the ancestor has no such tensor, which merge={method.name} needs"}
        rows = recipe.plan.coverage()
        assert [(row.action, row.tensors) for row in rows] == [("merge", 12), ("keep", 9)]
        for name in kept:
            tiny.assert_same_bits(recipe.tensor(name), states["t"][name])
        assert not torch.equal(recipe.tensor(HEAD), states["t"][HEAD])
    linear = make(
        next(m for m in known_methods() if m.name == "linear")(), folders["t"], {"a": folders["a"]}, None
    )
    assert not kept_of(linear.plan)


def test_a_tensor_without_a_token_in_common_stays_the_targets(tmp_path: Path) -> None:
    """Its survey, if the method makes one of each tensor, would see nothing."""
    states = [tiny.llama_state(i) for i in range(3)]
    folders = [tiny.write_model(tmp_path / str(i), state) for i, state in enumerate(states)]
    for number, folder in enumerate(folders):
        # The donor shares the first half of the target's tokens, the ancestor the second.
        shared = [*WORDS[:4], *"xyz"] if number == 1 else ["u", "v", "w", "s", *WORDS[4:]]
        tiny.write_tokenizer(folder, shared if number else WORDS)
    for method in METHODS.values():
        recipe = make(method, folders[0], {"a": folders[1]}, folders[2], 0.4)
        assert {alignment.matched for alignment in recipe.plan.alignments()} == {0}
        tiny.assert_same_bits(recipe.tensor(HEAD), states[0][HEAD])
        assert not torch.equal(recipe.tensor("model.norm.weight"), states[0]["model.norm.weight"])


def test_a_plan_that_was_not_made_actionable_is_refused(tmp_path: Path) -> None:
    states = {
        n: tiny.llama_state(i, layers=2 - (n == "ancestor")) for i, n in enumerate(("t", "a", "ancestor"))
    }
    folders = {name: tiny.write_model(tmp_path / name, state) for name, state in states.items()}
    models = {name: merging.described(folder) for name, folder in folders.items()}
    plan = spec_mapper().plan(models["t"], {"a": models["a"]}, models["ancestor"])
    opened = {name: open_checkpoint(folder) for name, folder in folders.items()}
    with pytest.raises(
        AdammsError, match=r"merge=ties needs the ancestor's counterpart of model\.layers\.1\."
    ):
        Recipe(
            opened["t"], {"a": opened["a"]}, plan, configured("merge/ties"), {"a": 0.5}, opened["ancestor"]
        )


def test_without_an_ancestor_the_methods_that_need_none_are_named(tmp_path: Path) -> None:
    folders = [tiny.write_model(tmp_path / str(i), tiny.llama_state(i)) for i in (0, 1)]
    for method in METHODS.values():
        with pytest.raises(AdammsError, match="Without one: merge=") as caught:
            make(method, folders[0], {"a": folders[1]}, None)
        message = str(caught.value)
        assert message.startswith(f"merge={method.name} needs an ancestor: model.ancestor.path=FOLDER")
        named = message.rpartition("merge=")[2].split(", ")
        assert named == [m.name for m in known_methods() if not m.needs_ancestor]
        assert "linear" in named


def test_infinities_and_nans_of_inputs_pass_on(tmp_path: Path) -> None:
    states = [tiny.llama_state(i, dtype=torch.bfloat16) for i in range(3)]
    states[0][HEAD][0, 0], states[1][HEAD][1, 1] = float("nan"), float("inf")
    folders = [tiny.write_model(tmp_path / str(i), state) for i, state in enumerate(states)]
    for name, method in METHODS.items():
        if not name.startswith("dare"):  # which may drop them
            merged = make(method, folders[0], {"a": folders[1]}, folders[2]).tensor(HEAD)
            assert merged[0, 0].isnan(), name
            assert not merged[1, 1].isfinite(), name
            assert int(merged.isfinite().logical_not().sum()) == 2, name


def test_a_vector_and_its_opposite_have_no_majority(tmp_path: Path) -> None:
    """Signs of sums that balance out: then, as in the published code, entries below zero are kept."""
    state = {name: torch.ones_like(tensor) for name, tensor in tiny.llama_state(0).items()}
    plus = {name: tensor + 0.5 for name, tensor in state.items()}
    minus = {name: tensor - 0.5 for name, tensor in state.items()}
    folders = [tiny.write_model(tmp_path / n, s) for n, s in (("p", plus), ("m", minus), ("a", state))]
    recipe = make(configured("merge/ties", density=1.0), folders[0], {"a": folders[1]}, folders[2])
    assert recipe.statistics == Majority(0)
    np.testing.assert_array_equal(recipe.tensor(HEAD).numpy(), 0.5)


def test_rows_without_the_ancestors_token_are_kept_though_the_donor_has_them(
    tmp_path: Path,
) -> None:
    folders = [tiny.write_model(tmp_path / str(i), tiny.llama_state(i)) for i in range(3)]
    for folder, words in zip(folders, (WORDS, WORDS, [*WORDS[:3], "x", *WORDS[4:]]), strict=True):
        tiny.write_tokenizer(folder, words)
    recipe = make(configured("merge/task_arithmetic"), folders[0], {"a": folders[1]}, folders[2])
    own = recipe.target.read(EMBED)
    assert (recipe.tensor(EMBED) != own).any(1).tolist() == [word != "c" for word in WORDS]
    (aligned, _) = recipe.plan.alignments()
    assert (aligned.tensor, aligned.matched, aligned.rows) == (HEAD, 6, 7)
    linear = make(Linear(), folders[0], {"a": folders[1]}, folders[2])
    assert bool((linear.tensor(EMBED) != own).any(1).all())
