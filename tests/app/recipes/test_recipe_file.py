"""recipe=FILE: what was merged is merged again from its recipe, elsewhere, into the same bytes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Outcome, read_run, start_run
from lora import save_adapter

from adamms.app.recipes.recipe_file import read_recipe, recorded, with_recipe
from adamms.errors import AdammsError
from adamms.report.trackers.tracker import Job

Run = Callable[..., Outcome]
MERGES = {"name": "merge", "takes_recipe": True}
KINDS = {
    "linear": ["merge.alpha=0.3"],
    "sampled": ["merge=dare_ties", "merge.density=0.4", "merge.seed=3"],
    "rules": ["merge.rules={late: {layers: [1, 1], factor: 0.5}, norms: {roles: [norm], alpha: 0}}"],
    "schedule": ["merge/schedule=lines", "merge=task_arithmetic"],
    "measured": ["merge/schedule=norms", "mapper.exclude=[mlp]", "merge.dtype=BF16"],
    "several": ["+model.donors.b.path={root}/ancestor", "merge=ties", "merge.density={{a: 0.3, b: 0.6}}"],
    "adapter": ["model.donors.a.path={root}/ancestor", "model.donors.a.adapter={root}/adapter"],
}


@pytest.fixture(scope="module")
def models(talkative: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with target, donor, ancestor, and an adapter of the ancestor."""
    root = tmp_path_factory.mktemp("models") / "here"
    for name in ("target", "donor", "ancestor"):
        shutil.copytree(talkative / name, root / name)
    save_adapter(root / "ancestor", root / "adapter", r=2, target_modules=["q_proj", "up_proj"])
    return root


def first(root: Path, out: Path, words: list[str]) -> Path:
    """The model that these words make."""
    start_run(
        *("mode=merge", "model=custom", f"model.target.path={root / 'target'}"),
        *(f"model.donors.a.path={root / 'donor'}", f"model.ancestor.path={root / 'ancestor'}"),
        *(word.format(root=root) if "{root}" in word or "{{" in word else word for word in words),
        f"output={out}",
    )
    return out / "model"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_bytes_from_copied_folders(
    run: Run, models: Path, tmp_path: Path, kind: str
) -> None:
    made = first(models, tmp_path / "made", KINDS[kind])
    recipe = tmp_path / "elsewhere.json"
    shutil.copy(made / "adamms_recipe.json", recipe)
    there = tmp_path / "there"
    shutil.copytree(models, there)
    moved = [f"model.target.path={there / 'target'}", f"model.ancestor.path={there / 'ancestor'}"]
    donor = "ancestor" if kind == "adapter" else "donor"
    moved += [f"model.donors.a.path={there / donor}"]
    moved += [f"model.donors.b.path={there / 'ancestor'}"] if kind == "several" else []
    moved += [f"model.donors.a.adapter={there / 'adapter'}"] if kind == "adapter" else []
    done = run("mode=merge", f"recipe={recipe}", *moved, f"output={tmp_path / 'again'}")
    assert done.status == 0, done.err
    files = sorted(file.name for file in made.iterdir())
    assert files == sorted(file.name for file in (tmp_path / "again/model").iterdir())
    for name in files:
        assert (made / name).read_bytes() == (tmp_path / "again/model" / name).read_bytes(), name
    assert str(models) not in recipe.read_text()


