"""The baselines' methods from the command line: merged, searched, and refused with what to do instead."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command import pair, write_jsonl
from safetensors.torch import load_file

METHODS = ("task_arithmetic", "ties", "ties_mergekit", "dare_linear", "dare_ties", "metagpt")
NAME = "model.layers.1.self_attn.q_proj.weight"


def trio(folder: Path) -> list[str]:
    return [*pair(folder), f"model.ancestor.path={folder / 'ancestor'}"]


@pytest.mark.parametrize("method", METHODS)
def test_it_merges_what_can_be_merged(run, talkative: Path, tmp_path: Path, method: str) -> None:
    done = run("mode=merge", *trio(talkative), f"merge={method}", f"output={tmp_path / 'out'}")
    assert done.status == 0, done.err
    assert ("measure" in done.out) == (method in ("ties", "dare_ties", "metagpt"))
    merged = load_file(tmp_path / "out/model/model.safetensors")
    target = load_file(talkative / "target/model.safetensors")
    assert not torch.equal(merged[NAME], target[NAME])
    assert torch.equal(merged["visual.patch_embed.proj.weight"], target["visual.patch_embed.proj.weight"])
    record = json.loads((tmp_path / "out/model/adamms_recipe.json").read_text())
    assert record["method"]["name"] == method.removesuffix("_mergekit")
    assert record["coefficients"] == {"a": 0.5}


def test_ties_is_the_formula_from_the_files_on(run, talkative: Path, tmp_path: Path) -> None:
    """All tensors that the plan merges as one vector, as the authors' scripts have it."""
    done = run(
        *("mode=merge", *trio(talkative), "merge=ties", "merge.density=0.3"), f"output={tmp_path / 'out'}"
    )
    assert done.status == 0, done.err
    plan = json.loads((tmp_path / "out/plan.json").read_text())
    names = [tensor["name"] for tensor in plan["tensors"] if tensor["action"] == "merge"]
    ancestor, target, donor = (
        load_file(talkative / name / "model.safetensors") for name in ("ancestor", "target", "donor")
    )
    flat = [
        np.concatenate([(state[prefix + n].double() - ancestor[n].double()).numpy().ravel() for n in names])
        for state, prefix in ((target, ""), (donor, "language_model."))
    ]
    kept = []
    for vector in flat:
        least = np.sort(np.abs(vector))[-int(vector.size * 0.3) - 1]
        kept.append(np.where(np.abs(vector) >= least, vector, 0))
    sign = np.sign(sum(kept))
    sign = np.where(sign == 0, np.sign(sign.sum()), sign)
    expected = sum(np.where(vector * sign > 0, vector, 0) for vector in kept)
    expected += np.concatenate([ancestor[n].double().numpy().ravel() for n in names])
    merged = load_file(tmp_path / "out/model/model.safetensors")
    found = np.concatenate([merged[n].numpy().ravel() for n in names])
    np.testing.assert_array_equal(found, expected.astype(np.float32))


@pytest.mark.parametrize("method", ["ties", "metagpt"])
def test_a_search_ends_with_the_target_beside_the_choice(
    run, talkative: Path, tmp_path: Path, method: str
) -> None:
    out = tmp_path / "out"
    done = run(
        *("mode=search", *trio(talkative), f"merge={method}", "evaluate.control=true"),
        *("data=jsonl", f"data.path={write_jsonl(tmp_path, per_task=1)}", f"output={out}"),
        *("search.grid=[0,0.4,0.8]", "engine.max_new_tokens=3", "engine.accelerator=cpu"),
    )
    assert done.status == 0, done.err
    assert "measure" in done.out
    assert "target alone" in done.out
    evaluation = json.loads((out / "evaluation.json").read_text())
    # At alpha 0 TIES trims the target; MetaGPT leaves it as it is.
    assert ("target" in evaluation) == (method == "ties")
    assert set(evaluation["candidates"]) == {"0", "0.1", "0.4", "0.8"}
    record = json.loads((out / "model/adamms_recipe.json").read_text())
    assert record["coefficients"] == {"a": 0.4}


def test_the_targets_own_answers_are_the_unmerged_models(run, talkative: Path, tmp_path: Path) -> None:
    """The live model has held candidates of the method before it is asked."""
    data = ["data=jsonl", f"data.path={write_jsonl(tmp_path, per_task=2)}", "engine.max_new_tokens=3"]
    scores = {}
    for method in ("ties", "linear"):
        done = run(
            *("mode=search", *trio(talkative), f"merge={method}", *data, "evaluate.donors=false"),
            *(f"output={tmp_path / method}", "search.grid=[0,0.4,0.8]", "store=null"),
        )
        assert done.status == 0, done.err
        scores[method] = json.loads((tmp_path / method / "evaluation.json").read_text())
    assert scores["ties"]["target"] == scores["linear"]["candidates"]["0"]


BAD = {
    "no ancestor": (["merge=ties", "model.ancestor.path=null"], "merge=ties needs an ancestor"),
    "others": (["merge=ties", "model.ancestor.path=null"], "Without one: merge="),
    "density": (["merge=ties", "merge.density=20"], "merge.density is 20; expected a number of at most 1"),
    "dare": (["merge=dare_linear", "merge.density=0"], "merge.density is 0; expected a number above 0"),
    "density of nobody": (
        ["merge=ties", "merge.density={a: 0.3, target: 0.4, aa: 0.5}"],
        "merge.density names 'aa'; the models are target, a. Nearest: a.",
    ),
    "scope": (["merge=ties", "merge.scope=layer"], "expected one of model, tensor"),
    "seed": (["merge=dare_ties", "merge.seed=a"], "merge.seed is 'a'; expected a whole number"),
    "scaling": (["merge=metagpt", "merge.scaling=inf"], "merge.scaling is inf; expected a finite number"),
}


@pytest.mark.parametrize("mode", ["merge", "plan"])
@pytest.mark.parametrize("case", BAD)
def test_bad_input_says_what_and_writes_nothing(
    run, talkative: Path, tmp_path: Path, case: str, mode: str
) -> None:
    overrides, message = BAD[case]
    done = run(f"mode={mode}", *trio(talkative), f"output={tmp_path / 'out'}", *overrides)
    assert done.status == 2
    assert message in done.err
    assert "Traceback" not in done.err + done.out
    assert not (tmp_path / "out").exists()
