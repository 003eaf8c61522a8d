"""The live engine: in place it answers exactly as the checkpoint written at the same alpha."""

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from askable_types import save_askable
from configured import configured
from configured_engines import transformers_engine
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_merges import interpolated, published
from tiny_types import relayout_experts
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer
from twins import twin

from adamms.data.example import Example
from adamms.engines.answer import texts
from adamms.engines.base import PromptFiles
from adamms.engines.transformers.live_model import before
from adamms.errors import AdammsError

SETTINGS = {"batch_size": 6, "max_new_tokens": 5, "accelerator": "cpu"}


def plain_inputs(processor: Any, example: Example) -> Any:
    content = [{"type": "image"}, {"type": "text", "text": example.question}]
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    with Image.open(example.image) as image:
        return processor(text=[prompt], images=[image], return_tensors="pt")


def plain_answers(folder: Path, examples: tuple[Example, ...]) -> dict[str, str]:
    """What a user of transformers gets, one example at a time, with nothing of ours but the folder."""
    model = AutoModelForImageTextToText.from_pretrained(folder)
    processor = AutoProcessor.from_pretrained(folder)
    answers = {}
    for example in examples:
        inputs = plain_inputs(processor, example)
        output = model.generate(**inputs, max_new_tokens=SETTINGS["max_new_tokens"], do_sample=False)
        new = output[:, inputs["input_ids"].shape[1] :]
        answers[example.id] = processor.batch_decode(new, skip_special_tokens=True)[0].strip()
    return answers


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> tuple[Example, ...]:
    return configured("data/digits", folder=tmp_path_factory.mktemp("digits"), per_task=2).load().examples


@pytest.mark.parametrize(("target", "donor"), [("target", "donor"), ("donor", "target")])
def test_live_model_answers_as_the_written_folder_in_plain_transformers(
    talkative: Path, examples: tuple[Example, ...], tmp_path: Path, target: str, donor: str
) -> None:
    with transformers_engine(talkative / target, **SETTINGS) as engine:
        for alpha in (0.5, 0.0):
            merged = interpolated(talkative / target, talkative / donor, alpha)
            engine.load(merged)
            live = texts(dict(engine.generate(examples)))
            assert live == plain_answers(published(merged, tmp_path / f"{alpha}"), examples)


def test_log_probabilities_are_those_of_a_plain_forward_pass(
    talkative: Path, examples: tuple[Example, ...]
) -> None:
    """float32 in another order of sums: 1e-4 is a hundred times what it makes here."""
    with transformers_engine(talkative / "target", **SETTINGS) as engine:
        silent = dict(engine.generate(examples))
    with transformers_engine(talkative / "target", **SETTINGS, logprobs=5) as engine:
        told = dict(engine.generate(examples))
    assert texts(told) == texts(silent)
    assert not any(answer.tokens for answer in silent.values())
    model = AutoModelForImageTextToText.from_pretrained(talkative / "target").eval()
    processor = AutoProcessor.from_pretrained(talkative / "target")
    for example in examples[:4]:
        inputs = plain_inputs(processor, example)
        start = inputs["input_ids"].shape[1]
        with torch.inference_mode():
            made = model.generate(
                **inputs, max_new_tokens=5, do_sample=False, return_dict_in_generate=True, output_logits=True
            )
        tokens = told[example.id].tokens
        assert len(tokens) == made.sequences.shape[1] - start
        for place, (token, logits) in enumerate(zip(tokens, made.logits, strict=True)):
            expected = logits[0].double().log_softmax(-1)
            name = int(made.sequences[0, start + place])
            assert token.logprob == pytest.approx(float(expected[name]), abs=1e-4)
            assert token.likeliest[0][0] == name  # greedy
            assert len(token.likeliest) == 5
            for other, value in token.likeliest:
                assert value == pytest.approx(float(expected[other]), abs=1e-4)


