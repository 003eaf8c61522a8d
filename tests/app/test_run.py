"""The command line, as a user types it: the four documented commands, and every kind of bad input."""

import errno
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command import ROOT, pair, write_jsonl
from hydra.errors import MissingConfigException
from safetensors.torch import load_file, save_file

from adamms.app.config.messages import explain
from adamms.search.doubts import MANY_CUT, TOO_FEW

pytestmark = pytest.mark.long


class TestPlan:
    def test_writes_the_plan_and_prints_coverage(self, run, talkative: Path, tmp_path: Path) -> None:
        done = run("mode=plan", *pair(talkative), "mapper.embeddings=keep", f"output={tmp_path / 'out'}")
        assert done.status == 0, done.err
        plan = json.loads((tmp_path / "out/plan.json").read_text())
        stored = load_file(talkative / "target/model.safetensors")
        assert [tensor["name"] for tensor in plan["tensors"]] == sorted(stored)
        by_name = {tensor["name"]: tensor for tensor in plan["tensors"]}
        assert by_name["model.layers.0.mlp.up_proj.weight"]["donors"] == {
            "a": {"read": "language_model.model.layers.0.mlp.up_proj.weight"}
        }
        assert by_name["lm_head.weight"]["action"] == "keep"
        assert by_name["lm_head.weight"]["reason"] == "mapper.embeddings=keep"
        merged = sum(tensor["action"] == "merge" for tensor in plan["tensors"])
        assert re.search(rf"^merge +{merged} ", done.out, re.MULTILINE)
        written = sorted(file.name for file in (tmp_path / "out").iterdir())
        assert written == [".hydra", "plan.json", "report.html", "result.json", "run.log"]


class TestMerge:
    def test_merges_two_donors_by_name(self, run, talkative: Path, tmp_path: Path) -> None:
        done = run(
            "mode=merge",
            *pair(talkative),
            f"+model.donors.b.path={talkative / 'ancestor'}",
            "merge=linear",
            "merge.alpha={a: 0.25, b: 0.5}",
            f"output={tmp_path / 'out'}",
        )
        assert done.status == 0, done.err
        merged = load_file(tmp_path / "out/model/model.safetensors")
        target = load_file(talkative / "target/model.safetensors")
        donor = load_file(talkative / "donor/model.safetensors")
        ancestor = load_file(talkative / "ancestor/model.safetensors")
        name = "model.layers.1.self_attn.q_proj.weight"
        expected = (
            0.25 * target[name].double()
            + 0.25 * donor[f"language_model.{name}"].double()
            + 0.5 * ancestor[name].double()
        )
        assert torch.equal(merged[name], expected.to(torch.float32))
        assert torch.equal(merged["visual.patch_embed.proj.weight"], target["visual.patch_embed.proj.weight"])
        assert str(tmp_path / "out/model") in done.out.splitlines()[-1]
        recipe = json.loads((tmp_path / "out/model/adamms_recipe.json").read_text())
        assert recipe["coefficients"] == {"a": 0.25, "b": 0.5}

    def test_alpha_zero_gives_the_target_back(self, run, talkative: Path, tmp_path: Path) -> None:
        done = run("mode=merge", *pair(talkative), "merge.alpha=0", f"output={tmp_path / 'out'}")
        assert done.status == 0, done.err
        merged = load_file(tmp_path / "out/model/model.safetensors")
        for name, tensor in load_file(talkative / "target/model.safetensors").items():
            assert merged[name].numpy().tobytes() == tensor.numpy().tobytes(), name

    def test_same_bytes_from_many_shards(self, run, talkative: Path, tmp_path: Path) -> None:
        sharded = tmp_path / "sharded"
        for name in ("target", "donor"):
            shutil.copytree(talkative / name, sharded / name)
            tensors = load_file(sharded / name / "model.safetensors")
            (sharded / name / "model.safetensors").unlink()
            weight_map = {key: f"part-{index % 3}.safetensors" for index, key in enumerate(tensors)}
            for shard in set(weight_map.values()):
                part = {key: tensor for key, tensor in tensors.items() if weight_map[key] == shard}
                save_file(part, sharded / name / shard)
            index = {"metadata": {}, "weight_map": weight_map}
            (sharded / name / "model.safetensors.index.json").write_text(json.dumps(index))
        for source, out in ((talkative, "one"), (sharded, "many")):
            done = run("mode=merge", *pair(source), "max_shard_gb=0.001", f"output={tmp_path / out}")
            assert done.status == 0, done.err
        files = sorted(file.name for file in (tmp_path / "one/model").glob("*.safetensors"))
        assert len(files) > 1
        for file in files:
            assert (tmp_path / "one/model" / file).read_bytes() == (
                tmp_path / "many/model" / file
            ).read_bytes()


