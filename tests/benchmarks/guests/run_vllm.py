"""What vLLM answers with a checkpoint to texts, and to images: the class, token ids, log-probabilities."""

import json
import sys
from pathlib import Path
from typing import Any

import torch

SIDE = 56
NO_CUDA = not torch.backends.cuda.is_built()


class Extension:
    """Mixed into vLLM's workers."""

    model_runner: Any

    def described(self) -> str:
        if NO_CUDA:  # vLLM 0.32 asks before each image of a MiniCPM-V; a torch without CUDA would raise
            torch.cuda.is_current_stream_capturing = lambda: False
        return type(self.model_runner.get_model()).__name__


def answer(request: dict[str, Any]) -> dict[str, Any]:
    from PIL import Image
    from vllm import LLM, SamplingParams

    # vLLM 0.32's kernel for CPUs is wrong for queries of shape (tokens, heads, size): latent attention's.
    turning = {"custom_ops": ["all", "-rotary_embedding"]}
    llm = LLM(
        request["folder"],
        **{"dtype": "float32", "trust_remote_code": True, "enforce_eager": True, "max_model_len": 64},
        **{"limit_mm_per_prompt": {"image": int(request["images"]), "video": 0}, "skip_mm_profiling": True},
        **{"compilation_config": turning, "worker_extension_cls": "run_vllm.Extension"},
    )
    name = llm.collective_rpc("described")[0]
    sampling = SamplingParams(temperature=0, max_tokens=request["max_new_tokens"], logprobs=0)
    prompts: list[Any] = [{"prompt_token_ids": text} for text in request["texts"]]
    for number in range(3 if request["images"] else 0):
        pixels = torch.randint(256, (SIDE, SIDE, 3), generator=torch.Generator().manual_seed(number))
        image = Image.fromarray(pixels.to(torch.uint8).numpy())
        prompts.append({"prompt": request["image_prompt"], "multi_modal_data": {"image": image}})
    done = [output.outputs[0] for output in llm.generate(prompts, sampling)]
    count = len(request["texts"])
    return {
        "class": name,
        "texts": [list(one.token_ids) for one in done[:count]],
        "images": [one.cumulative_logprob for one in done[count:]],
    }


if __name__ == "__main__":
    asked, answered = map(Path, sys.argv[1:])
    answered.write_text(json.dumps(answer(json.loads(asked.read_text()))))
