"""Formats of remote code around a language model that transformers knows: described, merged right, kept.

Names and layouts are written down a second time in tests/support/recent_formats.py.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import recent_formats
import torch
from families import RECENT, save_family, save_language
from mappers import spec_mapper
from recent_formats import OPENVLA_ROWS
from remote_formats import RemoteFormat
from safetensors.torch import load_file
from tiny import State
from tiny_merges import described, interpolated

from adamms.mapping.expression import Tokens
from adamms.merge.methods.linear import Linear
from adamms.merge.recipe import Recipe

ALPHA = 0.3
CORRECTION = "expert selection (balances the experts' load, no weight)"
# Why a tensor that is not of the language model is kept.
REASONS = {
    "minicpm_v_4_5": {"vision encoder", "resampler"},
    "keye_vl": {"vision encoder", "projector"},
    "ovis_2_5": {"vision encoder", "visual vocabulary"},
    "llava_onevision_1_5": {"vision encoder"},
    "llava_onevision_2": {"vision encoder"},
    "molmo2": {"vision encoder", "projector", "embeddings of image tokens"},
    "internvl_qwen3_moe": {"vision encoder", "projector"},
    "kimi_vl": {"vision encoder", "projector", CORRECTION},
    "deepseek_vl2": {"vision encoder", "projector", CORRECTION},
    "deepseek_vl2_tiny": {"vision encoder", "projector", CORRECTION},
}


def weights(folder: Path) -> State:
    return load_file(folder / "model.safetensors")


def mixed(own: State, others: State) -> State:
    """At ALPHA, in float64, rounded once."""
    assert own.keys() == others.keys()
    return {
        name: ((1 - ALPHA) * tensor.double() + ALPHA * others[name].double()).float()
        for name, tensor in own.items()
    }


def assert_equal(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name


def source(name: str) -> RemoteFormat:
    remote = RECENT[name].source
    assert isinstance(remote, RemoteFormat)
    return remote


@pytest.mark.parametrize("name", RECENT)
def test_a_format_is_merged_tensor_by_tensor(
    name: str, language: Callable[[str], Path], tmp_path: Path
) -> None:
    target, donor = save_family(name, tmp_path / "target", seed=1), language(RECENT[name].language)
    assert name.startswith(described(target).architecture.name)
    recipe = interpolated(target, donor, ALPHA)
    kept = {slot.name: slot.reason for slot in recipe.plan.slots if not slot.merged}
    assert set(kept.values()) == REASONS[name]
    before, after = weights(target), dict(recipe.tensors())
    assert_equal({n: after[n] for n in kept}, {n: before[n] for n in kept})
    language_model = mixed(weights(tmp_path / "target-plain"), weights(donor))
    expected = source(name).wrap(language_model)
    assert_equal(
        {n: after[n] for n in after if n not in kept}, {n: expected[n] for n in expected if n not in kept}
    )
    assert after.keys() == expected.keys() | source(name).vision.keys()


@pytest.mark.parametrize("name", RECENT)
def test_a_language_model_takes_that_of_a_format(
    name: str, language: Callable[[str], Path], tmp_path: Path
) -> None:
    target, donor = language(RECENT[name].language), save_family(name, tmp_path / "donor", seed=1)
    merged = dict(interpolated(target, donor, ALPHA).tensors())
    assert_equal(merged, mixed(weights(target), weights(tmp_path / "donor-plain")))


def test_openvla_keeps_the_rows_of_its_actions_and_gives_none(tmp_path: Path) -> None:
    target, donor = (
        save_family("openvla", tmp_path / "a", seed=1),
        save_language("llama_of_openvla", tmp_path / "b"),
    )
    mine, theirs = described(target), described(donor)
    mapper = spec_mapper(embeddings="rows", embedding_rows=OPENVLA_ROWS)
    plan = mapper.plan(mine, {"a": theirs})
    recipe = Recipe(mine.checkpoint, {"a": theirs.checkpoint}, plan, Linear(), {"a": ALPHA})
    before, after = weights(tmp_path / "a-plain"), recent_formats.openvla.restored(dict(recipe.tensors()))
    expected = mixed(before, weights(donor))
    for name in ("lm_head.weight", "model.embed_tokens.weight"):
        expected[name][OPENVLA_ROWS:] = before[name][OPENVLA_ROWS:]
    assert_equal(after, expected)
    assert spec_mapper().plan(mine, {"a": theirs}).slots[0].reason.startswith("31744 rows, a has 32064")
    for slot in mapper.plan(theirs, {"a": mine}).slots:
        if slot.name in ("lm_head.weight", "model.embed_tokens.weight"):
            assert isinstance(slot.donors["a"], Tokens)
            assert max(slot.donors["a"].rows) == OPENVLA_ROWS - 1
