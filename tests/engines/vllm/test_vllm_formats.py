"""Formats that vLLM has and transformers lacks: tiny merged checkpoints load there, answer, are swapped.


At alpha=1 the merged model's language model is the donor's, which transformers runs: their answers to text
are compared. An engine takes some 20 s to start, so each format has one, and InternVL a search's besides.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import remote_formats
import torch
from answering import LINEAR_ATTENTION, make_answerable, make_louder
from askable_types import save_askable
from configured_engines import vllm_engine
from families import FAMILIES, save_family, save_language, save_model
from family_models import phi3
from PIL import Image
from remote_code import PHI3_V_LANGUAGE, PHI3_V_VISION, make_runnable
from safetensors.torch import load_file
from test_vllm import ask, real
from tiny import write_state
from tiny_merges import interpolated, published
from tiny_types import relayout_experts, save_tiny

from adamms.data.example import Example
from adamms.engines.prompt import load_processor, prompt, reads_parts
from adamms.engines.vllm.engine import VllmEngine
from adamms.engines.vllm.process import in_words
from adamms.errors import AdammsError

SETTINGS = {"max_new_tokens": 6, "cpu_kv_cache_gb": 1}
TEXTS = ("largest digit of the red", "sum of the blue", "colour of the smallest digit")


def texts() -> tuple[Example, ...]:
    return tuple(Example(str(i), "t", text) for i, text in enumerate(TEXTS))


@torch.no_grad()
def plain_tokens(language: Path, tokenizer: Path) -> list[tuple[int, ...]]:
    """What transformers generates with the language model alone, an end token included."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, words = (
        AutoModelForCausalLM.from_pretrained(language).eval(),
        AutoTokenizer.from_pretrained(tokenizer),
    )
    found = []
    for text in TEXTS:
        ids = words.apply_chat_template(
            [{"role": "user", "content": text}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        output = model.generate(**ids, max_new_tokens=SETTINGS["max_new_tokens"], do_sample=False)
        found.append(tuple(output[0, ids["input_ids"].shape[1] :].tolist()))
    return found


def tokens(engine: VllmEngine, examples: tuple[Example, ...]) -> list[tuple[int, ...]]:
    answers = ask(engine, examples)
    return [answers[example.id].ids for example in examples]


def models(name: str, folder: Path) -> tuple[Path, Path]:
    """Target in the format, donor a plain language model of its kind."""
    target = make_runnable(name, save_family(name, folder / "target", seed=1))
    return target, save_language(FAMILIES[name].language, folder / "donor", seed=7)


def phi3_v(folder: Path) -> tuple[Path, Path]:
    """Phi-3-vision in the sizes that vLLM has in its code, and a Phi-3 of as many words."""
    plain = [save_model(lambda: phi3(**PHI3_V_LANGUAGE), folder / name, i) for i, name in enumerate("ab")]
    remote = replace(remote_formats.phi3_v, vision=PHI3_V_VISION)
    write_state(remote.renamed(load_file(plain[0] / "model.safetensors")), folder / "target")
    (folder / "target/config.json").write_text(json.dumps(remote.config))
    return make_runnable("phi3_v", folder / "target"), plain[1]


def pictures(folder: Path) -> tuple[Example, ...]:
    """Questions on images of several sizes and of noise."""
    examples = []
    for i, size in enumerate([(32, 32), (70, 30), (30, 60)]):
        pixels = torch.randint(256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(i))
        Image.fromarray(pixels.to(torch.uint8).numpy()).save(folder / f"{i}.png")
        examples.append(Example(f"image {i}", "t", TEXTS[0], folder / f"{i}.png"))
    return tuple(examples)


@real
@pytest.mark.parametrize(
    "make",
    [partial(models, "internvl_qwen2"), partial(models, "minicpm_v"), phi3_v],
    ids=["internvl_qwen2", "minicpm_v", "phi3_v"],
)
def test_a_merged_checkpoint_answers_and_is_swapped_in_place(
    make: Callable[[Path], tuple[Path, Path]], tmp_path: Path
) -> None:
    """Started on the checkpoint merged at 0.6, it answers as later, brought back to 0.6 in place."""
    target, donor = make(tmp_path)
    merged = published(interpolated(target, donor, 0.6), tmp_path / "merged")
    examples = (*texts(), *pictures(tmp_path))
    with vllm_engine(merged, **SETTINGS, trust_remote_code=True) as engine:
        fresh = tokens(engine, examples)
        assert len(set(fresh)) > len(TEXTS)  # else equal answers would say nothing
        engine.load(interpolated(target, donor, 1.0))
        assert tokens(engine, texts()) == plain_tokens(donor, target)
        engine.load(interpolated(target, donor, 0.0))
        assert tokens(engine, examples) != fresh
        engine.load(interpolated(target, donor, 0.6))
        assert tokens(engine, examples) == fresh


def experts(kind: str, language: str, folder: Path, **text: int) -> tuple[Path, Path]:
    """A target with experts, in files as the hub has them, and its language model with a little noise."""
    target = save_tiny(kind, folder / "target", **text)
    if kind == "qwen3_vl_moe":
        relayout_experts(target, fused=True, transposed=True)
    return make_answerable(target), make_louder(save_tiny(language, folder / "donor", noise=1, **text))


@real
@pytest.mark.parametrize(
    "make",
    [
        partial(experts, "qwen3_vl_moe", "qwen3_moe", mlp_only_layers=[1], decoder_sparse_step=1),
        partial(experts, "qwen3_5_moe", "qwen3_5_moe_text", **LINEAR_ATTENTION),
    ],
    ids=["qwen3_vl_moe", "qwen3_5_moe"],
)
def test_experts_and_linear_attention_are_swapped_in_place(
    make: Callable[[Path], tuple[Path, Path]], tmp_path: Path
) -> None:
    target, donor = make(tmp_path)
    merged = published(interpolated(target, donor, 0.6), tmp_path / "merged")
    examples = (*texts(), *pictures(tmp_path))
    with vllm_engine(merged, **SETTINGS) as engine:
        fresh = tokens(engine, examples)
        assert len(set(fresh)) > len(TEXTS)
        sums = engine.checksums()
        engine.load(interpolated(target, donor, 0.0))
        assert tokens(engine, examples) != fresh
        assert engine.checksums() != sums
        engine.load(interpolated(target, donor, 0.6))
        assert tokens(engine, examples) == fresh
        assert engine.checksums() == sums


# The sizes for which vLLM has latent attention, and what it wants said of the router.
LATENT = {"kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "head_dim": 64}
ROUTER = {"topk_method": "noaux_tc", "norm_topk_prob": True, "scoring_func": "sigmoid", "moe_layer_freq": 1}


@real
def test_latent_attention_answers_as_in_transformers(tmp_path: Path) -> None:
    """vLLM's rotary kernel for CPUs turns its queries wrongly."""
    target = make_louder(save_askable("deepseek_v3", tmp_path, 0, **LATENT), torch.float32)
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(config | ROUTER))
    with vllm_engine(target, **SETTINGS) as engine:
        found = tokens(engine, texts())
    assert found == plain_tokens(target, target)
    assert len(set(found)) == len(TEXTS)


@real
def test_internvl_goes_through_the_whole_search(run: Any, tmp_path: Path) -> None:
    """InternLM2's grouped wqkv as a target, images of several tiles, a template that joins texts."""
    target, donor = models("internvl_internlm2", tmp_path)
    examples = (*texts(), *pictures(tmp_path))
    lines = [{"id": e.id, "task": e.task, "question": e.question} for e in examples]
    for line, example in zip(lines, examples, strict=True):
        line |= {"image": str(example.image)} if example.image else {}
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, lines)))
    done = run(
        *("model=custom", f"model.target.path={target}", f"model.donors.a.path={donor}"),
        *("engine=vllm", "engine.trust_remote_code=true", "evaluate=none"),
        *("data=jsonl", f"data.path={tmp_path / 'data.jsonl'}"),
        *(f"engine.{key}={value}" for key, value in SETTINGS.items()),
        *("search.grid=[0.0,0.3,0.6,0.8]", f"output={tmp_path / 'out'}"),
    )
    assert done.status == 0, done.err
    assert f"from vllm import LLM; model = LLM('{tmp_path}/out/model', trust_remote_code=True)" in done.out
    kept = {
        r["id"]: r["answers"]
        for r in map(json.loads, (tmp_path / "out/answers.jsonl").read_text().splitlines())
    }
    assert len({tuple(kept[e.id][alpha] for e in examples) for alpha in ("0", "0.3", "0.6", "0.8")}) == 4
    winner = json.loads((tmp_path / "out/selection.json").read_text())["overall"]["alpha"]
    merged = tmp_path / "out/model"
    assert (merged / "configuration_internvl_chat.py").is_file()
    with vllm_engine(merged, **SETTINGS, trust_remote_code=True) as engine:
        fresh = ask(engine, examples)
        assert {id: reply.answer.text for id, reply in fresh.items()} == {
            id: kept[id][f"{winner:g}"] for id in kept
        }
        assert len({fresh[f"image {i}"].ids for i in range(3)}) == 3
        engine.load(interpolated(target, donor, 1.0))
        assert tokens(engine, texts()) == plain_tokens(donor, target)


