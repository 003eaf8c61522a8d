"""CogVLM against an independent reference: logits, generation, and which expert acts on which token.

Weights are drawn so that logits have a standard deviation of about one ("unit scale", checked below);
1e-4 is then float32 rounding through 2 + 2 layers, and far below what any wrong rule changes.
"""

import json
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import native_models as native
import pytest
import torch
from cogvlm_reference import Reference
from native_models import PATCHES
from safetensors.torch import load_file

from adamms.errors import AdammsError
from adamms.models.cogvlm.layout import positions
from adamms.models.cogvlm.modeling import CogVLMForCausalLM

TOLERANCE = 1e-4
IMAGE = PATCHES + 2


@dataclass(frozen=True)
class Prompt:
    """Text ids behind the begin token, and the image's pixels or None."""

    text: tuple[int, ...]
    pixels: torch.Tensor | None


def pixels(seed: int) -> torch.Tensor:
    return torch.randn(3, native.CANVAS, native.CANVAS, generator=torch.Generator().manual_seed(seed))


PROMPTS = (
    Prompt((5, 17, 40, 8), pixels(1)),
    Prompt((9, 30), None),
    Prompt((3, 22, 22, 31, 12, 45, 7), pixels(2)),
    Prompt(tuple(range(3, 24)), None),
    Prompt((44,), pixels(3)),
)


