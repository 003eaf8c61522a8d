"""A swap that loses a tensor, an expert or a tie is told, with its name, and costs no proven answer."""

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from configured_engines import engine_without_processor
from scaled_linear import ScaledLinear
from tiny_types import relayout_experts, save_tiny
from twins import twin

from adamms.data.example import Example
from adamms.engines.answer import Answer
from adamms.engines.base import UnprovenError
from adamms.engines.stored_engine import StoredEngine
from adamms.engines.swaps import ProvenSwaps
from adamms.engines.transformers import engine as engine_module
from adamms.engines.transformers.engine import TransformersEngine
from adamms.errors import AdammsError
from adamms.merge.recipe import Recipe
from adamms.merge.sources import Sources

# (tensor, how often it was written before) -> whether it is lost now
Fault = Callable[[Recipe, int], bool]
FAULTS: dict[str, tuple[Fault, str]] = {
    "always": (lambda recipe, times: True, r"1 \(NAME\) merged tensors never reached the live model"),
    "on the way back": (
        lambda recipe, times: not recipe.changes,
        r"back at alpha 0, the live model is not the target: 1 \(NAME\) of \d+ tensors differ",
    ),
    "the second time": (
        lambda recipe, times: recipe.changes and times > 0,
        r"loaded again, has other weights: 1 \(NAME\) of",
    ),
}


def pair(kind: str, folder: Path, **text: Any) -> tuple[Path, Path]:
    target, donor = (save_tiny(kind, folder / name, noise=i, **text) for i, name in enumerate(("a", "b")))
    return target, donor


def losing(monkeypatch: pytest.MonkeyPatch, lost: str, fault: Fault, expert: int | None = None) -> None:
    """Have the engine lose one tensor, or one expert in it, where the fault says so."""
    write, written = engine_module.write, 0

    def faulty(recipe: Recipe, name: str, view: torch.Tensor, sources: Sources) -> None:
        nonlocal written
        if name != lost or not fault(recipe, written):
            write(recipe, name, view, sources)
        elif expert is not None:
            kept = view[expert].clone()
            write(recipe, name, view, sources)
            view[expert] = kept
        written += name == lost and recipe.changes

    monkeypatch.setattr(engine_module, "write", faulty)


@pytest.mark.parametrize("kind", ["qwen3_vl_moe", "qwen3_5_moe", "kimi_k25", "qwen2_5_vl"])
def test_sound_swaps_are_proven(kind: str, tmp_path: Path) -> None:
    """Experts in one tensor and in many, linear attention, rotary halves in another order."""
    folders = pair(kind, tmp_path)
    engine = engine_without_processor(folders[0])
    swaps = ProvenSwaps(engine)
    start = engine.checksums()
    swaps.load(twin(*folders, 0.5))
    assert not swaps.doubtful
    swaps.prove()
    at_half = engine.checksums()
    for alpha in (0.3, 0.0):
        swaps.load(twin(*folders, alpha))
        assert swaps.doubtful
    swaps.prove()
    assert not swaps.doubtful
    assert engine.checksums() == start != at_half


