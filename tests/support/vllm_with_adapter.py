"""Run as a program: vLLM with a LoRA adapter says the log-probability of its likeliest next token.

python vllm_with_adapter.py MODEL ADAPTER [token ids as JSON]
"""

import json
import os
import sys

FOUND = "log-probabilities: "  # vLLM's processes print lines of their own


def main(model: str, adapter: str, ids: str) -> None:
    os.environ |= {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    llm = LLM(
        model,
        dtype="float32",
        enforce_eager=True,
        max_model_len=256,
        limit_mm_per_prompt={"image": 1, "video": 0},
        skip_mm_profiling=True,
        enable_lora=True,
        max_lora_rank=16,
        max_loras=1,
    )
    greedy = SamplingParams(temperature=0, max_tokens=1, logprobs=1)
    prompt, request = {"prompt_token_ids": json.loads(ids)}, LoRARequest("a", 1, adapter)
    (output,) = llm.generate([prompt], greedy, lora_request=request, use_tqdm=False)
    (said,) = output.outputs[0].logprobs
    print(f"\n{FOUND}{json.dumps({str(token): entry.logprob for token, entry in said.items()})}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
