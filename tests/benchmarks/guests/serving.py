"""What the guests of published_code.py have in common: load checkpoints, answer prompts, say what was found.

Runs in the interpreter of the published code: torch, transformers and safetensors are there, adamms is not.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

GREEDY = {"do_sample": False, "return_dict_in_generate": True, "output_scores": True}
PROBLEMS = ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")
IMAGES = 3


@dataclass(frozen=True)
class Guest:
    """One published implementation.

    Args:
        load: a folder -> the model in float32, and what `from_pretrained` says of it, `output_loading_info`.
        text: (model, ids of shape (1, length), arguments of generate) -> what generate returns.
        image: (model, which of the images, arguments of generate) -> the same, of a prompt with one image.
        prepare: makes in a folder what the published class has to make, or to find, itself.
    """

    load: Callable[[Path], tuple[Any, dict[str, Any]]]
    text: Callable[[Any, torch.Tensor, dict[str, Any]], Any]
    image: Callable[[Any, int, dict[str, Any]], Any]
    prepare: Callable[[Path], None] = lambda folder: None


def serve(guest: Guest) -> None:
    """`CHECKOUT prepare FOLDER`, or `CHECKOUT answer REQUEST ANSWERS`, two JSON files."""
    checkout, step, *files = sys.argv[1:]
    sys.path.insert(0, checkout)
    if step == "prepare":
        guest.prepare(Path(files[0]))
        return
    request = json.loads(Path(files[0]).read_text())
    with torch.no_grad():
        found = {folder: answered(guest, Path(folder), request) for folder in request["folders"]}
    Path(files[1]).write_text(json.dumps(found))


def answered(guest: Guest, folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    """What the checkpoint in `folder` is as the published class loads it, and what it answers."""
    import transformers

    model, info = guest.load(folder)
    model.eval()
    settings = GREEDY | {"max_new_tokens": request["max_new_tokens"]}
    texts = [guest.text(model, torch.tensor([ids]), settings) for ids in request["texts"]]
    images = [guest.image(model, number, settings) for number in range(IMAGES)]
    stored, live = load_file(folder / "model.safetensors"), model.state_dict()
    return {
        "class": f"{type(model).__name__} of {sys.modules[type(model).__module__].__file__}",
        "versions": f"transformers {transformers.__version__}, torch {torch.__version__}",
        "problems": {name: [str(one) for one in info.get(name) or ()] for name in PROBLEMS},
        "tensors": len(stored),
        "as_stored": sum(
            name in live and torch.equal(live[name], tensor.to(live[name].dtype))
            for name, tensor in stored.items()
        ),
        "texts": [output.sequences[0].tolist() for output in texts],
        "images": [output.sequences[0].tolist() for output in images],
        "least_apart": min(
            (one.scores[0] - other.scores[0]).abs().max().item() for one, other in combinations(images, 2)
        ),
    }


def noise(number: int, *shape: int) -> torch.Tensor:
    """The pixels of one of the images."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(number))
