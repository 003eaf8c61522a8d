"""Adapters on a base that ties its head to its embeddings, against PEFT's own results."""

import json
from pathlib import Path

import lora
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from adamms.checkpoint.adapters.adapted import AdaptedCheckpoint
from adamms.checkpoint.adapters.adapter import open_adapter
from adamms.checkpoint.adapters.tying import LORA_ON_A_TIED_TABLE, tied_tables, untied_config
from adamms.checkpoint.reader import open_checkpoint
from adamms.errors import AdammsError

# PEFT warns of tied embeddings in as many words, and that it saves whole tables.
pytestmark = pytest.mark.filterwarnings("ignore:.*(tie|tying|tied|save_embedding_layers)")

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
WHOLE = {
    "embeddings": ({"modules_to_save": ["embed_tokens"]}, True),
    "head": ({"modules_to_save": ["lm_head"]}, True),
    "both": ({"modules_to_save": ["embed_tokens", "lm_head"]}, True),
    "both, tied": ({"modules_to_save": ["embed_tokens", "lm_head"], "ensure_weight_tying": True}, False),
    "neither": ({}, False),
}


def opened(base: Path, adapter: Path) -> AdaptedCheckpoint:
    return open_adapter(open_checkpoint(base), adapter)


def base_of(family: str, folder: Path) -> Path:
    if family == "qwen2_vl":
        return tiny.save_qwen2_vl(folder, tied=True)
    return tiny.save_llama(folder, tie_word_embeddings=True)


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("family", ["llama", "qwen2_vl"])
def test_whole_tables_are_pefts_own_written_out_model(family: str, kind: str, tmp_path: Path) -> None:
    """Names, values and config.json of what merge_and_unload and save_pretrained leave."""
    settings, untied = WHOLE[kind]
    base = base_of(family, tmp_path / "base")
    adapter, merged = tmp_path / "adapter", tmp_path / "merged"
    lora.save_adapter(base, adapter, spread=0.3, merged=merged, r=2, target_modules=["q_proj"], **settings)
    theirs = load_file(merged / "model.safetensors")
    found = opened(base, adapter)
    assert (found.untied, bool(found.note), HEAD in theirs) == (untied, untied, untied)
    assert found.tensors.keys() == theirs.keys()
    for name, tensor in theirs.items():
        # PEFT rounds the product of LoRA to bfloat16 before it adds it.
        torch.testing.assert_close(found.read(name), tensor, atol=0.01 if "q_proj" in name else 0, rtol=0)
    config = json.loads((merged / "config.json").read_text())
    assert found.config["tie_word_embeddings"] == config["tie_word_embeddings"] == (not untied)
    if family == "qwen2_vl":
        text = found.config["text_config"]["tie_word_embeddings"]
        assert text == (not untied)


def test_the_fingerprint_is_another_when_the_tables_are_untied(tmp_path: Path) -> None:
    """Answers that are stored for a model whose head followed its embeddings are not this one's."""
    base = base_of("llama", tmp_path / "base")
    settings = {"r": 2, "target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}
    lora.save_adapter(base, tmp_path / "adapter", **settings)
    found = opened(base, tmp_path / "adapter")
    followed = AdaptedCheckpoint(
        found.folder,
        {name: entry for name, entry in found.tensors.items() if name != HEAD},
        found.base.config,
        found.base,
        found.adapter,
        {name: change for name, change in found.changes.items() if name != HEAD},
    )
    assert found.fingerprint != followed.fingerprint


def test_lora_on_the_table_changes_both_as_merge_and_unload_does(tmp_path: Path) -> None:
    base = base_of("llama", tmp_path / "base")
    adapter, merged = tmp_path / "adapter", tmp_path / "merged"
    lora.save_adapter(base, adapter, merged=merged, r=2, target_modules=["embed_tokens"])
    found, theirs = opened(base, adapter), load_file(merged / "model.safetensors")
    assert found.tensors.keys() == theirs.keys()
    assert (found.untied, found.note) == (False, LORA_ON_A_TIED_TABLE)
    torch.testing.assert_close(found.read(EMBED), theirs[EMBED], atol=0.01, rtol=0)
    assert not torch.equal(found.read(EMBED), load_file(base / "model.safetensors")[EMBED])


def test_lora_on_the_head_is_refused_with_a_way_on(tmp_path: Path) -> None:
    base = base_of("llama", tmp_path / "base")
    lora.save_adapter(base, tmp_path / "adapter", r=2, target_modules=["lm_head"])
    with pytest.raises(
        AdammsError, match=r"LoRA on lm_head\.weight, which the base ties to .*Untie the base"
    ):
        opened(base, tmp_path / "adapter")


def test_a_head_that_is_stored_but_tied_by_config(tmp_path: Path) -> None:
    """transformers does not read it: under PEFT the head is the base's embeddings."""
    base = base_of("llama", tmp_path / "base")
    state = load_file(base / "model.safetensors")
    table = state[EMBED].clone()
    save_file(state | {HEAD: table + 1}, base / "model.safetensors", metadata={"format": "pt"})
    new = torch.randn(table.shape)
    lora.write_adapter(
        tmp_path / "adapter", {f"base_model.model.{EMBED}": new}, r=1, lora_alpha=1, target_modules=["x"]
    )
    found = opened(base, tmp_path / "adapter")
    assert found.untied
    tiny.assert_same_bits(found.read(EMBED), new.bfloat16())
    tiny.assert_same_bits(found.read(HEAD), table)


def test_an_untied_base_stays_as_it_is(tmp_path: Path) -> None:
    base = tiny.save_llama(tmp_path / "base")
    lora.save_adapter(
        base, tmp_path / "adapter", r=2, target_modules=["q_proj"], modules_to_save=["embed_tokens"]
    )
    found = opened(base, tmp_path / "adapter")
    assert (found.untied, found.note, HEAD in found.changes) == (False, "", False)


@pytest.mark.parametrize(
    ("embeddings", "head"),
    [
        ("model.embed_tokens.weight", "lm_head.weight"),
        ("language_model.model.embed_tokens.weight", "language_model.lm_head.weight"),
        ("model.language_model.embed_tokens.weight", "lm_head.weight"),
        ("model.text_model.embed_tokens.weight", "lm_head.weight"),
        ("llm.model.embed_tokens.weight", "llm.lm_head.weight"),
    ],
)
def test_the_name_of_a_head_that_is_not_stored(embeddings: str, head: str, tmp_path: Path) -> None:
    tiny.write_model(tmp_path, {embeddings: torch.ones(2, 2)})
    found = tied_tables(open_checkpoint(tmp_path))
    assert found is not None
    assert (found.embeddings, found.head) == (embeddings, head)


def test_a_config_is_untied_wherever_it_speaks_of_a_vocabulary() -> None:
    config = {"text_config": {"vocab_size": 3}, "vision_config": {"depth": 1}, "tie_word_embeddings": True}
    assert untied_config(config) == {
        "text_config": {"vocab_size": 3, "tie_word_embeddings": False},
        "vision_config": {"depth": 1},
        "tie_word_embeddings": False,
    }
