"""Models that are broken themselves: told from their headers, before any work."""

import json
from collections.abc import Callable
from pathlib import Path

import headers
import pytest
import tiny
import torch
from command import pair
from safetensors.torch import load_file, save_file

from adamms.app.checks.broken_models import problems
from adamms.architectures.recognise import recognise
from adamms.checkpoint.reader import open_checkpoint
from adamms.mapping.specs.model import describe

FIXTURES = sorted(file.stem for file in headers.FIXTURES.glob("*.json"))
Change = Callable[[tiny.State, dict[str, object]], None]


def found(folder: Path) -> list[str]:
    checkpoint = open_checkpoint(folder)
    return list(problems(describe(checkpoint, recognise(checkpoint.config, folder))))


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return tiny.save_llama(tmp_path / "models/target")


def change(folder: Path, do: Change) -> None:
    state, config = load_file(folder / "model.safetensors"), json.loads((folder / "config.json").read_text())
    do(state, config)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))


def empty_norm(state: tiny.State, config: dict[str, object]) -> None:
    state["model.norm.weight"] = torch.empty(0)


def wrapped(state: tiny.State, config: dict[str, object]) -> None:
    for name in list(state):
        state[f"module.{name}"] = state.pop(name)


def rows_more(state: tiny.State, config: dict[str, object]) -> None:
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        state[name] = torch.cat([state[name], state[name][:1]])


def rows_less(state: tiny.State, config: dict[str, object]) -> None:
    state["model.embed_tokens.weight"] = state["model.embed_tokens.weight"][1:]


def no_embeddings(state: tiny.State, config: dict[str, object]) -> None:
    del state["model.embed_tokens.weight"]


def no_norm(state: tiny.State, config: dict[str, object]) -> None:
    del state["model.norm.weight"]


def no_head_by_default(state: tiny.State, config: dict[str, object]) -> None:
    """Llama's class has a head of its own unless config.json says otherwise."""
    del state["lm_head.weight"], config["tie_word_embeddings"]


BROKEN: dict[str, tuple[Change, str]] = {
    "empty": (empty_norm, "1 of 21 tensors are empty, first model.norm.weight of shape [0]. DeepSpeed"),
    "more rows": (rows_more, "lm_head.weight has 49 rows, vocab_size of config.json is 48"),
    "fewer rows": (rows_less, "model.embed_tokens.weight has 47 rows, vocab_size of config.json is 48"),
    "no embeddings": (no_embeddings, "incomplete: no embeddings. If it is whole"),
    "wrapped": (
        wrapped,
        "21 tensors have a prefix of what trained the model, first 'module.lm_head.weight' for",
    ),
    "no norm": (no_norm, "incomplete: no final norm. If it is whole"),
    "no head": (no_head_by_default, "no head (lm_head.weight) is stored, and LlamaForCausalLM has one"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_target_is_an_error_before_any_work(run, llama: Path, tmp_path: Path, name: str) -> None:
    do, message = BROKEN[name]
    tiny.save_llama(tmp_path / "models/donor", 1)
    change(llama, do)
    done = run("mode=plan", *pair(tmp_path / "models"), f"output={tmp_path / 'out'}")
    assert done.status == 2
    assert f"model.target: {llama}: " in done.err
    assert message in done.err


def test_a_broken_donor_is_a_warning(run, tmp_path: Path) -> None:
    """Its head is missing: the target's own is merged with its embeddings, as with every tied donor."""
    tiny.save_llama(tmp_path / "models/target")
    donor = tiny.save_llama(tmp_path / "models/donor", 1)
    change(donor, no_head_by_default)
    done = run("mode=plan", *pair(tmp_path / "models"), f"output={tmp_path / 'out'}")
    assert done.status == 0, done.err
    assert f"warning: model.donors.a: {donor}: incomplete: no head" in done.out + done.err


@pytest.mark.parametrize("name", FIXTURES)
def test_no_published_model_is_broken(name: str) -> None:
    assert list(problems(headers.published(name))) == []


def test_a_way_on_that_the_message_names(llama: Path) -> None:
    change(llama, no_head_by_default)
    assert len(found(llama)) == 1
    change(llama, lambda _, config: config.update(tie_word_embeddings=True))
    assert found(llama) == []
    change(llama, rows_less)
    assert len(found(llama)) == 1
    change(llama, lambda _, config: config.update(vocab_size=47))
    assert found(llama) == []