def test_on_the_same_machine_the_models_folder_is_enough_and_what_differs_is_named(
    run: Run, models: Path, tmp_path: Path
) -> None:
    made = first(models, tmp_path / "made", ["merge.alpha=0.3"])
    done = run("mode=merge", f"recipe={made}", f"output={tmp_path / 'again'}")
    assert done.status == 0, done.err
    weights = "model.safetensors"
    assert (made / weights).read_bytes() == (tmp_path / "again/model" / weights).read_bytes()

    other = f"model.donors.a.path={models / 'ancestor'}"
    for mode in ("merge", "extract"):
        done = run(f"mode={mode}", f"recipe={made}", other, f"output={tmp_path / 'other'}")
        assert done.status == 2
        assert "model.donors.a: not the model that" in done.err
    recipe = tmp_path / "recipe.json"
    content = json.loads((made / "adamms_recipe.json").read_text())
    recipe.write_text(json.dumps(content))
    for words, message in (
        ([f"recipe={recipe}"], "model.target.path was the local target; say where it is now"),
        ([f"recipe={made}", "merge.alpha=0.5"], "merge.alpha stands beside recipe="),
        ([f"recipe={tmp_path / 'no.json'}"], "no.json: no such folder or file"),
    ):
        done = run("mode=merge", *words, f"output={tmp_path / 'none'}")
        assert (done.status, message in done.err) == (2, True), done.err
    done = run("mode=search", f"recipe={made}", f"output={tmp_path / 'none'}")
    assert "which is mode=merge, plan or extract; this is search" in done.err

    content["replay"]["merge"]["alpha"] = 0.4
    (made / "adamms_recipe.json").write_text(json.dumps(content))
    for mode in ("merge", "extract"):
        done = run(f"mode={mode}", f"recipe={made}", f"output={tmp_path / 'none'}")
        assert "the models are the same, but not what they come to here" in done.err
    del content["replay"]
    (made / "adamms_recipe.json").write_text(json.dumps(content))
    done = run("mode=merge", f"recipe={made}", f"output={tmp_path / 'none'}")
    assert "did not record how to merge again" in done.err