class TestSearch:
    def test_ends_with_model_selection_and_report(self, run, talkative: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        settings = ["search.grid=[0,0.3,0.6,0.9]", "search.samples=2", "engine.max_new_tokens=4"]
        done = run(
            *("mode=search", *pair(talkative), "data=jsonl", f"data.path={write_jsonl(tmp_path)}"),
            *(f"output={out}", "engine.accelerator=cpu", *settings),
        )
        assert done.status == 0, done.err
        selection = json.loads((out / "selection.json").read_text())
        assert len(selection["tasks"]) == 8
        for choice in (*selection["tasks"].values(), selection["overall"]):
            assert choice["alpha"] in (0.3, 0.6)
            assert set(choice["differences"]) == {"0.3", "0.6"}
            assert choice["differences"][str(choice["alpha"])] == min(choice["differences"].values())
            assert 0 <= choice["confidence"] <= 1
            assert choice["trust"]["probability"] <= 0.5
            assert {MANY_CUT, TOO_FEW} <= set(choice["doubts"])  # two examples a task, answers without end
        assert selection["overall"]["examples"] == 16
        recipe = json.loads((out / "model/adamms_recipe.json").read_text())
        assert recipe["coefficients"] == {"a": selection["overall"]["alpha"]}
        evaluation = json.loads((out / "evaluation.json").read_text())
        assert set(evaluation["candidates"]) == {"0", "0.1", "0.3", "0.6", "0.9"}
        assert set(evaluation["donors"]) == {"a"}
        answers = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
        assert len(answers) == 24
        page = (out / "report.html").read_text()
        shown = json.loads(page.split('id="answers-data">')[1].partition("</script>")[0])
        rows = {row["id"]: row for row in shown["rows"]}
        for line in answers:
            row = rows[line["id"]]
            given = {
                c: row["texts"][at]
                for c, at in zip(shown["candidates"], row["given"], strict=True)
                if at >= 0
            }
            assert given == line["answers"]
            assert row["right"] == [_plain(text) == _plain(row["label"]) for text in row["texts"]]
            assert None not in row["images"]
            assert len(row["images"]) == 1
        assert page.count('class="heat distance') == 1
        assert "max_new_tokens: 4" in page
        wide = [line for line in done.out.splitlines() if len(line) > 80 and "/" not in line]
        assert not wide

    def test_labels_change_nothing_in_the_search(self, run, talkative: Path, tmp_path: Path) -> None:
        (tmp_path / "with").mkdir()
        (tmp_path / "without").mkdir()
        files = {
            "with": write_jsonl(tmp_path / "with"),
            "without": write_jsonl(tmp_path / "without", labels=False),
        }
        for name, file in files.items():
            done = run(
                *(
                    "mode=search",
                    *pair(talkative),
                    "data=jsonl",
                    f"data.path={file}",
                    "evaluate.donors=false",
                ),
                *(f"output={tmp_path / name / 'out'}", "search.grid=[0,0.4,0.8]", "engine.max_new_tokens=3"),
            )
            assert done.status == 0, done.err
        selections = [(tmp_path / name / "out/selection.json").read_bytes() for name in files]
        assert selections[0] == selections[1]
        assert not (tmp_path / "without/out/evaluation.json").exists()
        assert (tmp_path / "without/out/report.html").exists()


def _plain(text: str) -> str:
    return text.strip().removesuffix(".").strip().casefold()


def _truncate(folder: Path) -> None:
    file = folder / "donor/model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _lie(folder: Path) -> None:
    file = folder / "donor/model.safetensors"
    raw = file.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    header["image_newline"]["data_offsets"][1] += 4
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])


