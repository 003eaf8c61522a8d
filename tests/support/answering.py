"""What a tiny Qwen3-VL or Qwen3.5 needs beside its weights to answer questions on images, in any engine."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from trained_tokenizers import byte_level_bpe

IMAGE, VIDEO, START, END = "<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"
PICTURE = START + IMAGE + END
TEMPLATE = (
    "{% for message in messages %}{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}" + PICTURE + "{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{% endfor %}"
)
LOUDNESS = 6  # of the language model's matrices: as drawn, they give every question one answer
# The least that vLLM's CPU kernel of linear attention computes with.
LINEAR_ATTENTION = {
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
}
WORDS = ("largest digit of the red", "sum of the blue", "colour of the smallest digit")


def make_answerable(folder: Path) -> Path:
    """Give the folder of `tiny_types.save_tiny` a tokenizer and a processor; see also `make_louder`."""
    import transformers

    ids = byte_level_bpe(folder, WORDS, 300, (IMAGE, VIDEO, START, END))
    settings = {"size": {"shortest_edge": 1024, "longest_edge": 4096}, "patch_size": 16, "merge_size": 2}
    transformers.Qwen3VLProcessor(
        image_processor=transformers.Qwen2VLImageProcessor(**settings, temporal_patch_size=2),
        tokenizer=transformers.AutoTokenizer.from_pretrained(folder),
        video_processor=transformers.Qwen3VLVideoProcessor(**settings, temporal_patch_size=2),
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    file = folder / "config.json"
    config = json.loads(file.read_text())
    text, rotary = config["text_config"], config["text_config"]["rope_parameters"]
    pairs = int(text["head_dim"] * rotary.get("partial_rotary_factor", 1)) // 2
    rotary["mrope_section"] = [pairs - pairs // 4 * 2, pairs // 4, pairs // 4]
    text |= {"max_position_embeddings": 512, "norm_topk_prob": True}  # vLLM asks for the latter
    names = {"image_token_id": IMAGE, "video_token_id": VIDEO}
    names |= {"vision_start_token_id": START, "vision_end_token_id": END}
    config |= {key: ids[token] for key, token in names.items()}
    for part in (config, text, config["vision_config"]):
        part["dtype"] = "bfloat16"
    file.write_text(json.dumps(config))
    return make_louder(folder)


def make_louder(folder: Path, dtype: torch.dtype = torch.bfloat16) -> Path:
    """Have the language model give different questions different answers; all weights take the dtype."""
    file = folder / "model.safetensors"
    state = {
        name: (tensor * LOUDNESS if tensor.dim() > 1 and "visual" not in name else tensor).to(dtype)
        for name, tensor in load_file(file).items()
    }
    save_file(state, file, metadata={"format": "pt"})
    return folder
