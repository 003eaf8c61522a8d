"""What runs in VLMEvalKit's own interpreter, after `foreign/guest.py`, which it is appended to.

Needs the standard library, VLMEvalKit and transformers, Python 3.10 or newer.

look REQUEST          whether VLMEvalKit could run REQUEST = {"model", "data"}: see `look`
run REQUEST ARGS...   VLMEvalKit on REQUEST = {"name", "model", "arguments"}
"""

import json
import sys
from functools import partial
from importlib import metadata
from inspect import Parameter, signature
from typing import Any

OWN = "transformers"  # the model that is defined here
DISTRIBUTIONS = ("vlmeval", "ms-vlmeval")


def look(request: dict[str, Any]) -> dict[str, Any]:
    """{"version", "folder_argument"}; with "models", "tasks" or "failure" if it could not run."""
    answer: dict[str, Any] = {"version": _version()}
    import vlmeval.run  # what only then is imported: better now than after the merge
    import vlmeval.vlm
    from vlmeval.dataset import SUPPORTED_DATASETS, build_dataset

    names = [OWN, *(name for name, value in vars(vlmeval.vlm).items() if isinstance(value, type))]
    if request["model"] not in names:
        return answer | {"models": names}
    known = set(SUPPORTED_DATASETS)
    missing = [name for name in request["tasks"] if name not in known and build_dataset(name) is None]
    parameters = list(signature(_model(request["model"])).parameters.values())
    answer["folder_argument"] = parameters[0].name
    if not any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters):
        answer["arguments"] = [parameter.name for parameter in parameters]
    return answer | ({"missing": missing, "tasks": sorted(known)} if missing else {})


def _version() -> str:
    for name in DISTRIBUTIONS:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return metadata.version(DISTRIBUTIONS[0])


def _model(name: str) -> Any:
    import vlmeval.vlm

    return _transformers_model() if name == OWN else getattr(vlmeval.vlm, name)


def _transformers_model() -> type:
    """Any model that transformers loads by its Auto class, greedily, on what is there."""
    import torch
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from vlmeval.vlm.base import BaseModel

    class Transformers(BaseModel):
        INTERLEAVE = True

        def __init__(self, model_path: str, max_new_tokens: int = 512, dtype: str = "auto") -> None:
            super().__init__()
            device = "cuda" if torch.cuda.is_available() else "cpu"
            self.processor = AutoProcessor.from_pretrained(model_path)
            self.model = (
                AutoModelForImageTextToText.from_pretrained(model_path, dtype=dtype).to(device).eval()
            )
            self.max_new_tokens = max_new_tokens

        @torch.inference_mode()
        def generate_inner(self, message: list[dict[str, str]], dataset: str | None = None) -> str:
            kinds = [{"type": part["type"]} | _text(part) for part in message]
            images = [Image.open(part["value"]).convert("RGB") for part in message if part["type"] == "image"]
            prompt = self.processor.apply_chat_template(
                [{"role": "user", "content": kinds}], add_generation_prompt=True
            )
            inputs = self.processor(text=[prompt], images=images or None, return_tensors="pt")
            inputs = inputs.to(self.model.device)
            said = self.model.generate(**inputs, do_sample=False, max_new_tokens=self.max_new_tokens)
            new = said[:, inputs["input_ids"].shape[1] :]
            text: str = self.processor.batch_decode(new, skip_special_tokens=True)[0]
            return text.strip()

    return Transformers


def _text(part: dict[str, str]) -> dict[str, str]:
    return {"text": part["value"]} if part["type"] == "text" else {}


def run(request: str, *arguments: str) -> None:
    import vlmeval.run
    from vlmeval.config import supported_VLM

    wanted = json.loads(request)
    supported_VLM[wanted["name"]] = partial(_model(wanted["model"]), **wanted["arguments"])
    sys.argv = ["vlmeval", *arguments]
    vlmeval.run.main()