def _index(shard: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        names = load_file(folder / "donor/model.safetensors")
        index = {"weight_map": dict.fromkeys(names, "model.safetensors") | {"image_newline": shard}}
        (folder / "donor/model.safetensors.index.json").write_text(json.dumps(index))

    return change


def _rewrite(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    def rewrite(folder: Path) -> None:
        tensors = load_file(folder / "donor/model.safetensors")
        change(tensors)
        save_file(tensors, folder / "donor/model.safetensors")

    return rewrite


def _config(**values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "target/config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return change


UP = "language_model.model.layers.0.mlp.up_proj.weight"
BAD_CHECKPOINTS = {
    "missing folder": (lambda folder: shutil.rmtree(folder / "donor"), [], "no such folder or file"),
    "no weights": (lambda f: (f / "donor/model.safetensors").unlink(), [], "no weights; expected one of"),
    "missing shard": (_index("gone.safetensors"), [], "lacks 'gone.safetensors'; download the model again"),
    "shard outside": (_index("../target/model.safetensors"), [], "which is outside the folder"),
    "truncated shard": (_truncate, [], "truncated: the header promises"),
    "lying header": (_lie, [], "the header lies about 'image_newline'"),
    "unknown architecture": (
        _config(architectures=["Qwen9VL"]),
        [],
        "unknown architecture: config.json declares",
    ),
    "misspelt architecture": (None, ["model.target.architecture=qwen2vl"], "Nearest: qwen2_vl"),
    "unmapped tensor": (
        _rewrite(lambda tensors: tensors.update({"language_model.modle.norm": torch.ones(3)})),
        [],
        "Nearest: language_model.model.norm.weight",
    ),
    "shape mismatch": (
        _rewrite(lambda tensors: tensors.update({UP: tensors[UP][:100].clone()})),
        [],
        "shape mismatch at model.layers.0.mlp.up_proj.weight",
    ),
    "incomplete layers": (
        _rewrite(lambda tensors: tensors.pop(UP)),
        [],
        "of the language model, first 'model.language_model.layers.0.mlp.up_proj.weight'",
    ),
    "quantised": (_config(quantization_config={"quant_method": "gptq"}), [], "quantised (gptq)"),
    "alpha above 1": (None, ["merge.alpha=1.5"], "merge.alpha is 1.5; expected a number in [0, 1]"),
    "alpha below 0": (None, ["merge.alpha=-0.1"], "merge.alpha is -0.1; expected a number in [0, 1]"),
    "alpha no number": (None, ["merge.alpha=much"], "merge.alpha is 'much'; expected a number"),
    "share of nobody": (None, ["merge.alpha={b: 0.1}"], "merge.alpha names 'b'; the donors are a"),
    "unknown key": (
        None,
        ["merge.alhpa=0.3"],
        "merge has alpha, weights, rules, schedule, device, dtype. Nearest: alpha",
    ),
    "key of another choice": (None, ["data.path=x"], "Choices that have it: data=file."),
    "target without a key": (
        None,
        ["model.target=A"],
        "model.target is 'A'; expected its keys, as model.target.path=A",
    ),
    "donor without plus": (None, ["model.donors.b.path=x"], "Another donor: +model.donors.b.path=..."),
    "text for a list": (
        None,
        ["mapper.exclude=norm"],
        "mapper.exclude is 'norm'; expected a list, as in mapper.exclude=[norm]",
    ),
    "mode without its key": (None, ["merge"], "'merge': expected KEY=VALUE, as in mode=merge"),
    "unknown key of a donor": (
        None,
        ["+model.donors.a.pathh=x"],
        "unknown key model.donors.a.pathh; expected",
    ),
    "unknown choice": (None, ["merge=linaer"], "Nearest: linear"),
    "a file for a choice": (
        None,
        ["data=q.jsonl"],
        "Nearest: jsonl. A file of your own: data=file data.path=q.jsonl",
    ),
    "unknown experiment": (None, ["experiment=demmo"], "experiment is 'demmo'; expected one of: any_pair, "),
    "no choice": (None, ["merge=null"], "merge=null: a config group takes the name of one of its options"),
    "key without its group": (None, ["alpha=0.3"], "Nearest: merge.alpha."),
    "another mode's engine": (None, ["engine=replay"], "engine=replay goes with mode=search"),
    "unknown group": (None, ["mergee=linear"], "Nearest: merge"),
    "wrong type": (
        None,
        ["mapper.layers=all"],
        "mapper.layers is 'all'; expected a list or null",
    ),
    "bad mapper choice": (None, ["mapper.embeddings=kep"], "Nearest: keep"),
    "bad role": (None, ["mapper.exclude=[nrom]"], "Nearest: norm"),
}


def test_of_very_many_choices_the_nearest_are_named_alone(run) -> None:
    done = run("mode=plan", "model=custum")
    assert re.fullmatch(
        r"error: unknown choice model=custum\. Nearest: custom\. All \d+: python run\.py --help\n", done.err
    )
    assert "expected one of: cambrian" in run("mode=plan", "model=zzzzzz").err


@pytest.mark.parametrize("case", BAD_CHECKPOINTS)
def test_bad_input_of_a_merge_says_what_and_writes_nothing(
    run, talkative: Path, tmp_path: Path, case: str
) -> None:
    change, overrides, message = BAD_CHECKPOINTS[case]
    models = Path(shutil.copytree(talkative, tmp_path / "models"))
    if change is not None:
        change(models)
    done = run("mode=merge", *pair(models), f"output={tmp_path / 'out'}", *overrides)
    assert done.status == 2
    assert message in done.err
    assert "Traceback" not in done.err + done.out
    assert not (tmp_path / "out").exists()


def test_a_key_that_a_published_model_leaves_out_says_how_it_is_added(run) -> None:
    done = run("mode=plan", "model=qwen2vl_from_llava_onevision", "model.target.adapter=LORA")
    assert done.status == 2
    assert "model.target has path, revision. Add it: +model.target.adapter=..." in done.err


BAD_SEARCHES = {
    "empty data": (lambda file: file.write_text(""), [], "holds no examples"),
    "no data": (lambda file: file.unlink(), [], "data.jsonl: no such folder or file"),
    "bad line": (
        lambda file: file.write_text('{"question": "q"}\n{"qestion": 1}'),
        [],
        "line 2: unknown key 'qestion'",
    ),
    "bad image": (
        lambda file: next((file.parent / "images").glob("*.png")).write_bytes(b"not a picture"),
        [],
        "does not decode",
    ),
    "truncated image": (
        lambda file: (f := next((file.parent / "images").glob("*.png"))).write_bytes(f.read_bytes()[:60]),
        [],
        "does not decode",
    ),
    "grid out of order": (None, ["search.grid=[0,0.3,0.2]"], "expected increasing alphas in [0, 1]"),
    "alpha above 1": (None, ["search.grid=[0,0.5,1.5]"], "alpha is 1.5; expected a number in [0, 1]"),
    "short grid": (None, ["search.grid=[0,0.5]"], "needs at least 3"),
    "bad rule": (
        None,
        ["search.signal.rule=som"],
        "search.signal.rule is 'som'; expected one of sum, either, previous. Nearest: sum",
    ),
    "no samples": (None, ["search.samples=0"], "search.samples is 0; expected a number above 0 or null"),
    "engine type": (None, ["engine.batch_size=many"], "engine.batch_size is 'many'; expected a whole number"),
    "control without ancestor": (None, ["evaluate.control=true"], "needs an ancestor"),
    "late engine setting": (None, ["engine.precision=bf61"], "engine.precision is 'bf61'; expected one of"),
    "path missing": (None, ["data.path=null"], "data.path"),
}


@pytest.mark.parametrize("case", BAD_SEARCHES)
def test_bad_input_of_a_search_says_what_and_writes_nothing(
    run, talkative: Path, tmp_path: Path, case: str
) -> None:
    change, overrides, message = BAD_SEARCHES[case]
    file = write_jsonl(tmp_path, per_task=1)
    if change is not None:
        change(file)
    done = run(*pair(talkative), "data=jsonl", f"data.path={file}", f"output={tmp_path / 'out'}", *overrides)
    assert done.status == 2
    assert message in done.err
    assert "Traceback" not in done.err + done.out
    assert not (tmp_path / "out").exists()


def test_disk_full_leaves_nothing(
    run, talkative: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    done = run("mode=merge", *pair(talkative), f"output={tmp_path / 'out'}")
    assert done.status == 2
    assert "disk full" in done.err
    assert not (tmp_path / "out").exists()


def test_output_that_exists_is_not_overwritten(run, talkative: Path, tmp_path: Path) -> None:
    (tmp_path / "out/model").mkdir(parents=True)
    (tmp_path / "out/model/precious").write_text("mine")
    done = run("mode=merge", *pair(talkative), f"output={tmp_path / 'out'}")
    assert done.status == 2
    assert "exists already" in done.err
    assert (tmp_path / "out/model/precious").read_text() == "mine"


@pytest.mark.parametrize("mode", ["merge", "search"])
def test_a_run_that_was_killed_after_writing_the_model_continues(
    run, talkative: Path, tmp_path: Path, mode: str
) -> None:
    data = ["data=jsonl", f"data.path={write_jsonl(tmp_path)}", "evaluate=none", "search.grid=[0,0.4,0.8]"]
    command = [
        f"mode={mode}",
        *pair(talkative),
        *data,
        "engine.max_new_tokens=2",
        f"output={tmp_path / 'out'}",
    ]
    assert run(*command).status == 0
    weights = tmp_path / "out/model/model.safetensors"
    written = weights.stat().st_mtime_ns
    for file in tmp_path.glob("out/*.*"):
        if file.is_file() and file.name != "config.yaml":
            file.unlink()
    done = run(*command)
    assert done.status == 0, done.err
    assert "was written by this run before" in done.out
    assert (tmp_path / "out/plan.json").exists()
    assert weights.stat().st_mtime_ns == written


@pytest.mark.parametrize("change", ["another alpha", "another donor in the same place"])
def test_another_run_does_not_pass_for_the_one_that_wrote_the_model(
    run, talkative: Path, tmp_path: Path, change: str
) -> None:
    models = Path(shutil.copytree(talkative, tmp_path / "models"))
    assert run("mode=merge", *pair(models), f"output={tmp_path / 'out'}").status == 0
    if change != "another alpha":
        _rewrite(lambda tensors: tensors.update({UP: tensors[UP] + 1}))(models)
    alpha = 0.4 if change == "another alpha" else 0.3
    done = run("mode=merge", *pair(models), f"output={tmp_path / 'out'}", f"merge.alpha={alpha}")
    assert done.status == 2
    assert "exists already" in done.err
    assert json.loads((tmp_path / "out/model/adamms_recipe.json").read_text())["coefficients"] == {"a": 0.3}


def test_what_the_system_refuses_is_a_message() -> None:
    assert explain(OSError(errno.EROFS, "Read-only file system", "OUT/x")) == "OUT/x: Read-only file system"
    assert explain(FileNotFoundError(errno.ENOENT, "No such file", "x")) is None  # a fault of the program


@pytest.mark.parametrize("key", ["hydra.run.dir", "cache"])
def test_names_that_are_too_long_are_told(run, talkative: Path, tmp_path: Path, key: str) -> None:
    data = ["data=digits", "data.per_task=1", "evaluate=none"]
    done = run("mode=search", *pair(talkative), *data, f"{key}={tmp_path / ('n' * 256)}")
    assert done.status == 2
    assert "File name too long" in done.err.splitlines()[-1]
    assert "Traceback" not in done.err


def test_a_launcher_whose_package_is_missing_says_what_to_install() -> None:
    missing = MissingConfigException("", "hydra/launcher/submitit_slurm", ["basic", "slurm"])
    message = explain(missing)
    assert message == "hydra/launcher: this launcher needs the extra `slurm`: pip install -e '.[slurm]'"


def test_a_real_process_ends_with_status_2_and_one_message(talkative: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "run.py"), "mode=merge", *pair(talkative), "merge.alpha=2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "error: merge.alpha is 2; expected a number in [0, 1], the donor's share"
    )
