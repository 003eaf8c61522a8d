"""Embeddings and heads merged by token with real tokenizers, on the command line, row by row.

Every expected row is NumPy float64: (1 - alpha) * target's + alpha * the donor's row of the same token,
rounded once to bfloat16; where the donor has no such token, and in padding, the target's bytes.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import trained_tokenizers as trained
from safetensors.torch import load_file
from tiny import assert_same_bits

from adamms.checkpoint.vocabulary import Vocabulary

ALPHA = 0.3
EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def assert_rows(
    merged: torch.Tensor,
    own: torch.Tensor,
    donors: list[tuple[float, torch.Tensor, Vocabulary]],
    mine: Vocabulary,
) -> int:
    """Check every row of one tensor; return how many have a donor's part."""
    tokens = {index: token for token, index in mine.items()}
    mixed = 0
    for row in range(len(own)):
        token = tokens.get(row)
        found = [(share, tensor[ids[token]]) for share, tensor, ids in donors if token in ids]
        if not found:
            assert_same_bits(merged[row], own[row])
            continue
        mixed += 1
        value = own[row].double().numpy() * (1 - sum(share for share, _, _ in donors))
        for share, tensor, ids in donors:
            value = value + share * (tensor[ids[token]] if token in ids else own[row]).double().numpy()
        assert_same_bits(merged[row], torch.from_numpy(np.asarray(value)).to(own.dtype))
    return mixed


def merge(run, output: Path, *words: str) -> tuple[dict[str, torch.Tensor], dict[str, Any], str]:
    done = run("mode=merge", "model=custom", *words, f"merge.alpha={ALPHA}", f"output={output}")
    assert done.status == 0, done.err
    plan = json.loads((output / "plan.json").read_text())
    return load_file(output / "model/model.safetensors"), plan, done.out


@pytest.mark.parametrize("embeddings", ["tokens", "auto"])
def test_byte_level_tokenizers_of_different_order_size_and_padding(
    run, tmp_path: Path, embeddings: str
) -> None:
    mine = trained.byte_level_bpe(tmp_path / "target", trained.ONE, 300, ["<|image|>", "<|mine|>"])
    theirs = trained.byte_level_bpe(tmp_path / "donor", trained.OTHER, 310, ["<|theirs|>", "<|image|>"])
    target = tiny.save_qwen2_vl(tmp_path / "target", 1, vocab_size=320)
    donor = tiny.save_onevision(tmp_path / "donor", 2, vocab_size=352)
    merged, plan, out = merge(
        run,
        tmp_path / "out",
        *(f"model.target.path={target}", f"model.donors.a.path={donor}", f"mapper.embeddings={embeddings}"),
    )
    own, other = load_file(target / "model.safetensors"), load_file(donor / "model.safetensors")
    common = mine.keys() & theirs.keys()
    assert any(mine[token] != theirs[token] for token in common)
    assert {"Ġthe", "<|image|>", "<|end|>"} <= common
    records = {record["name"]: record for record in plan["tensors"]}
    for name in (EMBED, HEAD):
        donors = [(ALPHA, other[f"language_model.{name}"], theirs)]
        assert assert_rows(merged[name], own[name], donors, mine) == len(common)
        assert records[name]["rows_from_donor"] == {"a": len(common)}
        # In the table: matched, rows, kept.
        assert re.search(
            rf"^{re.escape(name)} +a +{len(common)} +320 +{320 - len(common)}$", out, re.MULTILINE
        )
    assert plan["aligned_by_token"] == [
        {"tensor": name, "donor": "a", "matched": len(common), "rows": 320} for name in (HEAD, EMBED)
    ]
    layers = sum(record["action"] == "merge" for record in plan["tensors"])
    assert plan["donor_coverage"][0]["tensors"] == layers
    kept = 2 * (320 - len(common)) * tiny.HIDDEN
    assert plan["donor_coverage"][0]["parameters"] == plan["coverage"][0]["parameters"] - kept


