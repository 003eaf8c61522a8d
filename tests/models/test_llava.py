"""The original LLaVA, natively, against transformers' LLaVA and, of Yi-VL, against a projector by hand.

Both references take the same weights in float32 in another order of operations: logits of unit scale agree to
1e-4.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import paper_models
import pytest
import torch
from configured_engines import transformers_engine
from PIL import Image
from tiny_merges import interpolated
from torch.nn import functional

from adamms.checkpoint.side_files import side_files
from adamms.data.example import Example
from adamms.engines.prompt import load_processor, prompt
from adamms.errors import AdammsError
from adamms.models.llava.modeling import IMAGE_TOKEN_ID
from adamms.models.registration import load_model

PATCHES = (paper_models.IMAGE // paper_models.PATCH) ** 2
CLOSE = {"atol": 1e-4, "rtol": 1e-4}
# Two prompts with an image each, the first padded on the left.
TEXTS = ([5, 9], [17, 30, 11, 12])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("original")
    return {
        "llava": paper_models.save_llava(folder / "llava", 1),
        "sharegpt4v": paper_models.save_sharegpt4v(folder / "sharegpt4v", 2),
        "yi_vl": paper_models.save_yi_vl(folder / "yi_vl", 3),
    }


def batch(image_token: int) -> dict[str, torch.Tensor]:
    rows = [[7, *[image_token] * PATCHES, *text] for text in TEXTS]
    longest = max(map(len, rows))
    size = (len(rows), 3, paper_models.IMAGE, paper_models.IMAGE)
    return {
        "input_ids": torch.tensor([[0] * (longest - len(row)) + row for row in rows]),
        "attention_mask": torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows]),
        "pixel_values": torch.randn(size, generator=torch.Generator().manual_seed(0)),
    }


@torch.no_grad()
@pytest.mark.parametrize("name", ["llava", "sharegpt4v"])
def test_it_computes_what_the_conversion_computes(name: str, folders: dict[str, Path]) -> None:
    from transformers import LlavaForConditionalGeneration

    converted = LlavaForConditionalGeneration.from_pretrained(folders[name].with_name(f"{name}_hf")).eval()
    model = load_model(folders[name]).eval()
    theirs = batch(converted.config.image_token_id)
    mine = batch(IMAGE_TOKEN_ID)
    expected = converted(**theirs).logits[..., : paper_models.WORDS]
    seen = mine["attention_mask"].bool()
    torch.testing.assert_close(model(**mine).logits[seen], expected[seen], **CLOSE)
    assert expected[seen].std() > 0.3
    without = batch(IMAGE_TOKEN_ID) | {"pixel_values": torch.zeros_like(mine["pixel_values"])}
    assert (model(**without).logits[seen] - expected[seen]).abs().max() > 0.01


@torch.no_grad()
def test_yi_vl_has_a_norm_after_each_linear_layer(folders: dict[str, Path]) -> None:
    """01-ai/Yi, VL/llava/model/multimodal_projector/builder.py; the language model is a plain Llama's."""
    from transformers import CLIPVisionModel, LlamaForCausalLM

    folder, inputs = folders["yi_vl"], batch(IMAGE_TOKEN_ID)
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    tower = CLIPVisionModel.from_pretrained(folder / "vit/clip").eval()
    hidden = tower(inputs["pixel_values"], output_hidden_states=True).hidden_states[-2][:, 1:]
    for linear, norm in ((0, 1), (3, 4)):
        weight, bias = (state[f"model.mm_projector.{linear}.{part}"] for part in ("weight", "bias"))
        scale, shift = (state[f"model.mm_projector.{norm}.{part}"] for part in ("weight", "bias"))
        hidden = functional.layer_norm(
            functional.linear(hidden, weight, bias), scale.shape, scale, shift, 1e-5
        )
        hidden = functional.gelu(hidden) if linear == 0 else hidden
    plain = LlamaForCausalLM(load_model(folder).config).eval()
    plain.load_state_dict({n: t for n, t in state.items() if "mm_projector" not in n})
    embeddings = plain.model.embed_tokens(inputs["input_ids"].clamp(min=0))
    for row, image in enumerate(hidden):
        embeddings[row, inputs["input_ids"][row] == IMAGE_TOKEN_ID] = image
    expected = plain(inputs_embeds=embeddings, attention_mask=inputs["attention_mask"]).logits
    seen = inputs["attention_mask"].bool()
    torch.testing.assert_close(load_model(folder).eval()(**inputs).logits[seen], expected[seen], **CLOSE)


