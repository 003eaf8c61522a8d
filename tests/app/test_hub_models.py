"""Models of a hub through the command line: a plan reads headers alone, a merge downloads what it needs."""

import json
import re
from pathlib import Path

import pytest
import tiny
from fake_hub import FakeHub

IDS = ["model=custom", "model.target.path=owner/target", "model.donors.a.path=owner/donor"]


@pytest.fixture
def published(hub: FakeHub) -> FakeHub:
    tiny.save_qwen2_vl(hub.root / "owner/target", vocab_size=4000)
    donor = tiny.save_qwen2(hub.root / "owner/donor", 1, vocab_size=4000)
    (donor / "consolidated.safetensors").write_bytes(bytes(1000))
    return hub


def test_a_plan_reads_the_headers_and_a_merge_the_weights(run, published: FakeHub, tmp_path: Path) -> None:
    done = run("mode=plan", *IDS, "output=plan")
    assert done.status == 0, done.err
    plan = json.loads(Path("plan/plan.json").read_text())
    assert plan["target"] == "owner/target (qwen2_vl)"
    assert {"model": "a", "what": "weights", "target": "", "other": "not compared: headers alone"} in (
        plan["differences"]
    )
    for name in ("owner/target", "owner/donor"):
        whole = (published.root / name / "model.safetensors").stat().st_size
        assert published.weights_sent(name)["model.safetensors"] <= 100_000 < whole / 10
    assert not list((tmp_path / "cached").rglob("*.safetensors"))

    merged = run("mode=merge", *IDS, "merge.alpha=0.5", "output=merged")
    assert merged.status == 0, merged.err
    assert published.weights_sent("owner/donor").keys() == {"model.safetensors"}
    again = run("mode=plan", *IDS, "output=again")
    assert again.status == 0, again.err
    assert "headers alone" not in Path("again/plan.json").read_text()
    slots = [json.loads(Path(f"{name}/plan.json").read_text())["tensors"] for name in ("plan", "again")]
    assert slots[0] == slots[1]


@pytest.mark.parametrize("override", ["plan.verify=true", "mapper=discover"])
def test_a_plan_that_looks_at_weights_downloads_them(run, published: FakeHub, override: str) -> None:
    done = run("mode=plan", *IDS, override, "output=plan")
    assert "headers" not in done.err
    sent = published.weights_sent("owner/target")["model.safetensors"]
    assert sent == (published.root / "owner/target/model.safetensors").stat().st_size


def test_torch_files_come_for_a_plan_and_it_is_said(run, hub: FakeHub) -> None:
    tiny.save_qwen2_vl(hub.root / "owner/target")
    donor = tiny.save_qwen2(hub.root / "owner/donor", 1)
    tiny.write_state(tiny.load_file(donor / "model.safetensors"), donor, torch_zip=True)
    (donor / "model.safetensors").unlink()
    done = run("mode=plan", *IDS, "output=plan")
    assert done.status == 0, done.err
    assert "model.donors.a: the headers of owner/donor come with its weights: they are downloaded" in done.out


def test_a_model_that_the_hub_has_not_is_named_with_its_key(run, published: FakeHub) -> None:
    done = run("mode=plan", *IDS, "model.donors.a.path=owner/other")
    assert done.status == 2
    expected = r"error: model\.donors\.a: owner/other: no such local folder, and the hub did not give it \("
    assert re.search(expected, done.err)