MODEL = {"target": {"path": "a"}, "donors": {"a": {"path": "b"}}}
LINEAR = {"_target_": "adamms.merge.methods.linear.Linear", "alpha": 0.5}
MAPPER = {"_target_": "adamms.mapping.specs.resolve.SpecMapper", "trust_remote_code": True}
CALLS = {"_target_": "os.system", "command": "touch marker"}
REFUSED = {
    "merge": ({"merge": CALLS}, "replay.merge names 'os.system', which is none of adamms'"),
    "mapper": ({"mapper": CALLS}, "replay.mapper names 'os.system'"),
    "schedule": ({"merge": LINEAR | {"schedule": CALLS}}, "replay.merge.schedule names 'os.system'"),
    "in a list": ({"merge": LINEAR | {"rules": [CALLS]}}, "replay.merge.rules.0 names 'os.system'"),
    "by way of a module": (
        {"merge": {"_target_": "adamms.errors.sys.exit"}},
        "'adamms.errors.sys.exit', which",
    ),
    "a name that is no text": ({"merge": {"_target_": ["os.system"]}}, "replay.merge"),
    "prepare": ({"model": MODEL | {"prepare": CALLS}}, "replay.model.prepare"),
    "no models": ({"model": None}, "replay.model"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_recipe_runs_no_code_but_methods_and_mappers(case: str, tmp_path: Path) -> None:
    said, message = REFUSED[case]
    file = tmp_path / "recipe.json"
    replay = {"model": MODEL, "mapper": MAPPER, "merge": LINEAR} | said
    file.write_text(json.dumps({"fingerprint": "x", "replay": replay}))
    with pytest.raises(AdammsError) as caught:
        read_recipe(str(file))
    assert str(file) in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "name", ["planted.Method", "planted", "planted.inner:Method", "adamms_planted.Method"]
)
def test_what_a_recipe_may_not_name_is_not_imported(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Importing runs a module, which may lie where one works."""
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("planted", "adamms_planted"):
        (tmp_path / f"{module}.py").write_text(
            f"open({str(tmp_path / 'ran')!r}, 'w')\n"
            "from adamms.merge.methods.linear import Linear as Method\n"
        )
    file = tmp_path / "recipe.json"
    replay = {"model": MODEL, "mapper": MAPPER, "merge": {"_target_": name}}
    file.write_text(json.dumps({"fingerprint": "x", "replay": replay}))
    with pytest.raises(AdammsError, match=rf"names '{name}', which is none of adamms' methods"):
        read_recipe(str(file))
    assert not (tmp_path / "ran").exists()


def test_a_method_of_ones_own_is_replayed_where_ones_own_yaml_names_it(
    run: Run, models: Path, tmp_path: Path
) -> None:
    (tmp_path / "own/merge").mkdir(parents=True)
    (tmp_path / "own/merge/mine.yaml").write_text("defaults: [linear]\n_target_: beside_recipe.Mine\n")
    (tmp_path / "own/beside_recipe.py").write_text(
        "from adamms.merge.methods.linear import Linear\n\n\nclass Mine(Linear):\n    pass\n"
    )
    own = f"hydra.searchpath=[file://{tmp_path}/own]"
    pair = [
        "model=custom",
        f"model.target.path={models / 'target'}",
        f"model.donors.a.path={models / 'donor'}",
    ]
    made = tmp_path / "made/model"
    done = run("mode=merge", *pair, "merge=mine", own, f"output={made.parent}")
    assert done.status == 0, done.err
    recipe = f"recipe={made / 'adamms_recipe.json'}"
    again = run("mode=merge", recipe, own, f"output={tmp_path / 'again'}")
    assert again.status == 0, again.err
    weights = "model.safetensors"
    assert (made / weights).read_bytes() == (tmp_path / "again/model" / weights).read_bytes()
    without = run("mode=merge", recipe, f"output={tmp_path / 'without'}")
    assert without.status == 2
    assert "names 'beside_recipe.Mine'" in without.err


def test_a_recipe_trusts_nobody_and_what_it_forces_is_told(tmp_path: Path) -> None:
    file = tmp_path / "recipe.json"
    replay = {"model": MODEL, "mapper": MAPPER, "merge": LINEAR, "plan": {"force": True}}
    file.write_text(json.dumps({"fingerprint": "x", "replay": replay}))
    words = ["mode=plan", "model=custom", f"recipe={file}"]
    found = read_run(*words)
    assert found.config["mapper"]["trust_remote_code"] is False
    assert f"{file}: plan.force=true, as there" in found.notes[0]
    replay["mapper"] = {"_target_": "adamms.mapping.content.discover.DiscoverMapper", "scope": "all"}
    file.write_text(json.dumps({"fingerprint": "x", "replay": replay}))
    assert with_recipe({"recipe": str(file), **found.config}, Job(), MERGES)[0]["mapper"] == replay["mapper"]


def test_whose_code_is_run_may_be_typed_beside_a_recipe(tmp_path: Path) -> None:
    file = tmp_path / "recipe.json"
    file.write_text(
        json.dumps({"fingerprint": "x", "replay": {"model": MODEL, "mapper": {}, "merge": LINEAR}})
    )
    found = read_run("mode=plan", "model=custom", f"recipe={file}")
    job = Job(overrides=("mapper.trust_remote_code=true",))
    values = {
        "recipe": str(file),
        **found.config,
        "mapper": found.config["mapper"] | {"trust_remote_code": True},
    }
    made, _ = with_recipe(values, job, MERGES)
    assert made["mapper"]["trust_remote_code"] is True


@pytest.mark.parametrize("word", ["experiment=any_pair", "model=qwen3_vl_from_deepseek_r1"])
def test_other_models_beside_a_recipe_are_refused(word: str) -> None:
    with pytest.raises(AdammsError, match=f"{word.partition('=')[0]} stands beside recipe=a.json"):
        with_recipe({"recipe": "a.json"}, Job(overrides=(word,)), MERGES)


def test_an_empty_recipe_is_refused() -> None:
    with pytest.raises(AdammsError, match="recipe is empty"):
        read_run("mode=merge", "recipe=")


def test_a_spec_and_the_settings_beside_it_are_named_and_not_placed(tmp_path: Path) -> None:
    spec = tmp_path / "tern.yaml"
    spec.write_text("")
    target = {"path": "hub/a", "architecture": str(spec)}
    config = {"mapper": MAPPER, "model": {"target": target, "donors": {}}, "plan": {"force": False}}
    said = recorded(config, LINEAR)
    assert said["model"]["target"] == {"path": "hub/a", "architecture_folder": "tern.yaml"}
    assert "trust_remote_code" not in said["mapper"]
    (tmp_path / "other").mkdir()
    file = tmp_path / "other/recipe.json"
    file.write_text(json.dumps({"fingerprint": "x", "replay": said}))
    (tmp_path / "config.yaml").write_text(f"model: {{target: {{architecture: {spec}}}}}")
    with pytest.raises(AdammsError, match=r"model.target.architecture was the local tern.yaml; say where"):
        read_run("mode=plan", "model=custom", f"recipe={file}")