def inputs(prompts: tuple[Prompt, ...], side: str = "left") -> dict[str, torch.Tensor]:
    """The batch as the model takes it, padded on one side."""
    rows = []
    for prompt in prompts:
        image = 0 if prompt.pixels is None else IMAGE
        types = [0, *[1] * image, *[0] * len(prompt.text)]
        rows.append(([1, *[0] * image, *prompt.text], types))
    longest = max(len(ids) for ids, _ in rows)

    def padded(values: list[int]) -> list[int]:
        rest = [0] * (longest - len(values))
        return rest + values if side == "left" else values + rest

    batch = {
        "input_ids": torch.tensor([padded(ids) for ids, _ in rows]),
        "token_type_ids": torch.tensor([padded(types) for _, types in rows]),
        "attention_mask": torch.tensor([padded([1] * len(ids)) for ids, _ in rows]),
    }
    images = [prompt.pixels for prompt in prompts if prompt.pixels is not None]
    return batch | ({"pixel_values": torch.stack(images)} if images else {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return native.save_cogvlm(tmp_path_factory.mktemp("cogvlm") / "model", seed=1, shards=1)


@pytest.fixture(scope="module")
def reference(folder: Path) -> Reference:
    return Reference(
        load_file(folder / "model.safetensors"), json.loads((folder / "config.json").read_text())
    )


@pytest.fixture(scope="module")
def model(folder: Path) -> CogVLMForCausalLM:
    return load(folder, attn_implementation="sdpa")


def load(folder: Path, **settings: str) -> CogVLMForCausalLM:
    return CogVLMForCausalLM.from_pretrained(folder, **settings).eval()


@torch.no_grad()
def logits(model: CogVLMForCausalLM, batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Of each row, without its padding."""
    output = model(**batch).logits
    return [row[mask.bool()] for row, mask in zip(output, batch["attention_mask"], strict=True)]


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    assert found.shape == expected.shape
    return float((found.double() - expected).abs().max())


class TestAgainstTheReference:
    def test_the_scale_is_one_and_the_prompts_differ(self, reference: Reference) -> None:
        expected = [reference.logits(prompt.text, prompt.pixels) for prompt in PROMPTS]
        assert 0.5 < float(torch.cat(expected).std()) < 2
        last = torch.stack([row[-1] for row in expected])
        assert torch.pdist(last).min() > 1

    @pytest.mark.parametrize("attention", ["sdpa", "eager"])
    def test_examples_alone_and_in_padded_batches(
        self, folder: Path, reference: Reference, attention: str
    ) -> None:
        model = load(folder, attn_implementation=attention)
        expected = [reference.logits(prompt.text, prompt.pixels) for prompt in PROMPTS]
        alone = [logits(model, inputs((prompt,)))[0] for prompt in PROMPTS]
        batches = [logits(model, inputs(PROMPTS, side)) for side in ("left", "right")]
        for found in (alone, *batches):
            assert all(difference(*each) <= TOLERANCE for each in zip(found, expected, strict=True))

    @pytest.mark.parametrize("use_cache", [True, False])
    @pytest.mark.parametrize("prompts", [PROMPTS, PROMPTS[:1], PROMPTS[1:2]], ids=["batch", "image", "text"])
    def test_every_generated_token(
        self, model: CogVLMForCausalLM, reference: Reference, prompts: tuple[Prompt, ...], use_cache: bool
    ) -> None:
        batch = inputs(prompts)
        steps = 6
        output = model.generate(
            **batch,
            max_new_tokens=steps,
            do_sample=False,
            eos_token_id=None,
            use_cache=use_cache,
            output_logits=True,
            return_dict_in_generate=True,
        )
        new = output.sequences[:, batch["input_ids"].shape[1] :].tolist()
        assert len(output.logits) == steps
        for row, prompt in enumerate(prompts):
            for step in range(steps):
                text = (*prompt.text, *new[row][:step])
                expected = reference.logits(text, prompt.pixels)[-1]
                assert difference(output.logits[step][row], expected) <= TOLERANCE
                assert int(expected.argmax()) == new[row][step]

    def test_a_prompt_in_two_pieces(self, model: CogVLMForCausalLM, reference: Reference) -> None:
        """The cache knows no positions: whoever continues has to give them."""
        prompt = PROMPTS[2]
        batch = inputs((prompt,))
        cut = 1 + IMAGE + 2
        first = {name: value[:, :cut] if name != "pixel_values" else value for name, value in batch.items()}
        with torch.no_grad():
            cache = model(**first, use_cache=True).past_key_values
            rest = {"input_ids": batch["input_ids"][:, cut:], "past_key_values": cache}
            with pytest.raises(AdammsError, match="needs position_ids"):
                model(**rest)
            where = positions(batch["token_type_ids"])[:, cut:]
            found = model(**rest, position_ids=where, attention_mask=batch["attention_mask"]).logits[0]
        assert difference(found, reference.logits(prompt.text, prompt.pixels)[cut:]) <= TOLERANCE

    def test_beams_take_their_images_along(self, model: CogVLMForCausalLM, reference: Reference) -> None:
        """The likeliest pair of tokens of all, found with as many beams as there are tokens."""
        width, prompts = 48, PROMPTS[:2]
        batch = inputs(prompts)
        output = model.generate(
            **batch, max_new_tokens=2, num_beams=width, do_sample=False, eos_token_id=None
        )
        for row, prompt in enumerate(prompts):
            first = reference.logits(prompt.text, prompt.pixels)[-1].log_softmax(0)
            second = torch.stack(
                [reference.logits((*prompt.text, t), prompt.pixels)[-1].log_softmax(0) for t in range(width)]
            )
            best = int((first[:, None] + second).argmax())
            assert output[row, -2:].tolist() == [best // width, best % width]

    def test_bfloat16_is_close(self, folder: Path, reference: Reference) -> None:
        """Numbers of 8 bits are off by up to 2^-9; some 30 steps in a row make about 0.02 of it here."""
        model = load(folder, dtype="bfloat16")
        for prompt, found in zip(PROMPTS, logits(model, inputs(PROMPTS)), strict=True):
            assert found.dtype == torch.bfloat16
            off = found.double() - reference.logits(prompt.text, prompt.pixels)
            assert off.square().mean().sqrt() <= 0.05

    def test_embeddings_in_the_place_of_ids(self, model: CogVLMForCausalLM, reference: Reference) -> None:
        batch = inputs(PROMPTS[:1])
        batch["inputs_embeds"] = model.get_input_embeddings()(batch.pop("input_ids"))
        expected = reference.logits(PROMPTS[0].text, PROMPTS[0].pixels)
        with torch.no_grad():
            assert difference(model(**batch).logits[0], expected) <= TOLERANCE
            assert difference(model(**batch, logits_to_keep=2).logits[0], expected[-2:]) <= TOLERANCE


class TestExperts:
    """Which tokens a weight acts on, seen in the last layer, where what a token does concerns no other."""

    OWN = (slice(None), slice(1, 1 + PATCHES + 1))  # begin marker and patches of `PROMPTS[0]`

    def test_a_weight_changes_its_own_tokens_only(self, folder: Path) -> None:
        model, batch = load(folder), inputs(PROMPTS[:1])
        queries = "self_attn.{}_expert_query_key_value"
        names = ("mlp.{}_mlp.down_proj", "mlp.{}_mlp.gate_proj", "self_attn.{}_expert_dense", queries)
        for name, expert in product(names, ("vision", "language")):
            weight = model.model.layers[-1].get_submodule(name.format(expert)).weight
            rows = slice(native.HIDDEN if name == queries else None)  # of q, k, v the queries alone
            with torch.no_grad():
                before = model(**batch).logits
                weight[rows].mul_(2)
                changed = (model(**batch).logits != before).any(-1)
                weight[rows].div_(2)
            own = torch.zeros_like(changed)
            own[self.OWN] = True
            expected = own if expert == "vision" else ~own
            if name == queries:
                expected[0, 0] = False  # the first token sees itself alone
            assert torch.equal(changed, expected), (name, expert)

    def test_text_alone_never_meets_the_vision_expert(self, folder: Path) -> None:
        model = load(folder)
        with torch.no_grad():
            text, image = inputs(PROMPTS[1:2]), inputs(PROMPTS[:1])
            before = model(**text).logits, model(**image).logits
            for name, weight in model.named_parameters():
                if "vision_expert" in name or "vision_mlp" in name:
                    weight.mul_(2)
            assert torch.equal(model(**text).logits, before[0])
            changed = (model(**image).logits != before[1]).any(-1)[0]
        assert changed.tolist() == [False, *[True] * (len(changed) - 1)]  # all but what is before the image


class TestInputs:
    def test_images_must_go_with_the_token_types(self, model: CogVLMForCausalLM) -> None:
        batch = inputs(PROMPTS[:1])
        batch["pixel_values"] = torch.cat([batch["pixel_values"]] * 2)
        with pytest.raises(AdammsError, match=r"11 places for 2 images of 11 embeddings each"):
            model(**batch)

    def test_ids_or_embeddings(self, model: CogVLMForCausalLM) -> None:
        with pytest.raises(AdammsError, match="exactly one"):
            model(attention_mask=torch.ones(1, 3))

    @pytest.mark.parametrize("use_cache", [True, False])
    def test_a_prompt_that_ends_with_the_image_is_continued_as_text(
        self, model: CogVLMForCausalLM, reference: Reference, use_cache: bool
    ) -> None:
        prompt = Prompt((), pixels(4))
        settings = {"max_new_tokens": 3, "do_sample": False, "eos_token_id": None, "use_cache": use_cache}
        output = model.generate(**inputs((prompt,)), **settings)
        new = output[0, 1 + IMAGE :].tolist()
        for step in range(3):
            expected = reference.logits(new[:step], prompt.pixels)[-1]
            assert int(expected.argmax()) == new[step]

    def test_a_loss_and_its_gradients(self, model: CogVLMForCausalLM) -> None:
        batch = inputs(PROMPTS[:2])
        labels = batch["input_ids"].masked_fill(
            (batch["attention_mask"] == 0) | (batch["token_type_ids"] == 1), -100
        )
        output = model(**batch, labels=labels)
        shifted = torch.nn.functional.cross_entropy(
            output.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100
        )
        assert torch.allclose(output.loss, shifted)
        output.loss.backward()
        without = [name for name, weight in model.named_parameters() if weight.grad is None]
        model.zero_grad(set_to_none=True)
        assert not without
