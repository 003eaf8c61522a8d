"""Multimodal types of every kind merge with nothing written down, and the judge of that is itself right.

All types: `python tests/benchmarks/coverage.py`.
"""

from pathlib import Path

import coverage_case
import pytest
import tiny_types
import torch

# Dense; experts in the hub's layout; linear attention with experts; short convolutions; embeddings of layers;
# latent attention; state spaces; fused projections and q/k/v biases; audio; a donor that is another MLLM.
SAMPLE = (
    *("qwen3_vl", "qwen3_vl_moe (hub's files)", "qwen3_5_moe", "lfm2_vl", "gemma4", "kimi_k25"),
    *("nemotron_h_omni", "glm4v", "voxtral", "llava_next"),
)


@pytest.fixture(scope="module")
def pairs() -> dict[str, coverage_case.Pair]:
    types = [name.split(" ")[0] for name in SAMPLE]
    return {pair.name: pair for pair in coverage_case.pairs(types)}


@pytest.mark.parametrize("name", SAMPLE)
def test_it_merges_into_what_it_should_be(
    name: str, pairs: dict[str, coverage_case.Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAMMS_CACHE", str(tmp_path / "cache"))
    verdict = coverage_case.judged(pairs[name], tmp_path, modes=("merge",))
    assert (verdict.verdict, verdict.failed) == ("right", False), verdict.reason


def test_what_is_wrong_or_left_out_is_found() -> None:
    target, donor, merged = (tiny_types.build("llava", noise=noise) for noise in (0, 1, 0))
    assert coverage_case.compare(target, donor, merged)[0] == "half"
    mine, theirs, state = target.state_dict(), donor.state_dict(), merged.state_dict()
    for name in coverage_case.language_model(target):
        mix = (1 - coverage_case.ALPHA) * mine[name].double() + coverage_case.ALPHA * theirs[name].double()
        state[name].copy_(mix)
    assert coverage_case.compare(target, donor, merged)[0] == "right"
    up = next(name for name in state if name.endswith("layers.2.mlp.up_proj.weight"))
    state[up].copy_(mine[up])
    assert coverage_case.compare(target, donor, merged) == ("half", f"1 of 39 tensors are the target's: {up}")
    state[up].copy_(state[up.replace("up_proj", "gate_proj")])
    assert coverage_case.compare(target, donor, merged)[0] == "wrong"
    vision = next(name for name in state if "vision" in name)
    state[up].copy_(torch.zeros(()))
    state[vision].add_(1)
    verdict, reason = coverage_case.compare(target, donor, merged)
    assert verdict == "wrong"
    assert up in reason
    assert vision in reason
