"""NAN against its formula in float64; the same for any shards, threads and chunks; from the command line."""

import json
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import tiny
import tiny_merges as merging
import torch
from command import Outcome, pair, write_jsonl
from safetensors.torch import load_file

from adamms.errors import AdammsError
from adamms.merge import stream
from adamms.merge.methods.linear import Linear
from adamms.merge.recipe import Recipe
from adamms.merge.schedule import scheduled
from adamms.merge.schedules.norms import Norms
from adamms.merge.surveys.sums import Sums

# The second donor lacks the last layer.
STATES = {
    "target": tiny.llama_state(1, dtype=torch.bfloat16),
    "a": tiny.llama_state(2, dtype=torch.float16),
    "b": {name: 3 * tensor for name, tensor in tiny.llama_state(3, layers=1).items()},
}


def recipe_of(folder: Path, shards: int = 1) -> Recipe:
    written = {n: tiny.write_model(folder / n, state, shards=shards) for n, state in STATES.items()}
    donors = {name: written[name] for name in ("a", "b")}
    return merging.make(Linear(), written["target"], donors, None, 0.0)


def expected_shares(shares: Mapping[str, float]) -> dict[str, float]:
    deviations = {
        name: np.sqrt(np.mean(np.concatenate([t.double().numpy().ravel() for t in state.values()]) ** 2))
        for name, state in STATES.items()
    }
    weights = {name: share / deviations[name] for name, share in shares.items()}
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


@pytest.mark.parametrize("given", [{"a": 1 / 3, "b": 1 / 3}, {"a": 0.1, "b": 0.6}, {"a": 1.0, "b": 0.0}])
def test_the_shares_are_the_formula(tmp_path: Path, given: Mapping[str, float]) -> None:
    recipe = recipe_of(tmp_path)
    found = recipe.surveyed(Norms().survey())
    shares, exceptions = scheduled(Norms(), recipe.plan.slots, given, {}, found)
    assert not exceptions
    expected = expected_shares({"target": 1 - sum(given.values())} | given)
    assert shares == pytest.approx({name: expected[name] for name in given}, rel=1e-12)


def test_between_models_with_all_tensors_the_norm_is_frobenius(tmp_path: Path) -> None:
    """w = (1 / norm) / sum of 1 / norm."""
    recipe = merging.make(
        Linear(),
        tiny.write_model(tmp_path / "target", STATES["target"]),
        {"a": tiny.write_model(tmp_path / "a", STATES["a"])},
        None,
        0.0,
    )
    shares, _ = scheduled(Norms(), recipe.plan.slots, {"a": 0.5}, {}, recipe.surveyed(Norms().survey()))
    flat = {n: torch.cat([t.double().reshape(-1) for t in STATES[n].values()]) for n in ("target", "a")}
    inverse = {name: 1 / float(values.norm()) for name, values in flat.items()}
    assert shares["a"] == pytest.approx(inverse["a"] / sum(inverse.values()), rel=1e-12)


def test_what_is_found_does_not_depend_on_shards_threads_or_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    survey = Norms().survey()
    expected = recipe_of(tmp_path / "one").surveyed(survey)
    assert len(pickle.dumps(expected)) < 1000  # no values of the model are kept
    for shards, workers, chunk in ((3, 1, 50), (2, 4, 1)):
        monkeypatch.setattr(stream, "CHUNK_ELEMENTS", chunk)
        assert recipe_of(tmp_path / f"{shards}", shards).surveyed(survey, workers) == expected


def test_infinities_do_not_count_and_zeros_alone_are_an_error(tmp_path: Path) -> None:
    target = tiny.write_model(tmp_path / "target", STATES["target"])
    spoilt = {name: tensor.clone() for name, tensor in STATES["a"].items()}
    spoilt["lm_head.weight"].fill_(float("inf"))
    recipe = merging.make(Linear(), target, {"a": tiny.write_model(tmp_path / "a", spoilt)}, None, 0.0)
    found = recipe.surveyed(Norms().survey())
    finite = sum(tensor.numel() for name, tensor in spoilt.items() if name != "lm_head.weight")
    assert isinstance(found, Sums)
    assert found.of["a\ncount"] == finite
    nothing = {name: torch.zeros_like(tensor) for name, tensor in spoilt.items()}
    empty = merging.make(Linear(), target, {"a": tiny.write_model(tmp_path / "0", nothing)}, None, 0.0)
    found = empty.surveyed(Norms().survey())
    with pytest.raises(AdammsError, match="that of a is 0: it has no finite value but 0"):
        scheduled(Norms(), empty.plan.slots, {"a": 0.5}, {}, found)
    assert scheduled(Norms(), empty.plan.slots, {"a": 0.0}, {}, found) == ({"a": 0.0}, {})


@pytest.mark.parametrize("method", ["linear", "ties"])
def test_from_the_command_line(
    run: Callable[..., Outcome], talkative: Path, tmp_path: Path, method: str
) -> None:
    """What was measured is the share that is recorded beside alpha, of any method."""
    given = [*pair(talkative), f"model.ancestor.path={talkative / 'ancestor'}", f"merge={method}"]
    done = run("mode=merge", *given, "merge/schedule=norms", "merge.alpha=0.5", f"output={tmp_path / 'out'}")
    assert done.status == 0, done.err
    assert "measure" in done.out
    plan = json.loads((tmp_path / "out/plan.json").read_text())
    names = [tensor["name"] for tensor in plan["tensors"] if tensor["action"] == "merge"]
    states = {name: load_file(talkative / name / "model.safetensors") for name in ("target", "donor")}
    inverse = {
        name: 1 / float(torch.cat([state[prefix + n].double().reshape(-1) for n in names]).norm())
        for (name, state), prefix in zip(states.items(), ("", "language_model."), strict=True)
    }
    record = json.loads((tmp_path / "out/model/adamms_recipe.json").read_text())
    expected = pytest.approx(inverse["donor"] / sum(inverse.values()), rel=1e-12)
    assert record["schedule"]["lowest"] == record["schedule"]["highest"] == {"a": expected}
    assert record["coefficients"] == {"a": 0.5}
    assert "exceptions" not in record


def test_a_search_with_a_control_goes_along_alpha(
    run: Callable[..., Outcome], talkative: Path, tmp_path: Path
) -> None:
    given = [*pair(talkative), f"model.ancestor.path={talkative / 'ancestor'}", "evaluate.control=true"]
    given += ["data=jsonl", f"data.path={write_jsonl(tmp_path, per_task=1)}", "search.grid=[0.0,0.5,1.0]"]
    done = run(*given, "merge/schedule=norms", f"output={tmp_path / 'out'}")
    assert done.status == 0, done.err