@pytest.mark.parametrize("model", ["target", "donor"])
def test_several_images_are_seen_in_their_order_and_at_their_places(
    talkative: Path, examples: tuple[Example, ...], model: str
) -> None:
    """In one batch with a question of one image, as plain transformers is asked each by itself."""
    one, two = (example.image for example in examples[:2])
    asked = {
        "before": Example("before", "t", "largest digit", one, more_images=(two,)),
        "turned": Example("turned", "t", "largest digit", two, more_images=(one,)),
        "placed": Example("placed", "t", "<image> largest <image> digit", one, more_images=(two,)),
        "single": Example("single", "t", "largest digit", one),
    }
    placed = [{"type": "image"}, *({"type": "text", "text": text} for text in (" largest ", " digit"))]
    placed.insert(2, {"type": "image"})
    question = {"type": "text", "text": "largest digit"}
    contents = {"single": [{"type": "image"}, question], "placed": placed}
    processor = AutoProcessor.from_pretrained(talkative / model)
    plain = AutoModelForImageTextToText.from_pretrained(talkative / model).eval()
    with transformers_engine(talkative / model, **SETTINGS, logprobs=3) as engine:
        told = dict(engine.generate(list(asked.values())))
    for name, example in asked.items():
        content = contents.get(name, [{"type": "image"}, {"type": "image"}, question])
        prompt = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        pixels = [[Image.open(file).convert("RGB") for file in example.images]]
        with torch.inference_mode():
            inputs = processor(text=[prompt], images=pixels, return_tensors="pt")
            expected = plain(**inputs).logits[0, -1].double().log_softmax(-1)
        first = told[name].tokens[0]
        assert [value for _, value in first.likeliest] == pytest.approx(
            [float(expected[token]) for token, _ in first.likeliest], abs=1e-4
        )
    assert told["before"].tokens[0].likeliest != told["turned"].tokens[0].likeliest


def test_swapping_back_gives_the_first_answers_and_alphas_differ(
    talkative: Path, examples: tuple[Example, ...]
) -> None:
    with transformers_engine(talkative / "target", **SETTINGS) as engine:
        untouched = dict(engine.generate(examples))
        engine.load(interpolated(talkative / "target", talkative / "donor", 0.6))
        other = dict(engine.generate(examples))
        engine.load(interpolated(talkative / "target", talkative / "donor", 0.0))
        assert dict(engine.generate(examples)) == untouched
        assert other != untouched
        assert len(set(untouched.values())) > 3  # else equal answers would say nothing


def test_live_parameters_are_the_merged_tensors_and_the_vision_tower_stays(talkative: Path) -> None:
    merged = interpolated(talkative / "target", talkative / "donor", 0.3)
    with transformers_engine(talkative / "target", **SETTINGS) as engine:
        engine.load(merged)
        for name, tensor in merged.tensors():
            assert torch.equal(engine.live.weights.views[name].detach(), tensor), name
        assert set(engine.live.weights.views) == set(merged.target.tensors)


def test_answers_do_not_depend_on_the_batch(talkative: Path, examples: tuple[Example, ...]) -> None:
    with transformers_engine(talkative / "target", **SETTINGS) as engine:
        together = dict(engine.generate(examples))
        alone: dict[str, str] = {}
        for example in examples:
            alone |= dict(engine.generate((example,)))
    assert alone == together