def test_without_trust_the_setting_is_named(tmp_path: Path) -> None:
    target, _ = models("minicpm_v", tmp_path)
    with pytest.raises(
        AdammsError, match=r"target: it needs Python files of its own.*trust_remote_code=true"
    ):
        load_processor(target)
    vllms = ValueError(
        "The repository contains custom code. Please pass the argument `trust_remote_code=True`"
    )
    assert "set engine.trust_remote_code=true" in in_words(vllms)


def test_a_template_that_joins_texts_gets_the_mark_of_an_image(tmp_path: Path) -> None:
    words = load_processor(models("minicpm_v", tmp_path)[0], trust_remote_code=True)
    assert not reads_parts(words)
    picture = Example("0", "t", TEXTS[0], Path("image.png"))
    assert prompt(words, picture, "<image>") == f"user <image>\n{TEXTS[0]}\nassistant "
    assert prompt(words, texts()[0], "<image>") == f"user {TEXTS[0]}\nassistant "


def test_engine_transformers_is_refused_before_any_work(run: Any, tmp_path: Path) -> None:
    target, donor = models("minicpm_v", tmp_path)
    (tmp_path / "data.jsonl").write_text(json.dumps({"id": "0", "question": TEXTS[0]}))
    done = run(
        *("model=custom", f"model.target.path={target}", f"model.donors.a.path={donor}"),
        *("data=jsonl", f"data.path={tmp_path / 'data.jsonl'}", f"output={tmp_path / 'out'}"),
    )
    assert done.status == 2
    assert f"{target} (minicpm_v) cannot be run with engine=transformers." in done.err
    assert "engine=vllm engine.trust_remote_code=true runs them" in done.err
    assert not (tmp_path / "out").exists()
