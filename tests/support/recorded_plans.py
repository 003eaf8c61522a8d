"""What was planned between full-size models when every format had a spec written by hand, as digests.

tests/fixtures/plans.txt has a line for each ordered pair of relatives: target, donor, digest. A digest leaves
out the names of architectures. Run as a script, this prints the lines that today's code gives.
"""

import hashlib
import json
from collections.abc import Iterator
from itertools import permutations

from headers import FIXTURES, published
from mappers import spec_mapper

from adamms.mapping.plan import Plan

RECORD = FIXTURES / "plans.txt"
# One model of each format, by ancestor.
RELATIVES = (
    ("cogvlm_chat_hf", "llava_1_5_7b_hf", "llava_v1_5_7b", "llava_v1_6_vicuna_7b_hf", "mplug_owl2_llama2_7b"),
    ("llava_1_5_7b_hf", "llava_v1_6_vicuna_7b_hf", "vicuna_7b_v1_5"),
    (
        "llava_onevision_qwen2_7b_ov",
        "llava_onevision_qwen2_7b_ov_hf",
        "minicpm_v_2_6",
        "qwen2_7b",
        "qwen2_vl_7b_instruct",
    ),
    ("internvl3_8b", "internvl3_8b_hf", "qwen2_5_7b", "qwen2_5_vl_7b_instruct"),
    ("idefics3_8b_llama3", "llama3_llava_next_8b_hf", "llama_3_2_11b_vision_instruct", "llama_3_8b_instruct"),
    ("internvl3_5_8b", "qwen3_8b", "qwen3_vl_8b_instruct"),
    ("internlm2_5_7b_chat", "internvl2_5_8b", "llama_3_8b_instruct"),
    ("llava_v1_6_mistral_7b_hf", "mistral_7b_instruct_v0_2"),
    ("phi_3_mini_128k_instruct", "phi_3_vision_128k_instruct"),
    ("smollm2_1_7b_instruct", "smolvlm_instruct"),
    ("cambrian_34b", "yi_34b", "yi_vl_34b"),
    ("gemma_3_4b_it", "gemma_3_4b_it"),
)


def pairs() -> Iterator[tuple[str, str]]:
    """Target and donor, each ordered pair once."""
    found = dict.fromkeys(pair for group in RELATIVES for pair in permutations(group, 2))
    yield from found


def recorded() -> dict[tuple[str, str], str]:
    lines = [line.split() for line in RECORD.read_text().splitlines()]
    return {(target, donor): digest for target, donor, digest in lines}


def planned(target: str, donor: str) -> Plan:
    return spec_mapper().plan(published(target), {"a": published(donor)})


def digest(plan: Plan) -> str:
    """Of everything that plan.json says of the tensors."""
    record = {key: plan.to_json()[key] for key in ("tensors", "unused")}
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]


if __name__ == "__main__":
    for pair in pairs():
        print(*pair, digest(planned(*pair)))