@pytest.mark.parametrize("decoder", [True, False])
def test_sentencepiece_tokenizers_with_added_tokens_and_a_tied_donor(
    run, tmp_path: Path, decoder: bool
) -> None:
    """A Llama that came with `tokenizer.model` alone, and one whose added tokens lie behind other pieces."""
    mine = trained.sentencepiece_model(tmp_path / "target", trained.ONE, 300)
    theirs = trained.sentencepiece_model(tmp_path / "donor", trained.OTHER, 330)
    vocabularies = [{piece: i for i, piece in enumerate(pieces)} for pieces in (mine, theirs)]
    for folder, added, vocabulary in zip(
        ("target", "donor"), (["<pad>", "<image>"], ["<image>", "<im_end>"]), vocabularies, strict=True
    ):
        tokens = {token: len(vocabulary) + i for i, token in enumerate(added)}
        trained.write_added_tokens(tmp_path / folder, tokens, decoder)
        vocabulary |= tokens
    target = tiny.write_model(
        tmp_path / "target",
        tiny.llama_state(1, vocabulary=len(mine) + 10, dtype=torch.bfloat16),
    )
    theirs_state = tiny.llama_state(2, vocabulary=len(theirs) + 2, dtype=torch.float16, head=False)
    donor = tiny.write_model(tmp_path / "donor", theirs_state, torch_zip=True)
    merged, _, _ = merge(run, tmp_path / "out", f"model.target.path={target}", f"model.donors.a.path={donor}")
    own = load_file(target / "model.safetensors")
    common = vocabularies[0].keys() & vocabularies[1].keys()
    assert {"▁the", "<0x41>", "<image>", "</s>"} <= common
    assert len(common) < len(mine)
    for name in (EMBED, HEAD):
        donors = [(ALPHA, theirs_state[EMBED], vocabularies[1])]
        assert assert_rows(merged[name], own[name], donors, vocabularies[0]) == len(common)


def test_two_donors_with_tokenizers_of_their_own(run, tmp_path: Path) -> None:
    """Where one donor lacks a token its share is the target's; where both do the row is the target's."""
    lines = {"target": trained.ONE, "a": trained.OTHER, "b": [*trained.ONE[:2], "a longer shared theatre"]}
    vocabularies = {
        name: trained.byte_level_bpe(tmp_path / name, text, 290 + 5 * i, [f"<|{name}|>"])
        for i, (name, text) in enumerate(lines.items())
    }
    states = {
        name: tiny.llama_state(i, vocabulary=300 + i, dtype=torch.bfloat16) for i, name in enumerate(lines)
    }
    for name, state in states.items():
        tiny.write_model(tmp_path / name, state)
    merged, plan, out = merge(
        run,
        tmp_path / "out",
        f"model.target.path={tmp_path / 'target'}",
        f"model.donors.a.path={tmp_path / 'a'}",
        f"+model.donors.b.path={tmp_path / 'b'}",
        "merge.weights={a: 1, b: 3}",
    )
    ours = vocabularies["target"]
    for name in (EMBED, HEAD):
        donors = [
            (ALPHA / 4, states["a"][name], vocabularies["a"]),
            (ALPHA * 0.75, states["b"][name], vocabularies["b"]),
        ]
        mixed = assert_rows(merged[name], states["target"][name], donors, ours)
        assert mixed == len(ours.keys() & (vocabularies["a"].keys() | vocabularies["b"].keys()))
    assert "What each donor has a part in" in out
    assert len(plan["aligned_by_token"]) == 4


def test_byte_level_and_sentencepiece_are_not_mistaken_for_each_other(run, tmp_path: Path) -> None:
    trained.byte_level_bpe(tmp_path / "target", trained.ONE, 300)
    trained.sentencepiece_model(tmp_path / "donor", trained.ONE, 301)
    for seed, name in enumerate(("target", "donor")):
        tiny.write_model(tmp_path / name, tiny.llama_state(seed, vocabulary=320))
    words = [
        "model=custom",
        *(f"model.{r}.path={tmp_path / n}" for r, n in (("target", "target"), ("donors.a", "donor"))),
    ]
    done = run("mode=plan", *words, f"output={tmp_path / 'out'}")
    assert done.status == 0, done.err
    records = {r["name"]: r for r in json.loads((tmp_path / "out/plan.json").read_text())["tensors"]}
    for name in (EMBED, HEAD):
        assert records[name]["action"] == "keep"
        assert records[name]["reason"] == "the target's tokens are byte-level, those of a are sentencepiece"
    done = run("mode=plan", *words, "mapper.embeddings=tokens", f"output={tmp_path / 'out'}")
    assert done.status == 2
    assert "mapper.embeddings=tokens: lm_head.weight of " in done.err
    assert "byte-level, those of a are sentencepiece; mapper.embeddings=keep keeps the target's" in done.err


def test_tokenizers_without_a_common_token(run, tmp_path: Path) -> None:
    for seed, (name, tokens) in enumerate({"target": "abc", "donor": "xyz"}.items()):
        tiny.write_model(tmp_path / name, tiny.llama_state(seed))
        tiny.write_tokenizer(tmp_path / name, list(tokens))
    words = [
        "model=custom",
        *(f"model.{r}.path={tmp_path / n}" for r, n in (("target", "target"), ("donors.a", "donor"))),
    ]
    done = run("mode=plan", *words, "mapper.embeddings=tokens")
    assert done.status == 2
    assert "no token in common with a" in done.err
    done = run("mode=plan", *words)
    assert done.status == 0
    assert "no token in common with a" in " ".join(done.out.split())
