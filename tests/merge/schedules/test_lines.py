"""LiNeS against its formula, and written: shares by depth, over any rule."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command import Outcome, pair, write_jsonl
from configured import configured
from safetensors.torch import load_file, save_file
from slow_engine import LOG
from tiny import assert_same_bits

from adamms.errors import AdammsError
from adamms.mapping.expression import Read
from adamms.mapping.plan import Slot
from adamms.merge.schedule import scheduled
from adamms.merge.schedules.lines import Lines
from adamms.report.result import Result

LAYERS = 5


def slot(name: str, role: str) -> Slot:
    return Slot(name, (2, 2), "F32", role, {"a": Read(name), "b": Read(name)})


SLOTS = [
    slot("embed", "embed.weight"),
    *(slot(f"{i}.q", f"layers.{i}.attn.q.weight") for i in range(LAYERS)),
    slot("norm", "final_norm.weight"),
    slot("head", "head.weight"),
    Slot("kept", (2, 2), "F32", "layers.0.attn.o.weight", reason="kept"),
]


def test_the_shares_are_the_papers_coefficients() -> None:
    """lambda(l) = alpha + beta * (l - 1) / (L - 1), l = 1 .. L: of 0.8, alpha is 0.2 and beta 0.6."""
    shares, found = scheduled(Lines(first=0.25, last=1.0), SLOTS, {"a": 0.2, "b": 0.6}, {}, None)
    assert shares == {"a": 0.2, "b": 0.6}
    totals = {name: sum(own.values()) for name, own in found.items()}
    papers = [0.2 + 0.6 * (number - 1) / (LAYERS - 1) for number in range(1, LAYERS + 1)]
    assert [totals[f"{i}.q"] for i in range(LAYERS)] == pytest.approx(papers, rel=1e-15)
    assert totals["embed"] == pytest.approx(0.2)
    assert totals["norm"] == totals["head"] == pytest.approx(0.8)
    assert found["2.q"]["b"] == pytest.approx(3 * found["2.q"]["a"])
    assert "kept" not in found


def test_a_rules_share_is_scaled_too_and_equal_shares_are_one() -> None:
    ruled = scheduled(Lines(first=0.0, last=1.0), SLOTS, {"a": 0.4}, {"4.q": {"a": 0.1}}, None)[1]
    assert (ruled["4.q"], ruled["3.q"]) == ({"a": 0.1}, {"a": pytest.approx(0.3)})
    assert scheduled(Lines(first=0.5, last=0.5), SLOTS, {"a": 0.4}, {}, None) == ({"a": 0.2}, {})


def test_a_tensor_of_unknown_depth_is_an_error() -> None:
    with pytest.raises(AdammsError, match="need the layer of other, and this mapping knows no roles"):
        scheduled(configured("merge/schedule/lines"), [*SLOTS, slot("other", "")], {"a": 0.5}, {}, None)


def test_the_written_model_has_them(run: Callable[..., Outcome], talkative: Path, tmp_path: Path) -> None:
    own = ("merge/schedule=lines", "merge.schedule.first=0.2", "merge.alpha=0.5")
    done = run("mode=merge", *pair(talkative), *own, f"output={tmp_path / 'out'}")
    assert done.status == 0, done.err
    record = json.loads((tmp_path / "out/model/adamms_recipe.json").read_text())
    assert record["coefficients"] == {"a": 0.5}
    ends = {"lowest": {"a": 0.1}, "highest": {"a": 0.5}}
    assert record["schedule"] == {"name": "lines", "parameters": {"first": 0.2, "last": 1.0}} | ends
    assert "exceptions" not in record
    card = (tmp_path / "out/model/README.md").read_text()
    assert "with 0.5 of a, by the schedule lines (first=0.2, last=1): 0.1 to 0.5 of a." in card
    result = Result.from_json(json.loads((tmp_path / "out/result.json").read_text()))
    assert result.hyperparameters is not None
    assert result.hyperparameters.schedule == record["schedule"]
    merged, target, donor = (
        load_file(folder / "model.safetensors")
        for folder in (tmp_path / "out/model", talkative / "target", talkative / "donor")
    )
    layers = 1 + max(int(name.split(".")[2]) for name in target if name.startswith("model.layers."))
    for name, tensor in target.items():
        if name.startswith("visual"):
            assert_same_bits(merged[name], tensor)
            continue
        depth = int(name.split(".")[2]) / (layers - 1) if "layers" in name else float("embed" not in name)
        share = 0.5 * (0.2 + 0.8 * depth)
        expected = (1 - share) * tensor.double() + share * donor[f"language_model.{name}"].double()
        torch.testing.assert_close(merged[name].double(), expected, rtol=1e-6, atol=1e-7)


def test_a_setting_of_its_own_can_be_searched(
    run: Callable[..., Outcome], talkative: Path, tmp_path: Path
) -> None:
    data = ["data=jsonl", f"data.path={write_jsonl(tmp_path, per_task=1)}"]
    grid = "search.grid={merge.schedule.first: [0.0, 0.5, 1.0]}"
    done = run(*pair(talkative), *data, "merge/schedule=lines", grid, f"output={tmp_path / 'out'}")
    assert done.status == 0, done.err
    assert "schedule.first=0.5" in done.out
    record = json.loads((tmp_path / "out/model/adamms_recipe.json").read_text())
    assert record["schedule"]["parameters"] == {"first": 0.5, "last": 1.0}
    assert "shares grow linearly with depth" in (tmp_path / "out/report.html").read_text()


def test_what_it_refuses_shows_before_any_engine_starts(
    run: Callable[..., Outcome], talkative: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mapping by content gives no roles, and so no depth."""
    donor = shutil.copytree(talkative / "target", tmp_path / "donor")
    state = load_file(donor / "model.safetensors")
    noise = torch.Generator().manual_seed(0)
    near = {k: v + 0.1 * v.std() * torch.randn(v.shape, generator=noise) for k, v in state.items()}
    save_file(near, donor / "model.safetensors")
    monkeypatch.setenv(LOG, str(tmp_path / "log"))
    data = ["data=jsonl", f"data.path={write_jsonl(tmp_path, per_task=1)}", f"cache={tmp_path}"]
    given = ["mapper=discover", "engine._target_=slow_engine.Slow", f"output={tmp_path / 'out'}"]
    given.append(f"model.donors.a.path={donor}")
    done = run(*pair(talkative), *data, *given, "merge/schedule=lines")
    assert done.status == 2
    assert "this mapping knows no roles" in done.err
    assert not (tmp_path / "log").exists()
