"""Native mPLUG-Owl2 computes what the published implementation does: logits, cache, batches, modalities.

The reference (reference_mplug_owl2.py) is float64 and shares no code with the model. The weights give logits
a standard deviation of about 1; the model runs in float32 and has to agree to 1e-4 everywhere.
"""

from typing import Any

import mplug_owl2_reference as reference
import pytest
import tiny_mplug_owl2 as tiny
import torch
from tiny_mplug_owl2 import Prompt, prompt
from torch import Tensor

from adamms.errors import AdammsError
from adamms.models.mplug_owl2.configuration import MPLUGOwl2Config
from adamms.models.mplug_owl2.modeling import MPLUGOwl2LlamaForCausalLM

TOLERANCE = 1e-4
NEW = 6  # tokens that generation is compared over


PROMPTS = {
    "text": prompt([1, 3, 20, 31, 44, 4]),
    "one token": prompt([9]),
    "image": prompt([1, 3], 1, [50, 61, 4], seed=1),
    "image first": prompt(1, [1, 7, 8, 4], seed=2),
    "image last": prompt([1, 3, 70], 1, seed=3),
    "two images": prompt([1, 3], 1, [12, 13], 1, [14, 15, 16, 4], seed=4),
    "images together": prompt([1], 2, [5, 6], seed=5),
}


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return tiny.config_json()


@pytest.fixture(scope="module")
def state(config: dict[str, Any]) -> dict[str, Tensor]:
    return tiny.state(config)


def make(
    config: dict[str, Any], state: dict[str, Tensor], attention: str = "sdpa"
) -> MPLUGOwl2LlamaForCausalLM:
    model = MPLUGOwl2LlamaForCausalLM._from_config(
        MPLUGOwl2Config.from_dict(config), attn_implementation=attention
    )
    model.load_state_dict(state)
    model.generation_config.eos_token_id = None  # so that all generate NEW tokens
    return model.eval()


@pytest.fixture(scope="module")
def model(config: dict[str, Any], state: dict[str, Tensor]) -> MPLUGOwl2LlamaForCausalLM:
    return make(config, state)


def inputs(*prompts: Prompt) -> dict[str, Tensor]:
    """A left-padded batch."""
    longest = max(len(prompt.ids) for prompt in prompts)

    def padded(rows: list[list[int]]) -> Tensor:
        return torch.tensor([[0] * (longest - len(row)) + row for row in rows])

    batch = {
        "input_ids": padded([prompt.ids for prompt in prompts]),
        "token_type_ids": padded([prompt.types for prompt in prompts]),
        "attention_mask": padded([[1] * len(prompt.ids) for prompt in prompts]),
    }
    pixels = [prompt.pixels for prompt in prompts if prompt.pixels is not None]
    return batch | ({"pixel_values": torch.cat(pixels)} if pixels else {})


