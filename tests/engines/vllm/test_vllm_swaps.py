"""Real vLLM: what a swap loses in it is told. An engine takes long to start, so each meets several faults."""

import os
import sys
from pathlib import Path

import forked_children
import pytest
from answering import LINEAR_ATTENTION
from configured_engines import vllm_engine
from faulty_recipe import faulty
from test_vllm import SETTINGS, real
from test_vllm_formats import experts
from tiny_merges import interpolated

from adamms.engines.base import UnprovenError
from adamms.engines.swaps import ProvenSwaps
from adamms.errors import AdammsError


@pytest.fixture(autouse=True)
def workers_know_the_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))


@real
def test_what_a_swap_loses_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Experts and linear attention over two ranks."""
    monkeypatch.setenv(forked_children.WORKERS, "1")
    target, donor = experts("qwen3_5_moe", "qwen3_5_moe_text", tmp_path, **LINEAR_ATTENTION)
    recipe = interpolated(target, donor, 0.6)
    expert = "layers.1.mlp.experts.2.down_proj.weight"
    back = r"not the target: \d \(0\.0 \S*"
    faults = (
        ({"ending": "layers.0.linear_attn.A_log", "back": True}, rf"{back}linear_attn\.A_log"),
        ({"ending": "layers.0.linear_attn.conv1d.weight", "back": True}, rf"{back}linear_attn\.conv1d"),
        ({"ending": expert, "back": True}, rf"{back}w2_weight\[2\]"),
        ({"ending": "embed_tokens.weight", "back": True}, rf"{back}embed_tokens"),
        ({"drop": True, "rank": 1}, r"no merged tensor reached rank 0\.1;"),
        (
            {"ending": "language_model.norm.weight", "drop": True, "rank": 1},
            r"1 \(0\.1 \S*norm\.weight\) merged tensors never reached",
        ),
    )
    with vllm_engine(target, **SETTINGS, tensor_parallel_size=2) as engine:
        for fault, message in faults:
            assert any(name.endswith(fault.get("ending", "")) for name in recipe.mapped), fault
            with pytest.raises(UnprovenError, match=message):
                ProvenSwaps(engine).load(faulty(recipe, **fault))
            engine.load(interpolated(target, donor, 0.0))
        ProvenSwaps(engine).load(recipe)
        with pytest.raises(AdammsError, match=r"took nothing of 1 merged tensors .*experts\.2\.down_proj"):
            ProvenSwaps(engine).load(faulty(recipe, ending=expert, drop=True))