def test_answers_do_not_depend_on_how_many_inputs_are_kept(
    talkative: Path, examples: tuple[Example, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {}
    for room in (0, 1e-5, 2):  # none, some of the batches, all
        with transformers_engine(talkative / "target", **SETTINGS, input_cache_gb=room) as engine:
            prepared = []
            plain = engine.live.inputs
            monkeypatch.setattr(engine.live, "inputs", lambda batch: prepared.append(batch) or plain(batch))  # noqa: B023
            given[room] = [dict(engine.generate(examples)) for _ in range(2)]
            assert engine._kept.nbytes <= room * 1e9
            assert len(prepared) == {0: 6, 2: 3}.get(room, len(prepared))
    assert given[0] == given[1e-5] == given[2]


@pytest.mark.parametrize("broken", ["inputs", "respond"])
def test_whatever_is_raised_names_the_examples(
    talkative: Path, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = [Example(str(i), "t", "largest digit", where=f"data.jsonl line {i}") for i in range(8)]
    with transformers_engine(talkative / "target", **SETTINGS) as engine:
        plain = getattr(engine.live, broken)

        def fail(given: Any) -> Any:
            if broken == "respond" or questions[7] in given:
                raise IndexError("index 9\nis out of range")
            return plain(given)

        monkeypatch.setattr(engine.live, broken, fail)
        with pytest.raises(AdammsError) as caught:
            dict(engine.generate(questions))
    first = "; ".join(f"data.jsonl line {i}" for i in range(5)) + " and 1 more"
    name = {"inputs": "data.jsonl line 7", "respond": first}[broken]
    assert str(caught.value) == f"{name}: IndexError: index 9 is out of range"


def test_out_of_memory_says_what_needs_less(talkative: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(inputs: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with transformers_engine(talkative / "target", **SETTINGS) as engine:
        monkeypatch.setattr(engine.live, "respond", fail)
        with pytest.raises(
            AdammsError, match=r"example '0': OutOfMemoryError: CUDA out of memory; engine\.batch_size=1"
        ):
            dict(engine.generate([Example("0", "t", "largest digit")]))


def test_an_answer_ends_before_a_stop_text(talkative: Path, examples: tuple[Example, ...]) -> None:
    with transformers_engine(talkative / "target", **SETTINGS) as engine:
        whole = texts(dict(engine.generate(examples)))
    words = [word for text in whole.values() for word in text.split()[1:]]
    stop = max(sorted(set(words)), key=words.count)
    expected = {id: before([stop], text).strip() for id, text in whole.items()}
    assert expected != whole
    with transformers_engine(talkative / "target", **SETTINGS, stop=[stop]) as engine:
        assert texts(dict(engine.generate(examples))) == expected


def test_an_answer_is_cut_that_would_have_gone_on(talkative: Path, examples: tuple[Example, ...]) -> None:
    """A longer limit shows it; an answer that a stop text ends is whole."""
    found = {}
    for limit in (2, 8):
        with transformers_engine(talkative / "target", **SETTINGS | {"max_new_tokens": limit}) as engine:
            found[limit] = dict(engine.generate(examples))
    goes_on = {id: texts(found[8])[id] != text for id, text in texts(found[2]).items()}
    assert any(goes_on.values())
    assert all(found[2][id].cut for id, more in goes_on.items() if more)
    stop = next(texts(found[8])[id].split()[0] for id, more in goes_on.items() if more)
    with transformers_engine(talkative / "target", **SETTINGS | {"max_new_tokens": 8}, stop=[stop]) as engine:
        stopped = dict(engine.generate(examples))
    ended = [id for id, answer in found[8].items() if stop in answer.text]
    assert ended
    assert not any(stopped[id].cut for id in ended)


def test_an_answer_that_ends_by_itself_is_not_cut(talkative: Path) -> None:
    """The end is the last token that is allowed."""
    with transformers_engine(talkative / "target", **SETTINGS) as engine:
        model = engine.live
        end = model.ends[0]
        assert model._is_cut("a", [end + 1, end + 1])
        assert not model._is_cut("a", [end + 1, end])


def test_text_only_examples_in_order(talkative: Path) -> None:
    questions = tuple(Example(str(i), "t", "largest digit") for i in range(8))
    with transformers_engine(talkative / "target", **SETTINGS) as engine:
        answers = list(engine.generate(questions))
    assert [example for example, _ in answers] == [str(i) for i in range(8)]
    assert len({answer for _, answer in answers}) == 1


def plain_text_answers(folder: Path, examples: tuple[Example, ...]) -> dict[str, str]:
    """The same of a model of text alone."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    answers = {}
    for example in examples:
        content = [{"type": "text", "text": example.question}]
        inputs = tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        inputs.pop("token_type_ids", None)
        new = model.generate(**inputs, max_new_tokens=SETTINGS["max_new_tokens"], do_sample=False)
        text = tokenizer.decode(new[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        answers[example.id] = text.strip()
    return answers


@pytest.mark.parametrize("model_type", ["qwen3_vl_moe", "deepseek_v3"])
def test_experts_live_answer_as_the_written_folder(
    model_type: str, examples: tuple[Example, ...], tmp_path: Path
) -> None:
    """A model of images in the hub's layout, and one of text alone, with an expert in each tensor."""
    target, donor = (
        save_askable(model_type, tmp_path / name, i) for i, name in enumerate(("target", "donor"))
    )
    if model_type == "qwen3_vl_moe":
        for folder in (target, donor):
            relayout_experts(folder, fused=True, transposed=True)
        plain, asked = plain_answers, examples[:6]
    else:
        plain, asked = plain_text_answers, tuple(replace(example, image=None) for example in examples[:8:2])
    seen = []
    with transformers_engine(target, **SETTINGS) as engine:
        for alpha in (0.0, 0.5, 0.0):
            merged = twin(target, donor, alpha)
            engine.load(merged)
            live = texts(dict(engine.generate(asked)))
            assert live == plain(published(merged, tmp_path / f"{len(seen)}"), asked)
            seen.append(live)
    assert seen[0] == seen[2] != seen[1]


def test_a_recipe_from_another_process_gives_the_same_model(
    talkative: Path, examples: tuple[Example, ...]
) -> None:
    merged = interpolated(talkative / "target", talkative / "donor", 0.4)
    with transformers_engine(talkative / "target", **SETTINGS) as engine:
        engine.load(merged)
        first = dict(engine.generate(examples))
        engine.load(pickle.loads(pickle.dumps(merged)))
        assert dict(engine.generate(examples)) == first


def test_a_thought_that_the_prompt_begins_is_a_part_of_the_answer(
    talkative: Path, examples: tuple[Example, ...], tmp_path: Path
) -> None:
    """Models whose template ends in <think> do not repeat it: without it a cut thought would be an answer."""
    own = (talkative / "target/chat_template.jinja").read_text()
    (tmp_path / "thinks.jinja").write_text(own + "{{- '<think>\\n' }}")
    files = PromptFiles(chat_template=str(tmp_path / "thinks.jinja"))
    with transformers_engine(talkative / "target", files, **SETTINGS) as engine:
        given = dict(engine.generate(examples[:3]))
    assert all(answer.text.startswith("<think>") and answer.ends_in_thought for answer in given.values())


def test_what_cannot_be_loaded_is_named(talkative: Path, tmp_path: Path) -> None:
    with transformers_engine(talkative / "target", **SETTINGS) as engine:
        foreign = interpolated(talkative / "donor", talkative / "target", 0.3)
        with pytest.raises(AdammsError, match="no parameter that is stored as"):
            engine.load(foreign)


def test_weights_that_do_not_fit_are_named_with_both_shapes(talkative: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(talkative / "target", tmp_path / "wide")
    config = json.loads((folder / "config.json").read_text())
    inside = config.get("text_config", config)
    before = inside["intermediate_size"]
    for part in (config, config.get("text_config", {})):
        if "intermediate_size" in part:
            part["intermediate_size"] = 2 * before
    (folder / "config.json").write_text(json.dumps(config))
    hidden = inside["hidden_size"]
    with pytest.raises(
        AdammsError,
        match=rf"wide: \d+ of its weights have shapes that do not fit Qwen2VLForConditionalGeneration; .*: "
        rf"model\.language_model\.layers\.0\.mlp\.down_proj\.weight "
        rf"\[{hidden}, {before}\] for \[{hidden}, {2 * before}\]",
    ):
        next(transformers_engine(folder, **SETTINGS).generate([Example("0", "t", "largest digit")]))


def test_missing_weights_are_named_and_tied_ones_are_not_missed(talkative: Path, tmp_path: Path) -> None:
    whole = load_file(talkative / "target/model.safetensors")
    for name, left_out in {
        "holes": ("model.layers.0.mlp.up_proj.weight", "visual.merger.mlp.0.bias"),
        "headless": ("lm_head.weight",),
    }.items():
        folder = shutil.copytree(talkative / "target", tmp_path / name)
        rest = {key: tensor for key, tensor in whole.items() if key not in left_out}
        assert len(rest) == len(whole) - len(left_out)
        save_file(rest, folder / "model.safetensors", metadata={"format": "pt"})
    question = [Example("0", "t", "largest digit")]
    with pytest.raises(
        AdammsError,
        match=r"holes: its files lack weights that Qwen2VLForConditionalGeneration has, 2 of them: "
        r"model\.language_model\.layers\.0\.mlp\.up_proj\.weight, model\.visual\.merger\.mlp\.0\.bias$",
    ):
        next(transformers_engine(tmp_path / "holes", **SETTINGS).generate(question))
    with pytest.raises(AdammsError, match=r"lack weights .* has, 1 of them: lm_head\.weight$"):
        next(transformers_engine(tmp_path / "headless", **SETTINGS).generate(question))
    config = json.loads((tmp_path / "headless/config.json").read_text())
    config["tie_word_embeddings"] = config["text_config"]["tie_word_embeddings"] = True
    (tmp_path / "headless/config.json").write_text(json.dumps(config))
    assert dict(transformers_engine(tmp_path / "headless", **SETTINGS).generate(question))
