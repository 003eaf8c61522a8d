"""Recipes over adapted checkpoints and over rows by token, in chunks: the bytes of the merge written out.

The materialised weights are NumPy float64 arithmetic of the tests' own (`lora.materialised`), rounded once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import lora
import pytest
import tiny
import torch
from mappers import spec_mapper
from tiny import assert_same_bits

from adamms.architectures.recognise import recognise
from adamms.checkpoint.adapters.adapter import open_adapter
from adamms.checkpoint.reader import Checkpoint, open_checkpoint
from adamms.mapping.expression import Read, Tokens
from adamms.mapping.plan import Plan, Slot
from adamms.mapping.specs.model import describe
from adamms.mapping.specs.resolve import SpecMapper
from adamms.merge import stream
from adamms.merge.method import Chunk
from adamms.merge.methods.linear import Linear
from adamms.merge.recipe import Recipe

BF16 = torch.bfloat16
LLAMA = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj")
COGVLM = ("self_attn.language_expert_query_key_value", "mlp.vision_mlp.up_proj", "mlp.language_mlp.down_proj")


@pytest.fixture(params=[1, 7, 40, 10**6], ids=lambda count: f"chunks of {count}")
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(stream, "CHUNK_ELEMENTS", request.param)
    return int(request.param)


def adapter(
    folder: Path, base: tiny.State, modules: tuple[str, ...], seed: int, embedding: bool = True
) -> Path:
    """LoRA of rank 3 on these modules of every layer and on the embeddings, as PEFT writes it."""
    generator = torch.Generator().manual_seed(seed)
    state: tiny.State = {}

    def low_rank(name: str, of: torch.Tensor, words: tuple[str, str], flipped: bool) -> None:
        rows, columns = reversed(of.shape) if flipped else of.shape
        state[f"base_model.model.{name}.{words[0]}"] = torch.randn((3, columns), generator=generator)
        state[f"base_model.model.{name}.{words[1]}"] = torch.randn((rows, 3), generator=generator)

    for layer in range(2):
        for module in modules:
            name = f"model.layers.{layer}.{module}"
            low_rank(name, base[f"{name}.weight"], ("lora_A.weight", "lora_B.weight"), False)
    if embedding:
        table = "model.embed_tokens"
        low_rank(table, base[f"{table}.weight"], ("lora_embedding_A", "lora_embedding_B"), True)
    return lora.write_adapter(folder, state, r=3, lora_alpha=2)


def recipe(target: Checkpoint, donor: Checkpoint, mapper: SpecMapper) -> Recipe:
    models = [describe(item, recognise(item.config, item.folder)) for item in (target, donor)]
    return Recipe(target, {"a": donor}, mapper.plan(models[0], {"a": models[1]}), Linear(), {"a": 0.3})


@pytest.mark.parametrize("prefer", ["text", "mean"])
@pytest.mark.parametrize("direction", ["fused target", "fused donor"])
def test_concatenated_sliced_averaged_and_reordered_operands(
    direction: str, prefer: str, chunks: int, tmp_path: Path
) -> None:
    states = {"llama": tiny.llama_state(1, dtype=BF16), "cogvlm": tiny.cogvlm_state(2, dtype=BF16)}
    names = {
        "llama": ("LlamaForCausalLM", LLAMA, "abcdef"),
        "cogvlm": ("CogVLMForCausalLM", COGVLM, "fxbdea"),
    }
    adapted, whole = {}, {}
    for seed, (name, state) in enumerate(states.items()):
        kind, modules, words = names[name]
        base = tiny.write_model(tmp_path / name, state, kind)
        folder = adapter(tmp_path / f"{name}_adapter", state, modules, seed)
        written = tiny.write_model(
            tmp_path / f"{name}_whole", lora.rounded(lora.materialised(state, folder), state), kind
        )
        for place in (base, written):
            tiny.write_tokenizer(place, ["[UNK]", *words])
        adapted[name], whole[name] = open_adapter(open_checkpoint(base), folder), open_checkpoint(written)
    target, donor = ("cogvlm", "llama") if direction == "fused target" else ("llama", "cogvlm")
    mapper = spec_mapper(prefer=prefer)
    found, expected = (recipe(side[target], side[donor], mapper) for side in (adapted, whole))
    assert sum(isinstance(slot.donors.get("a"), Tokens) for slot in found.plan.slots) == 2
    for name, tensor in expected.tensors(workers=1):
        assert_same_bits(found.tensor(name), tensor)
        pieces = torch.empty(tensor.numel(), dtype=tensor.dtype)
        for start, piece in found.pieces(name):
            pieces[start : start + piece.numel()] = piece
        assert_same_bits(pieces, tensor.reshape(-1))


@dataclass(frozen=True)
class Sum:
    """Not an interpolation: where a donor's row is the target's own, the result is not the target's."""

    name: ClassVar[str] = "sum"
    formula: ClassVar[str] = "target + donors"
    elementwise: ClassVar[bool] = True
    needs_ancestor: ClassVar[bool] = False

    def keeps_target(self, coefficients: Mapping[str, float]) -> bool:
        return False

    def survey(self) -> None:
        return None

    def merge(self, chunk: Chunk) -> torch.Tensor:
        return chunk.target + sum(chunk.donors.values())


def test_rows_that_no_donor_has_are_the_targets_whatever_the_method(chunks: int, tmp_path: Path) -> None:
    states = {name: tiny.llama_state(seed, vocabulary=5) for seed, name in enumerate(("target", "a", "b"))}
    opened = {n: open_checkpoint(tiny.write_model(tmp_path / n, state)) for n, state in states.items()}
    name = "lm_head.weight"
    rows = {"a": (2, -1, -1, 4, -1), "b": (-1, 3, -1, 0, -1)}
    tokens = {donor: Tokens(Read(name), found) for donor, found in rows.items()}
    slot = Slot(name, (5, 6), "F32", "head.weight", tokens)
    shares = {"a": 0.3, "b": 0.3}
    donors = {n: opened[n] for n in rows}
    own = states["target"][name]
    merged = Recipe(opened["target"], donors, Plan("", {}, (slot,)), Sum(), shares).tensor(name)
    for row in range(5):
        found = [states[n][name][rows[n][row]] if rows[n][row] >= 0 else own[row] for n in rows]
        if max(rows[n][row] for n in rows) < 0:
            assert_same_bits(merged[row], own[row])
        else:
            assert_same_bits(
                merged[row], (own[row].double() + (found[0].double() + found[1].double())).float()
            )
    # One that takes all rows has every row.
    slot = Slot(name, (5, 6), "F32", "head.weight", {"a": tokens["a"], "b": Read(name)})
    merged = Recipe(opened["target"], donors, Plan("", {}, (slot,)), Sum(), shares).tensor(name)
    assert not any(torch.equal(merged[row], own[row]) for row in range(5))