def largest_difference(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    return float((found.double() - expected).abs().max())


def generated(config: dict[str, Any], state: dict[str, Tensor], prompt: Prompt) -> list[int]:
    """Greedy by the reference, the whole sequence anew for every token; what is generated is text."""
    ids = list(prompt.ids)
    for _ in range(NEW):
        types = prompt.types + [0] * (len(ids) - len(prompt.ids))
        ids.append(int(reference.logits(state, config, ids, types, prompt.pixels)[-1].argmax()))
    return ids[len(prompt.ids) :]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", PROMPTS)
@torch.no_grad()
def test_logits_are_the_reference_s(config, state, name: str, attention: str) -> None:
    given = PROMPTS[name]
    expected = reference.logits(state, config, given.ids, given.types, given.pixels)
    assert 0.5 < expected.std() < 2
    found = make(config, state, attention)(**inputs(given)).logits[0]
    assert largest_difference(found, expected) < TOLERANCE


@pytest.mark.parametrize("name", ["text", "image", "image last", "two images"])
@torch.no_grad()
def test_logits_with_a_cache_are_the_reference_s(config, state, model, name: str) -> None:
    """The prompt at once, then 5 tokens one by one and 2 at once."""
    given, rest = PROMPTS[name], [33, 71, 5, 90, 16, 27, 48]
    types = given.types + [0] * len(rest)
    expected = reference.logits(state, config, given.ids + rest, types, given.pixels)
    out = model(**inputs(given), use_cache=True)
    found = [out.logits[0]]
    for step in ([33], [71], [5], [90], [16], [27, 48]):
        out = model(input_ids=torch.tensor([step]), past_key_values=out.past_key_values, use_cache=True)
        found.append(out.logits[0])
    assert largest_difference(torch.cat(found), expected) < TOLERANCE


@torch.no_grad()
def test_every_example_of_a_left_padded_batch_is_as_if_alone(config, state, model) -> None:
    """Text only, one and two images, and different lengths in one batch; then with a cache."""
    prompts = tuple(PROMPTS.values())
    batch = inputs(*prompts)
    out = model(**batch, use_cache=True)
    steps = torch.tensor([[11], [22], [33], [44], [55], [66], [77]])
    mask = torch.cat([batch["attention_mask"], torch.ones_like(steps)], dim=1)
    after = model(
        input_ids=steps,
        token_type_ids=torch.zeros_like(steps),
        attention_mask=mask,
        past_key_values=out.past_key_values,
    )
    for row, given in enumerate(prompts):
        step = [int(steps[row])]
        expected = reference.logits(state, config, given.ids + step, [*given.types, 0], given.pixels)
        found = torch.cat([out.logits[row, -len(given.ids) :], after.logits[row]])
        assert largest_difference(found, expected) < TOLERANCE


@pytest.mark.parametrize("cached", [True, False])
def test_generation_in_a_batch_is_the_reference_s(config, state, model, cached: bool) -> None:
    """Of the prompt that ends with an image, too, every generated token is text."""
    prompts = tuple(PROMPTS.values())
    batch = inputs(*prompts)
    found = model.generate(**batch, do_sample=False, max_new_tokens=NEW, use_cache=cached, pad_token_id=0)
    expected = [generated(config, state, given) for given in prompts]
    assert found[:, batch["input_ids"].shape[1] :].tolist() == expected
    assert len({tuple(row) for row in expected}) > 3  # else equality would say little


def test_generation_stops_at_the_end_token(config, state, model) -> None:
    given = PROMPTS["image"]
    expected = generated(config, state, given)
    found = model.generate(
        **inputs(given), do_sample=False, max_new_tokens=NEW, eos_token_id=expected[2], pad_token_id=0
    )
    assert found[0, len(given.ids) :].tolist() == expected[: expected.index(expected[2]) + 1]


def test_beams_see_the_images_of_their_example_in_order(config, state, model) -> None:
    """The score of what is found is the mean log-probability that the reference gives it."""
    prompts = (PROMPTS["two images"], PROMPTS["text"], PROMPTS["image"])
    batch = inputs(*prompts)
    out = model.generate(
        **batch,
        do_sample=False,
        num_beams=3,
        max_new_tokens=NEW,
        pad_token_id=0,
        output_scores=True,
        return_dict_in_generate=True,
    )
    for given, row, score in zip(prompts, out.sequences, out.sequences_scores, strict=True):
        new = row[batch["input_ids"].shape[1] :].tolist()
        ids, types = given.ids + new[:-1], given.types + [0] * (NEW - 1)
        log_probabilities = reference.logits(state, config, ids, types, given.pixels).log_softmax(-1)
        steps = log_probabilities[-NEW:].gather(1, torch.tensor(new)[:, None])
        assert float(score) == pytest.approx(float(steps.mean()), abs=TOLERANCE)


def test_generation_with_a_static_cache(config, state, model) -> None:
    prompts = (PROMPTS["two images"], PROMPTS["text"], PROMPTS["image last"])
    found = model.generate(
        **inputs(*prompts),
        do_sample=False,
        max_new_tokens=NEW,
        pad_token_id=0,
        cache_implementation="static",
        disable_compile=True,
    )
    assert found[:, -NEW:].tolist() == [generated(config, state, given) for given in prompts]


def test_position_ids_count_what_is_not_padding(model) -> None:
    """Every image position counts, too; padding does not."""
    seen: list[Tensor] = []

    def record(module: torch.nn.Module, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        seen.append(options["position_ids"])

    handle = model.model.rotary_emb.register_forward_pre_hook(record, with_kwargs=True)
    batch = inputs(PROMPTS["text"], PROMPTS["image"])
    with torch.no_grad():
        model(**batch)
        model.generate(**batch, max_new_tokens=3, do_sample=False, pad_token_id=0)
    handle.remove()
    long, short = len(PROMPTS["image"].ids), len(PROMPTS["text"].ids)
    expected = [[0] * (long - short) + list(range(short)), list(range(long))]
    assert seen[0].tolist() == expected
    assert seen[1].tolist() == expected
    assert [step.tolist() for step in seen[2:]] == [[[short], [long]], [[short + 1], [long + 1]]]


def changed(state: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """The state with other values in the tensors whose name has `part`."""
    return {name: -tensor if part in name else tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    "part",
    [
        "k_proj.multiway.1",
        "v_proj.multiway.1",
        "input_layernorm.multiway.1",
        "attention_layernorm.multiway.1",
    ],
)
@torch.no_grad()
def test_the_image_way_is_for_image_tokens_only(config, state, model, part: str) -> None:
    other = make(config, changed(state, part))
    assert sum(part in name for name in state) == config["num_hidden_layers"]
    text, image = PROMPTS["text"], PROMPTS["image"]
    assert torch.equal(other(**inputs(text)).logits, model(**inputs(text)).logits)
    difference = (other(**inputs(image)).logits - model(**inputs(image)).logits)[0].abs().amax(-1)
    first = image.types.index(1)
    assert not difference[:first].any()  # causal: what stands before the image knows nothing of it
    assert (difference[first + 1 :] > 1e-3).all()


@pytest.mark.parametrize("part", ["k_proj.multiway.0", "v_proj.multiway.0", "layernorm.multiway.0"])
@torch.no_grad()
def test_the_text_way_is_for_text_tokens_only(config, state, model, part: str) -> None:
    """An image before all text is read by the other way alone."""
    other = make(config, changed(state, part))
    given = PROMPTS["image first"]
    difference = (other(**inputs(given)).logits - model(**inputs(given)).logits)[0].abs().amax(-1)
    assert not (difference[: tiny.IMAGE_LENGTH] > 1e-5).any()
    assert (difference[tiny.IMAGE_LENGTH :] > 1e-3).all()


@torch.no_grad()
def test_images_go_to_their_places_in_order(model) -> None:
    one, two = prompt([1, 3], 1, [50, 4], seed=1), prompt([1, 3], 1, [50, 4], seed=2)
    batch = inputs(one, two)
    expected = torch.cat([model(**inputs(one)).logits, model(**inputs(two)).logits])
    assert (expected[0] - expected[1]).abs().max() > 0.1
    assert largest_difference(model(**batch).logits, expected.double()) < TOLERANCE


def test_embeddings_can_be_given_instead_of_ids(model) -> None:
    batch = inputs(PROMPTS["image"])
    embedded = model.get_input_embeddings()(batch["input_ids"])
    with torch.no_grad():
        expected = model(**batch).logits
        ids = batch.pop("input_ids")
        assert torch.equal(model(inputs_embeds=embedded, **batch).logits, expected)
        with pytest.raises(AdammsError, match="exactly one of input_ids and inputs_embeds"):
            model(input_ids=ids, inputs_embeds=embedded)


def test_images_without_places_and_places_without_images_are_errors(model) -> None:
    batch = inputs(PROMPTS["two images"])
    with pytest.raises(AdammsError, match="10 places for 1 images of 5 embeddings"):
        model(**{**batch, "pixel_values": batch["pixel_values"][:1]})
    with pytest.raises(AdammsError, match="10 places for 0 images"):
        model(input_ids=batch["input_ids"], token_type_ids=batch["token_type_ids"])
    with pytest.raises(AdammsError, match="0 places for 2 images"):
        model(input_ids=batch["input_ids"], pixel_values=batch["pixel_values"])


def test_loss_and_gradients_reach_both_ways(config, state) -> None:
    model = make(config, state)
    batch = inputs(PROMPTS["image"])
    model(**batch, labels=batch["input_ids"]).loss.backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []


def test_hidden_states_and_attentions_can_be_asked_for(config, state) -> None:
    batch = inputs(PROMPTS["image"])
    length = batch["input_ids"].shape[1]
    with torch.no_grad():
        out = make(config, state, "eager")(**batch, output_hidden_states=True, output_attentions=True)
    assert len(out.hidden_states) == tiny.LAYERS + 1
    assert [tuple(a.shape) for a in out.attentions] == [(1, tiny.HEADS, length, length)] * tiny.LAYERS
