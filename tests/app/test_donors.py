"""Several donors of different architectures on the command line, against float64 arithmetic written out here.

theta = (1 - sum of alpha_d) * theta_target + sum of alpha_d * f_d(theta_d), in NumPy float64, rounded once.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tiny
import torch
from command import write_jsonl
from page_text import Page
from safetensors.torch import load_file
from tiny import assert_same_bits

Array = npt.NDArray[np.float64]
BF16, F16 = torch.bfloat16, torch.float16


def mplug_owl2_state(seed: int, dtype: torch.dtype) -> tiny.State:
    """Weights in the names of mPLUG-Owl2: k, v and the norms twice; shapes as `tiny.llama_state`'s."""
    text, image = tiny.llama_state(seed, dtype=dtype), tiny.llama_state(seed + 500, dtype=dtype)
    state = {}
    for name, tensor in text.items():
        twice = "layers." in name and any(part in name for part in ("k_proj", "v_proj", "layernorm"))
        if twice:
            state[name.replace(".weight", ".multiway.0.weight")] = tensor
            state[name.replace(".weight", ".multiway.1.weight")] = image[name]
        else:
            state[name] = tensor
    return state | {"model.vision_model.embeddings.cls_token": torch.full((1, 4), 0.25, dtype=dtype)}


def in_mplug_owl2(name: str, llava: Mapping[str, Array], cogvlm: Mapping[str, Array]) -> dict[str, Array]:
    """What each donor gives for the target's tensor: the published scripts' correspondences, by hand."""
    plain = name.replace(".multiway.0", "").replace(".multiway.1", "")
    expert = "vision" if "multiway.1" in name else "language"
    fused = plain.split("self_attn.")[0] + f"self_attn.{expert}_expert_query_key_value.weight"
    for position, part in enumerate("qkv"):
        if f"self_attn.{part}_proj" in plain:
            return {"llava": llava[plain], "cogvlm": cogvlm[fused][6 * position : 6 * position + 6]}
    theirs = plain.replace("mlp.", "mlp.language_mlp.").replace("o_proj", "language_expert_dense")
    return {"llava": llava[plain], "cogvlm": cogvlm[theirs]}


def exact(state: tiny.State) -> dict[str, Array]:
    return {name: tensor.double().numpy() for name, tensor in state.items()}


def merged_by_hand(
    own: torch.Tensor, parts: Mapping[str, Array], shares: Mapping[str, float]
) -> torch.Tensor:
    """A donor without a part leaves its share to the target."""
    value = (1 - sum(shares[donor] for donor in parts)) * own.double().numpy()
    for donor, part in parts.items():
        value = value + shares[donor] * part
    return torch.from_numpy(np.asarray(value)).to(own.dtype)