@pytest.mark.parametrize("when", FAULTS)
@pytest.mark.parametrize(
    ("kind", "place", "expert"),
    [
        ("qwen2_5_vl", "layers.1.self_attn.q_proj.weight", None),
        ("qwen3_5_moe", "layers.0.linear_attn.in_proj_qkv.weight", None),
        ("qwen3_5_moe", "layers.1.mlp.experts.2.down_proj.weight", None),
        ("qwen3_vl_moe", "layers.0.mlp.experts.gate_up_proj", 1),
    ],
    ids=["dense", "linear attention", "an expert", "an expert in one tensor"],
)
def test_a_lost_tensor_is_named(
    kind: str, place: str, expert: int | None, when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = pair(kind, tmp_path)
    if expert is not None:
        folders = tuple(relayout_experts(folder, fused=True, transposed=True) for folder in folders)
    engine = engine_without_processor(folders[0])
    (name,) = (each for each in engine.live.weights.stored if each.endswith(place))
    fault, message = FAULTS[when]
    losing(monkeypatch, name, fault, expert)
    named = name if expert is None else rf"{name}\[{expert}\]"
    with pytest.raises(UnprovenError, match=message.replace("NAME", named)):
        ProvenSwaps(engine).load(twin(*folders, 0.5))


def test_what_is_as_the_targets_at_the_engines_precision_is_not_lost(tmp_path: Path) -> None:
    """A donor with one tensor like the target's, and one so near that no engine of 16 bits can tell."""
    folders = pair("qwen3", tmp_path)
    recipe = twin(*folders, 0.5)
    first, *others = recipe.plan.slots
    same = replace(recipe, exceptions={first.name: {"a": 0.0}})
    engine = engine_without_processor(folders[0])
    ProvenSwaps(engine).load(same)
    near = replace(recipe, coefficients={"a": 1e-9})
    engine = engine_without_processor(folders[0])
    ProvenSwaps(engine).load(near)
    assert others


def test_methods_that_single_tensors_have_are_not_taken_back_to_the_target(tmp_path: Path) -> None:
    """As a schedule gives them; this one does not keep the target at alpha 0."""
    folders = pair("qwen3", tmp_path)
    recipe = twin(*folders, 0.5)
    swaps = ProvenSwaps(engine_without_processor(folders[0]))
    swaps.load(replace(recipe, methods={slot.name: ScaledLinear(0.5) for slot in recipe.plan.slots}))
    assert not swaps.doubtful


def test_a_head_that_no_longer_follows_its_embeddings_is_named(tmp_path: Path) -> None:
    folders = pair("qwen3", tmp_path, tie_word_embeddings=True)
    engine = engine_without_processor(folders[0])
    swaps = ProvenSwaps(engine)
    swaps.load(twin(*folders, 0.5))
    head = engine.live.model.lm_head
    head.weight = torch.nn.Parameter(head.weight.clone())
    swaps.load(twin(*folders, 0.3))
    with pytest.raises(UnprovenError, match=r"does not use the weights that are swapped in: lm_head\.weight"):
        swaps.prove()


def test_a_parameter_that_was_replaced_is_named(tmp_path: Path) -> None:
    folders = pair("qwen3", tmp_path)
    engine = engine_without_processor(folders[0])
    norm = engine.live.model.model.norm
    norm.weight = torch.nn.Parameter(norm.weight.clone())
    with pytest.raises(UnprovenError, match=r"does not use the weights that are swapped in: model\.norm\.w"):
        ProvenSwaps(engine).load(twin(*folders, 0.5))


class Ranks:
    """As much of an engine of two ranks as is looked at: each holds the alpha that it was given.

    Args:
        deaf: ranks that take nothing.

    Attributes:
        dies_at: how many loads it lives through.
    """

    dies_at = 100

    def __init__(self, *deaf: str) -> None:
        self.held = dict.fromkeys(("0.0", "0.1"), 0.0)
        self.deaf = deaf
        self.loads: list[float] = []

    def load(self, recipe: Recipe) -> None:
        alpha = recipe.coefficients["a"]
        if len(self.loads) >= self.dies_at:
            raise RuntimeError("dead")
        self.loads.append(alpha)
        self.held |= {rank: alpha for rank in self.held if rank not in self.deaf}

    def checksums(self) -> dict[str, str]:
        own = {f"{rank} norm": str(alpha) for rank, alpha in self.held.items()}
        return own | {f"{rank} vision": "kept" for rank in self.held}

    def __enter__(self) -> "Ranks":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    identity = "ranks"

    def generate(self, examples: list[Example]) -> Any:
        yield from ((each.id, Answer(f"{self.held['0.0']}")) for each in examples)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return pair("qwen3", tmp_path_factory.mktemp("pair"))


def test_a_rank_that_took_nothing_is_named(folders: tuple[Path, Path]) -> None:
    with pytest.raises(UnprovenError, match=r"no merged tensor reached rank 0\.1;"):
        ProvenSwaps(Ranks("0.1")).load(twin(*folders, 0.5))  # type: ignore[arg-type]
    with pytest.raises(UnprovenError, match="no merged tensor reached the live model;"):
        ProvenSwaps(Ranks("0.0", "0.1")).load(twin(*folders, 0.5))  # type: ignore[arg-type]
    ProvenSwaps(Ranks("0.0", "0.1")).load(twin(folders[0], folders[0], 0.5))  # type: ignore[arg-type]


class TestAnswers:
    """What becomes of answers; `Ranks` has them."""

    @pytest.fixture
    def asked(self) -> list[Example]:
        return [Example(str(i), "t", f"question {i}") for i in range(3)]

    def ask(
        self, stored: StoredEngine, folders: tuple[Path, Path], asked: list[Example], *alphas: float
    ) -> None:
        for alpha in alphas:
            stored.load(twin(*folders, alpha))
            list(stored.generate(asked))

    def stored(self, engine: Ranks, folders: tuple[Path, Path], store: Path | None) -> StoredEngine:
        return StoredEngine(engine, store, twin(*folders, 0.5).target, verify=True)  # type: ignore[arg-type]

    def test_one_candidate_costs_the_first_proof_alone(self, folders, asked, tmp_path: Path) -> None:
        engine = Ranks()
        with self.stored(engine, folders, tmp_path) as stored:
            stored.load(twin(*folders, 0.5))
            assert len(list(stored.generate(asked))) == 3
        assert engine.loads == [0.5, 0.0, 0.5]

    def test_alpha_0_alone_is_not_a_swap_but_is_proven(self, folders, asked, tmp_path: Path) -> None:
        engine = Ranks()
        with self.stored(engine, folders, tmp_path) as stored:
            stored.load(twin(*folders, 0.0))
            list(stored.generate(asked))
        assert engine.loads == [0.0, 0.0]

    def test_a_search_proves_the_first_swap_and_the_last(self, folders, asked, tmp_path: Path) -> None:
        engine = Ranks()
        with self.stored(engine, folders, tmp_path) as stored:
            for alpha in (0.0, 0.2, 0.4):
                stored.load(twin(*folders, alpha))
                list(stored.generate(asked))
            stored.prove()
            assert engine.loads == [0.0, 0.2, 0.0, 0.2, 0.4, 0.0]
            assert dict(stored.generate([Example("new", "t", "another")])) == {"new": Answer("0.4")}
        assert engine.loads == [0.0, 0.2, 0.0, 0.2, 0.4, 0.0, 0.4, 0.0]

    def test_answers_since_the_last_proof_leave_the_store_with_the_error(
        self, folders, asked, tmp_path: Path
    ) -> None:
        engine = Ranks()
        stored = self.stored(engine, folders, tmp_path)
        self.ask(stored, folders, asked, 0.2, 0.4)
        engine.deaf = ("0.0", "0.1")
        with pytest.raises(UnprovenError, match=r"0.0 norm, 0.1 norm.*; 3 answers since the last proof are"):
            stored.__exit__()
        with self.stored(again := Ranks(), folders, tmp_path) as stored:
            for alpha, expected in ((0.2, 3), (0.4, 0)):
                stored.load(twin(*folders, alpha))
                before = stored.found
                list(stored.generate(asked))
                assert stored.found - before == expected
        assert again.loads == [0.4, 0.0, 0.4]

    def test_an_engine_that_dies_is_not_proven_and_keeps_its_answers(self, folders, asked, tmp_path) -> None:
        engine = Ranks()
        stored = self.stored(engine, folders, tmp_path)
        self.ask(stored, folders, asked, 0.2, 0.4)
        engine.dies_at = 4
        stored.__exit__(RuntimeError, RuntimeError("dead"), None)
        assert engine.loads == [0.2, 0.0, 0.2, 0.4]
        assert self.kept(tmp_path) == 6

    def test_a_later_run_counts_what_a_killed_one_has_not_proven(self, folders, asked, tmp_path) -> None:
        killed = self.stored(Ranks(), folders, tmp_path)
        self.ask(killed, folders, asked, 0.2, 0.4)
        later = self.stored(Ranks(), folders, tmp_path)
        self.ask(later, folders, asked, 0.2, 0.4, 0.6)
        assert (killed.unproven, later.unproven, later.found) == (0, 3, 6)
        killed.prove()
        later.prove()
        last = self.stored(Ranks(), folders, tmp_path)
        self.ask(last, folders, asked, 0.2, 0.4, 0.6)
        assert (last.unproven, last.found) == (0, 9)

    def kept(self, store: Path) -> int:
        return sum(file.read_bytes().count(b"\n") for file in store.rglob("*.jsonl"))

    @pytest.mark.parametrize("deaf", [(), ("0.0", "0.1")])
    @pytest.mark.parametrize("error", [KeyboardInterrupt, AdammsError])
    def test_what_else_ends_a_search_leaves_proven_answers(
        self, folders, asked, tmp_path: Path, deaf: tuple[str, ...], error: type[BaseException]
    ) -> None:
        engine = Ranks()
        stored = self.stored(engine, folders, tmp_path)
        self.ask(stored, folders, asked, 0.2, 0.4)
        engine.deaf = deaf
        with pytest.raises(UnprovenError) if deaf else nullcontext():
            stored.__exit__(error, error(), None)
        assert engine.loads == [0.2, 0.0, 0.2, 0.4, 0.0]
        assert self.kept(tmp_path) == (3 if deaf else 6)

    def test_a_proof_that_could_not_be_made_leaves_all_doubtful(self, folders, asked, tmp_path: Path) -> None:
        engine = Ranks()
        stored = self.stored(engine, folders, tmp_path)
        self.ask(stored, folders, asked, 0.2, 0.4)
        engine.dies_at = 4
        with pytest.raises(RuntimeError, match="dead"):
            stored.prove()
        engine.dies_at = 100
        assert dict(stored.generate([Example("new", "t", "another")])) == {"new": Answer("0.4")}
        assert engine.loads == [0.2, 0.0, 0.2, 0.4, 0.4]
        engine.deaf = ("0.1",)
        with pytest.raises(UnprovenError, match=r"0\.1 norm.*; 4 answers since the last proof are taken out"):
            stored.__exit__(None, None, None)
        assert self.kept(tmp_path) == 3

    def test_the_first_swap_is_doubtful_until_it_is_proven(self, folders: tuple[Path, Path]) -> None:
        engine = Ranks()
        engine.dies_at = 2
        swaps = ProvenSwaps(engine)  # type: ignore[arg-type]
        with pytest.raises(RuntimeError, match="dead"):
            swaps.load(twin(*folders, 0.5))
        assert engine.loads == [0.5, 0.0]
        assert swaps.doubtful

    def test_a_store_that_was_cleared_does_not_hide_what_failed(self, folders, asked, tmp_path: Path) -> None:
        engine = Ranks()
        stored = self.stored(engine, folders, tmp_path / "store")
        self.ask(stored, folders, asked, 0.2, 0.4)
        shutil.rmtree(tmp_path / "store")
        engine.deaf = ("0.0", "0.1")
        with pytest.raises(UnprovenError, match=r"2 \(0\.0 norm, 0\.1 norm\) of 4 tensors differ"):
            stored.prove()
        stored.__exit__(None, None, None)  # it is said once


def test_transformers_says_what_it_holds_by_the_names_of_the_files(folders: tuple[Path, Path]) -> None:
    engine: TransformersEngine = engine_without_processor(folders[0])
    stored = set(twin(*folders, 0.5).target.tensors)
    assert stored <= engine.checksums().keys()
