"""Where a recipe's operands are read. The `meta` device stands in for a GPU: it holds no values."""

from pathlib import Path

import lora
import pytest
import tiny
import tiny_merges
import torch
from configured import configured
from tiny import assert_same_bits

from adamms.checkpoint.adapters.adapted import AdaptedRows
from adamms.checkpoint.adapters.adapter import open_adapter
from adamms.checkpoint.reader import Checkpoint, open_checkpoint
from adamms.errors import AdammsError
from adamms.mapping.expression import Read
from adamms.mapping.units import Unit
from adamms.merge.sources import MAPPED_FILES, Sources
from adamms.merge.stream import operand_rows

NAME = "lm_head.weight"
ELSEWHERE = torch.device("meta")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the tensors read from files, in order."""
    names: list[str] = []
    read = Checkpoint.read
    monkeypatch.setattr(Checkpoint, "read", lambda self, name: (names.append(name), read(self, name))[1])
    return names


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    tiny.save_llama(tmp_path / "a")
    return open_checkpoint(tmp_path / "a")


def test_nothing_is_held_by_default(checkpoint: Checkpoint, reads: list[str]) -> None:
    for _ in range(2):
        assert torch.equal(MAPPED_FILES.read(checkpoint, NAME), checkpoint.read(NAME))
    assert reads == [NAME] * 4


def test_on_a_device_nothing_is_held_by_default(checkpoint: Checkpoint, reads: list[str]) -> None:
    sources = Sources(ELSEWHERE)
    tensors = [sources.read(checkpoint, NAME) for _ in range(2)]
    assert tensors[0] is not tensors[1]
    assert tensors[0].device == ELSEWHERE
    assert tensors[0].dtype == checkpoint.read(NAME).dtype
    assert reads == [NAME] * 3


def test_what_is_held_on_the_device_is_read_once(
    checkpoint: Checkpoint, tmp_path: Path, reads: list[str]
) -> None:
    tiny.save_llama(tmp_path / "b")
    other = open_checkpoint(tmp_path / "b")
    sources = Sources(ELSEWHERE, "gpu")
    first = sources.read(checkpoint, NAME)
    assert sources.read(checkpoint, NAME) is first
    assert sources.read(other, NAME) is not first  # another model's tensor of the same name
    assert reads == [NAME, NAME]


class Noting(Sources):
    """Sums up what is read."""

    size = 0

    def note(self, size: int) -> None:
        object.__setattr__(self, "size", self.size + size)


@pytest.mark.parametrize("alpha", [0.3, 0.0])
@pytest.mark.parametrize("method", ["linear", "dare_linear", "tsv"])
def test_only_the_wanted_rows_are_merged(tmp_path: Path, alpha: float, method: str) -> None:
    """A method that works on whole matrices needs all of their rows, unless none is wanted."""
    target, donor, ancestor = (tiny.save_llama(tmp_path / name, seed) for seed, name in enumerate("tab"))
    made = configured(f"merge/{method}")
    recipe = tiny_merges.make(made, target, {"a": donor}, ancestor if made.needs_ancestor else None, alpha)
    for name in (NAME, "model.layers.0.self_attn.q_proj.weight"):
        whole, everything = recipe.tensor(name), Noting(torch.device("cpu"))
        recipe.tensor(name, everything)
        third = len(whole) // 3
        for runs, share in (([range(1, 1 + third), range(2 * third, len(whole))], 2 / 3), ([], 0)):
            sources = Noting(torch.device("cpu"), wanted={name: runs})
            part = recipe.tensor(name, sources)
            assert part.shape == whole.shape
            for run in runs:
                assert_same_bits(part[run.start : run.stop], whole[run.start : run.stop])
            if method == "tsv" and recipe.computes(recipe.slots[name]):
                share = min(1, 2 * share)
            assert sources.size == pytest.approx(share * everything.size, rel=0.1)


@pytest.mark.parametrize("cache", ["pinned", "gpu"])
def test_without_a_gpu_there_is_the_page_cache(cache: str) -> None:
    with pytest.raises(AdammsError, match=rf"source_cache={cache} needs a GPU; .*source_cache=mmap"):
        Sources(torch.device("cpu"), cache)


def test_an_unknown_cache() -> None:
    with pytest.raises(AdammsError, match="source_cache is 'ram'; expected one of: mmap, pinned, gpu"):
        Sources(ELSEWHERE, "ram")


def test_a_base_and_the_same_under_an_adapter_are_held_apart(tmp_path: Path) -> None:
    state = tiny.llama_state(1)
    base = open_checkpoint(tiny.write_model(tmp_path / "base", state))
    parts = {"A": torch.ones(2, 6), "B": torch.ones(7, 2)}
    folder = lora.write_adapter(
        tmp_path / "adapter",
        {f"base_model.model.lm_head.lora_{part}.weight": tensor for part, tensor in parts.items()},
        r=2,
        lora_alpha=2,
    )
    adapted = open_adapter(base, folder)
    assert isinstance(MAPPED_FILES.rows(adapted, NAME), AdaptedRows)  # computed when asked for
    assert torch.equal(MAPPED_FILES.read(adapted, NAME), state[NAME] + 2)
    held = Sources(ELSEWHERE, "gpu")
    first = held.read(base, NAME)
    assert held.read(adapted, NAME) is not first
    assert held.rows(adapted, NAME) is held.read(adapted, NAME)
    assert held.rows(base, NAME) is first


def test_operands_of_a_slot_are_read_onto_the_device(tmp_path: Path) -> None:
    """Concatenated and plain ones, in the stored dtypes and in float64."""
    fused = tiny.write_model(tmp_path / "t", tiny.cogvlm_state(1, dtype=torch.bfloat16), "CogVLMForCausalLM")
    plain = {name: tiny.write_model(tmp_path / name, tiny.llama_state(2)) for name in ("a", "b")}
    recipe = tiny_merges.make(configured("merge/task_arithmetic"), fused, {"a": plain["a"]}, plain["b"])
    checkpoints = {"target": recipe.target, **recipe.donors, "ancestor": recipe.ancestor}
    for slot in recipe.plan.slots:
        unit = Unit(slot, slot.name, Read(slot.name))
        for read in operand_rows(unit, checkpoints, Sources(ELSEWHERE), whole=False) if slot.merged else ():
            assert set(read.stored) == set(read.exact) == {"target", "a", "ancestor"}
            for values in (*read.stored.values(), *read.exact.values()):
                assert values.device == ELSEWHERE
                assert values.shape == (len(read.rows), *slot.shape[1:])
            assert {values.dtype for values in read.exact.values()} == {torch.float64}
            assert read.stored["target"].dtype == torch.bfloat16