SETTINGS = {
    "equal parts": (["merge.alpha=0.6"], {"llava": 0.3, "cogvlm": 0.3}),
    "by weight": (
        ["merge.alpha=0.5", "merge.weights={llava: 3, cogvlm: 1}"],
        {"llava": 0.5 * 0.75, "cogvlm": 0.5 * 0.25},
    ),
    "by name": (["merge.alpha={cogvlm: 0.1, llava: 0.45}"], {"llava": 0.45, "cogvlm": 0.1}),
    "one without weight": (
        ["merge.alpha=0.5", "merge.weights={llava: 0, cogvlm: 2}"],
        {"llava": 0.0, "cogvlm": 0.5},
    ),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_llava_and_a_cogvlm_into_an_mplug_owl2(run, tmp_path: Path, case: str) -> None:
    ours, llava, cogvlm = mplug_owl2_state(1, BF16), tiny.llama_state(2, dtype=F16), tiny.cogvlm_state(3)
    tiny.write_model(tmp_path / "target", ours, "MPLUGOwl2LlamaForCausalLM")
    tiny.write_model(tmp_path / "llava", llava, "LlavaLlamaForCausalLM", torch_zip=True, shards=2)
    tiny.write_model(tmp_path / "cogvlm", cogvlm, "CogVLMForCausalLM", shards=3)
    words, shares = SETTINGS[case]
    done = run(
        *("mode=merge", "model=custom", "~model.donors.a", f"model.target.path={tmp_path / 'target'}"),
        *(
            f"+model.donors.llava.path={tmp_path / 'llava'}",
            f"+model.donors.cogvlm.path={tmp_path / 'cogvlm'}",
        ),
        *(*words, f"output={tmp_path / 'out'}"),
    )
    assert done.status == 0, done.err
    merged = load_file(tmp_path / "out/model/model.safetensors")
    assert merged.keys() == ours.keys()
    donors = exact(llava), exact(cogvlm)
    for name, own in ours.items():
        if "vision_model" in name:
            assert_same_bits(merged[name], own)
        else:
            assert_same_bits(merged[name], merged_by_hand(own, in_mplug_owl2(name, *donors), shares))
    record = json.loads((tmp_path / "out/model/adamms_recipe.json").read_text())
    assert record["coefficients"] == pytest.approx(shares, abs=1e-15)
    assert record["architectures"] == {"target": "mplug_owl2", "llava": "llava", "cogvlm": "cogvlm"}
    plan = json.loads((tmp_path / "out/plan.json").read_text())
    counts = [(part["donor"], part["tensors"]) for part in plan["donor_coverage"]]
    assert counts == [("llava", len(ours) - 1), ("cogvlm", len(ours) - 1)]
    assert "What each donor has a part in" in done.out


def test_where_only_some_donors_have_a_part(run, tmp_path: Path) -> None:
    """Fewer layers, no biases: the plan says so, and the shares of those donors are the target's."""
    states = {
        "target": tiny.llama_state(1, layers=3, bias=True, dtype=BF16),
        "a": tiny.llama_state(2, layers=3, dtype=BF16),
        "b": tiny.llama_state(3, layers=2, bias=True, dtype=F16),
        "c": tiny.cogvlm_state(4, layers=1, dtype=BF16),
    }
    for name, state in states.items():
        tiny.write_model(tmp_path / name, state, "CogVLMForCausalLM" if name == "c" else "LlamaForCausalLM")
    shares = {"a": 0.1, "b": 0.2, "c": 0.3}
    done = run(
        *("mode=merge", "model=custom", f"model.target.path={tmp_path / 'target'}"),
        *(f"{'' if n == 'a' else '+'}model.donors.{n}.path={tmp_path / n}" for n in shares),
        *(f"merge.alpha={shares}".replace("'", ""), f"output={tmp_path / 'out'}"),
    )
    assert done.status == 0, done.err
    merged = load_file(tmp_path / "out/model/model.safetensors")
    values = {name: exact(state) for name, state in states.items()}
    missing = dict.fromkeys("abc", 0)
    for name, own in states["target"].items():
        parts = {donor: values[donor][name] for donor in "ab" if name in values[donor]}
        if "layers." not in name or ("layers.0." in name and "bias" not in name):
            found = in_mplug_owl2(name, values["a"], values["c"])
            parts["c"] = found["cogvlm"]
        if not parts:
            assert_same_bits(merged[name], own)
            continue
        for donor in set("abc") - parts.keys():
            missing[donor] += 1
        assert_same_bits(merged[name], merged_by_hand(own, parts, shares))
    plan = json.loads((tmp_path / "out/plan.json").read_text())
    lacking = [donor for record in plan["tensors"] for donor in record.get("lacking", {})]
    assert {donor: lacking.count(donor) for donor in "abc"} == missing
    records = {record["name"]: record for record in plan["tensors"]}
    assert records["model.layers.2.mlp.up_proj.weight"]["lacking"] == {
        "b": "b has 2 layers",
        "c": "c has 1 layers",
    }
    assert records["model.layers.2.self_attn.q_proj.bias"]["action"] == "keep"
    assert "Merged tensors that a donor has no part in" in done.out


def three(models: Path, lm: Path) -> list[str]:
    """A Qwen2-VL, and donors of three architectures: LLaVA-OneVision, a Qwen2, and a second Qwen2-VL."""
    return [
        *(
            "model=custom",
            f"model.target.path={models / 'target'}",
            f"model.donors.a.path={models / 'donor'}",
        ),
        f"+model.donors.lm.path={models / 'ancestor'}",
        f"+model.donors.vl.path={lm}",
    ]


@pytest.mark.parametrize("count", [2, 3])
def test_a_search_walks_along_the_donors_share_together(
    run, talkative: Path, tmp_path: Path, count: int
) -> None:
    """respond fills the store, search finds all of it there; the model is the one that merge writes."""
    other = tmp_path / "other"
    other.mkdir()
    for file in (talkative / "target").iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    state = load_file(other / "model.safetensors")
    noise = torch.Generator().manual_seed(9)
    state = {n: t + 0.1 * torch.randn(t.shape, generator=noise) for n, t in state.items()}
    tiny.save_file(state, other / "model.safetensors", metadata={"format": "pt"})
    models, weights = three(talkative, other), {"a": 2, "lm": 1, "vl": 1}
    if count == 2:
        models, weights = models[:-1], {"a": 2, "lm": 1}
    words = [*models, f"merge.weights={weights}".replace("'", "")]
    data = ["data=jsonl", f"data.path={write_jsonl(tmp_path)}", "engine.max_new_tokens=3"]
    data += ["engine.accelerator=cpu", "evaluate=none", f"store={tmp_path / 'store'}"]
    grid = [0.0, 0.3, 0.6]
    for alpha in grid:
        done = run("mode=respond", *words, *data, f"candidate={alpha}", f"output={tmp_path / str(alpha)}")
        assert done.status == 0, done.err
    done = run("mode=search", *words, *data, f"search.grid={grid}", f"output={tmp_path / 'found'}")
    assert done.status == 0, done.err
    assert f"store: {len(grid) * 24} answers were there, 0 were generated" in done.out
    selection = json.loads((tmp_path / "found/selection.json").read_text())
    assert selection["overall"]["alpha"] == 0.3  # the only one inside
    page = Page(tmp_path / "found/report.html")
    part = {2: "67% is a's, 33% is lm's", 3: "50% is a's, 25% is lm's, 25% is vl's"}[count]
    assert f"; of alpha {part}" in page.text
    merged = load_file(tmp_path / "found/model/model.safetensors")
    own = load_file(talkative / "target/model.safetensors")
    donor, ancestor = (load_file(talkative / n / "model.safetensors") for n in ("donor", "ancestor"))
    shares = {name: 0.3 * weight / sum(weights.values()) for name, weight in weights.items()}
    name = "model.layers.1.mlp.down_proj.weight"
    parts = {"a": donor[f"language_model.{name}"], "lm": ancestor[name], "vl": state[name]}
    expected = merged_by_hand(own[name], {d: parts[d].double().numpy() for d in weights}, shares)
    assert_same_bits(merged[name], expected)
    again = run("mode=merge", *words, "merge.alpha=0.3", f"output={tmp_path / 'again'}")
    assert again.status == 0, again.err
    files = [(tmp_path / n / "model/model.safetensors").read_bytes() for n in ("found", "again")]
    assert files[0] == files[1]


BAD = {
    "a weight too few": (["merge.weights={a: 1}"], "merge.weights gives no weight to the donor 'lm'"),
    "unknown donor": (
        ["merge.weights={a: 1, lm: 1, lmm: 2}"],
        "merge.weights names 'lmm'; the donors are a, lm. Nearest: lm",
    ),
    "negative": (["merge.weights={a: 1, lm: -1}"], "merge.weights.lm is -1; expected a number that is not"),
    "no number": (["merge.weights={a: 1, lm: x}"], "merge.weights.lm is 'x'; expected a number"),
    "all zero": (["merge.weights={a: 0, lm: 0}"], "merge.weights are all zero; expected one above zero"),
    "a list": (["merge.weights=[1,2]"], "merge.weights is [1, 2]; expected {donor name: number}"),
    "both": (
        ["merge.weights={a: 1, lm: 1}", "merge.alpha={a: 0.1, lm: 0.1}"],
        "so merge.weights has nothing to divide; give one",
    ),
    "a share too many": (
        ["merge.alpha={a: 0.1, lm: 0.1, c: 0}"],
        "merge.alpha names 'c'; the donors are a, lm",
    ),
    "more than all": (["merge.alpha={a: 0.6, lm: 0.6}"], "merge.alpha adds up to 1.2; expected at most 1"),
    "a reserved name": ([f"+model.donors.target.path={Path(__file__).parent}"], "cannot be called 'target'"),
}


@pytest.mark.parametrize("case", BAD)
def test_shares_that_do_not_fit_the_donors(run, talkative: Path, tmp_path: Path, case: str) -> None:
    words, message = BAD[case]
    done = run("mode=merge", *three(talkative, tmp_path)[:-1], *words, f"output={tmp_path / 'out'}")
    assert done.status == 2
    assert message in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("mode", ["search", "respond"])
def test_shares_by_name_are_nothing_to_search_along(run, talkative: Path, tmp_path: Path, mode: str) -> None:
    words = [*three(talkative, tmp_path)[:-1], "merge.alpha={a: 0.1, lm: 0.2}", "candidate=0.1"]
    done = run(f"mode={mode}", *words, f"output={tmp_path / 'out'}")
    assert done.status == 2
    assert "a search varies their share together; merge.weights={donor name: number}" in done.err