@torch.no_grad()
@pytest.mark.parametrize("name", ["llava", "yi_vl"])
def test_generation_is_the_same_with_and_without_cache_and_alone(name: str, folders: dict[str, Path]) -> None:
    model, inputs = load_model(folders[name]).eval(), batch(IMAGE_TOKEN_ID)
    settings = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
    cached = model.generate(**inputs, **settings)
    assert torch.equal(cached, model.generate(**inputs, **settings, use_cache=False))
    for row in range(len(TEXTS)):
        alone = {key: value[row : row + 1] for key, value in inputs.items()}
        kept = alone["attention_mask"][0].bool()
        alone |= {key: alone[key][:, kept] for key in ("input_ids", "attention_mask")}
        assert torch.equal(model.generate(**alone, **settings)[0, -4:], cached[row, -4:])
    with pytest.raises(AdammsError, match=r"8 places for 1 images of 4 embeddings"):
        model(**inputs | {"pixel_values": inputs["pixel_values"][:1]})


def test_prompts_and_pixels(folders: dict[str, Path], tmp_path: Path) -> None:
    """LLaVA's vicuna_v1 and Yi-VL's mm_default; padding to a square in CLIP's mean colour."""
    question = Example("0", "t", "largest digit", tmp_path / "wide.png")
    llava, yi = load_processor(folders["llava"]), load_processor(folders["yi_vl"])
    said = prompt(llava, question)
    assert said.startswith(
        "A chat between a curious human and an artificial intelligence assistant. The assistant"
    )
    assert said.endswith("to the human's questions. USER: <image>\nlargest digit ASSISTANT:")
    said = prompt(yi, question)
    assert said.endswith("礼貌的回答。\n\n### Human: <image>\nlargest digit\n### Assistant:")
    wide = Image.new("RGB", (64, 32), (255, 0, 0))
    inputs = llava(text=["<image> largest", "digit"], images=[wide], padding=True)
    assert inputs["input_ids"].shape == (2, PATCHES + 1)
    assert (inputs["input_ids"][0] == IMAGE_TOKEN_ID).sum() == PATCHES
    assert inputs["attention_mask"].sum(1).tolist() == [PATCHES + 1, 1]
    middle, top = inputs["pixel_values"][0, :, 16, 16], inputs["pixel_values"][0, :, 2, 16]
    assert top.abs().max() < 0.02  # the mean, rounded to whole values of 256
    assert middle.abs().min() > 1
    with pytest.raises(AdammsError, match=r"<image> 1 times; 0 images were given"):
        llava(text=["<image> largest"])


def test_a_yi_vl_target_is_swapped_in_place_and_its_tower_comes_along(
    folders: dict[str, Path], run: Any, tmp_path: Path
) -> None:
    assert Path("vit/clip/model.safetensors") in side_files(folders["yi_vl"])
    recipe = interpolated(folders["yi_vl"], folders["llava"], 0.5)
    examples = []
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 256, (30 + 20 * i, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i}.png")
        examples.append(Example(str(i), "t", f"largest digit {'of' * i}", tmp_path / f"{i}.png"))
    done = run(
        *("mode=merge", "model=custom", f"model.target.path={folders['yi_vl']}", "merge.alpha=0.5"),
        *(f"model.donors.a.path={folders['llava']}", f"output={tmp_path / 'out'}"),
    )
    assert done.status == 0, done.err
    assert "from adamms.models.registration import load_model; " in done.out
    written = tmp_path / "out/model"
    assert (written / "vit/clip/model.safetensors").is_file()
    settings = {"batch_size": 2, "max_new_tokens": 5, "accelerator": "cpu"}
    with transformers_engine(folders["yi_vl"], **settings) as engine:
        before = dict(engine.generate(examples))
        engine.load(recipe)
        swapped = dict(engine.generate(examples))
    with transformers_engine(written, **settings) as engine:
        assert dict(engine.generate(examples)) == swapped
    assert swapped != before


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"image_aspect_ratio": "anyres"}, r"LLaVA-1\.6.*llava-hf/llava-v1\.6-vicuna-7b-hf"),
        ({"mm_projector_type": "linear"}, r"mm_projector_type is 'linear'; expected one of: mlp2x_gelu"),
        ({"mm_vision_tower": None}, r"names no mm_vision_tower"),
    ],
)
def test_another_generation_is_refused(
    field: dict[str, object], message: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(folders["llava"], tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | field))
    with pytest.raises(AdammsError, match=message):
        load_processor(folder)
