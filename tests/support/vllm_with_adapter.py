"""A child for test_extract.py: vLLM with a LoRA adapter says the log-probability of its likeliest next token.

It is forked from the process that has imported vLLM (`forked_children`): as a program it took 50 s of CPU.
"""

from adamms.engines.child import parent_connection


def said(model: str, adapter: str, ids: list[int]) -> dict[int, float]:
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
    (output,) = llm.generate(
        [{"prompt_token_ids": ids}], greedy, lora_request=LoRARequest("a", 1, adapter), use_tqdm=False
    )
    (found,) = output.outputs[0].logprobs
    return {token: entry.logprob for token, entry in found.items()}


if __name__ == "__main__":
    connection = parent_connection()
    connection.send(said(*connection.recv()))
