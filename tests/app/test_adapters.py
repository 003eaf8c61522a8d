"""Adapters on the command line: the same bytes and the same choice as with models that hold them."""

import json
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import lora
import pytest
import tiny
import torch
from command import write_jsonl
from configured_engines import transformers_engine
from mappers import spec_mapper
from safetensors.torch import load_file
from tiny import assert_same_bits

from adamms.architectures.recognise import recognise
from adamms.checkpoint.adapters.adapter import open_adapter
from adamms.checkpoint.reader import Checkpoint, open_checkpoint
from adamms.mapping.specs.model import Model, describe
from adamms.merge.methods.linear import Linear
from adamms.merge.recipe import Recipe

pytestmark = pytest.mark.long

LAYERS = ["q_proj", "v_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Folders:
    """Adapters of the demo's untrained pair, and the same models written out by other arithmetic."""

    models: Path
    adapters: Path
    whole: Path


@pytest.fixture(scope="module")
def adapted(talkative: Path, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """The target's is on its language model and its vision tower, and has a whole head."""
    root = tmp_path_factory.mktemp("adapted")
    settings = {
        "target": {"target_modules": [*LAYERS, "qkv"], "modules_to_save": ["lm_head"], "use_rslora": True},
        "donor": {"target_modules": LAYERS, "bias": "all"},
        "ancestor": {"target_modules": LAYERS, "use_dora": True},
    }
    names = {"target": lora.qwen2_vl_names, "donor": hub_onevision_names, "ancestor": str}
    for seed, (name, setting) in enumerate(settings.items()):
        lora.save_adapter(talkative / name, root / "adapters" / name, seed, 0.2, r=4, **setting)
        lora.write_materialised(
            talkative / name, root / "adapters" / name, root / "whole" / name, names[name]
        )
    return Folders(talkative, root / "adapters", root / "whole")


def hub_onevision_names(name: str) -> str:
    return lora.onevision_names(name).replace("vision_tower.", "vision_tower.vision_model.")


def sources(**folders: Path | tuple[Path, Path]) -> list[str]:
    """model.target.path=... and so on; of a pair of folders the second is the adapter."""
    words = ["model=custom"]
    for name, given in folders.items():
        place = f"model.{name}" if name in ("target", "ancestor") else f"model.donors.{name}"
        path, adapter = given if isinstance(given, tuple) else (given, None)
        words.append(f"{place}.path={path}")
        if adapter is not None:
            words.append(f"{place}.adapter={adapter}")
    return words


def weights(folder: Path) -> bytes:
    return (folder / "model/model.safetensors").read_bytes()


@pytest.mark.parametrize("spelling", ["adapter beside path", "adapter as path"])
@pytest.mark.parametrize("adapting", ["donor", "target", "both"])
def test_a_merge_is_the_merge_of_the_models_written_out(
    run, adapted: Folders, tmp_path: Path, adapting: str, spelling: str
) -> None:
    def given(name: str) -> Path | tuple[Path, Path]:
        if adapting not in (name, "both"):
            return adapted.models / name
        adapter = adapted.adapters / name
        return adapter if spelling == "adapter as path" else (adapted.models / name, adapter)

    def written_out(name: str) -> Path:
        return (adapted.whole if adapting in (name, "both") else adapted.models) / name

    for name, pair in {
        "adapters": sources(target=given("target"), a=given("donor")),
        "whole": sources(target=written_out("target"), a=written_out("donor")),
    }.items():
        done = run("mode=merge", *pair, "merge.alpha=0.4", f"output={tmp_path / name}")
        assert done.status == 0, done.err
    assert weights(tmp_path / "adapters") == weights(tmp_path / "whole")
    out = tmp_path / "adapters/model"
    files = [{f.name for f in (tmp_path / n / "model").iterdir()} for n in ("adapters", "whole")]
    assert files[0] == files[1]
    card = (out / "README.md").read_text()
    record = json.loads((out / "adamms_recipe.json").read_text())
    if spelling == "adapter beside path" and adapting == "both":
        assert record["target"] == "target + target"
        assert "`target`: not said in its folder" in card  # a folder is no base_model of the hub
        assert f"{adapted.models / 'donor'} with adapter {adapted.adapters / 'donor'}" in run(
            "mode=plan", *sources(target=given("target"), a=given("donor"))
        ).out.replace("\n", "")


def test_at_alpha_0_the_target_with_its_adapter(run, adapted: Folders, tmp_path: Path) -> None:
    """The kept vision tower, the head that came whole, and the untouched rest, in float32."""
    pair = sources(target=adapted.adapters / "target", a=adapted.models / "donor")
    done = run("mode=merge", *pair, "merge.alpha=0", f"output={tmp_path / 'out'}")
    assert done.status == 0, done.err
    merged = load_file(tmp_path / "out/model/model.safetensors")
    whole = load_file(adapted.whole / "target/model.safetensors")
    base = load_file(adapted.models / "target/model.safetensors")
    assert merged.keys() == whole.keys()
    for name, tensor in whole.items():
        assert_same_bits(merged[name], tensor)
    changed = {name for name in base if not torch.equal(base[name], merged[name])}
    assert any(name.startswith("visual.") for name in changed)
    assert "lm_head.weight" in changed
    assert len(changed) < len(base)


def test_an_ancestor_with_an_adapter(run, adapted: Folders, tmp_path: Path) -> None:
    """DoRA; `linear` does not read an ancestor, so that it is the donor, too."""
    found = {}
    for name, ancestor in (
        ("adapter", adapted.adapters / "ancestor"),
        ("whole", adapted.whole / "ancestor"),
    ):
        done = run(
            "mode=merge",
            *sources(target=adapted.models / "target", a=ancestor, ancestor=ancestor),
            *("merge.alpha=0.4", f"output={tmp_path / name}"),
        )
        assert done.status == 0, done.err
        found[name] = weights(tmp_path / name)
    assert found["adapter"] == found["whole"]


def test_a_search_chooses_as_with_the_models_written_out(run, adapted: Folders, tmp_path: Path) -> None:
    """The engine starts from the base's folder: all that the target's adapter changes is put in it."""
    data = write_jsonl(tmp_path)
    chosen = {}
    for name, folder in (("adapters", adapted.adapters), ("whole", adapted.whole)):
        done = run(
            *("mode=search", *sources(target=folder / "target", a=folder / "donor"), "data=jsonl"),
            *(f"data.path={data}", f"output={tmp_path / name}", "search.grid=[0,0.3,0.6,0.9]", "store=null"),
            *("engine.max_new_tokens=4", "engine.accelerator=cpu"),
        )
        assert done.status == 0, done.err
        files = ("answers.jsonl", "selection.json", "evaluation.json")
        chosen[name] = [(tmp_path / name / file).read_bytes() for file in files]
    assert chosen["adapters"] == chosen["whole"]
    assert weights(tmp_path / "adapters") == weights(tmp_path / "whole")
    # The donor was asked with its adapter, too.
    assert set(json.loads(chosen["adapters"][2])["donors"]) == {"a"}


def test_the_store_tells_a_target_from_its_adapted_self(run, adapted: Folders, tmp_path: Path) -> None:
    for count, target in enumerate((adapted.models / "target", adapted.adapters / "target")):
        done = run(
            *("mode=respond", "candidate=0.0", *sources(target=target, a=adapted.models / "donor")),
            *("data.per_task=1", f"data.folder={tmp_path / 'images'}", "evaluate=none"),
            *(f"output={tmp_path / str(count)}", "engine.max_new_tokens=2", "engine.accelerator=cpu"),
        )
        assert done.status == 0, done.err
        assert json.loads((tmp_path / f"{count}/respond.json").read_text())["found"] == 0


# ---------------------------------------------------------------- the recipe


def model(checkpoint: Checkpoint) -> Model:
    return describe(checkpoint, recognise(checkpoint.config, checkpoint.folder))


def recipe(adapted: Folders, alpha: float) -> Recipe:
    opened = {
        name: model(open_adapter(open_checkpoint(adapted.models / name), adapted.adapters / name))
        for name in ("target", "donor")
    }
    donors = {"a": opened["donor"]}
    plan = spec_mapper(embeddings="keep").plan(opened["target"], donors)
    checkpoints = {name: donor.checkpoint for name, donor in donors.items()}
    return Recipe(opened["target"].checkpoint, checkpoints, plan, Linear(), {"a": alpha})


def test_a_recipe_with_adapters_pickles_small_and_streams_the_same(adapted: Folders) -> None:
    original = recipe(adapted, 0.3)
    pickled = pickle.dumps(original)
    assert len(pickled) < 200_000
    copy = pickle.loads(pickled)
    assert copy.fingerprint == original.fingerprint
    for (name, tensor), (other, expected) in zip(copy.tensors(), original.tensors(workers=1), strict=True):
        assert name == other
        assert_same_bits(tensor, expected)


def test_what_must_be_written_into_a_live_model(adapted: Folders) -> None:
    """Merged tensors and those that the target's adapter changes, the head and the tower among them."""
    found = recipe(adapted, 0.0)
    base = load_file(adapted.models / "target/model.safetensors")
    whole = load_file(adapted.whole / "target/model.safetensors")
    written = dict(found.tensors(only_mapped=True))
    assert list(written) == found.mapped
    slots = {slot.name: slot for slot in found.plan.slots}
    assert not slots["lm_head.weight"].merged
    for name, tensor in base.items():
        changed = not torch.equal(tensor, whole[name])
        assert not changed or name in written
        assert (name in written) == (slots[name].merged or name in found.target.adapted)
    for name, tensor in written.items():
        assert_same_bits(tensor, whole[name])


def test_the_fingerprint_knows_every_adapter(adapted: Folders, tmp_path: Path) -> None:
    prints = {recipe(adapted, 0.3).fingerprint}
    for name in ("target", "donor"):
        changed = Folders(adapted.models, shutil.copytree(adapted.adapters, tmp_path / name), adapted.whole)
        file = changed.adapters / name / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"lora_alpha": 5}))
        prints.add(recipe(changed, 0.3).fingerprint)
    assert len(prints) == 3


def test_swapping_candidates_in_a_live_model_keeps_the_adapter(adapted: Folders) -> None:
    whole = load_file(adapted.whole / "target/model.safetensors")
    with transformers_engine(adapted.models / "target", accelerator="cpu") as engine:
        for alpha in (0.5, 0.0):
            engine.load(recipe(adapted, alpha))
        live: Mapping[str, torch.Tensor] = engine.live.weights.views
        for name, tensor in whole.items():
            assert_same_bits(live[name].detach(), tensor)


# ---------------------------------------------------------------- refused


def test_a_base_that_has_moved_is_named_and_how_to_give_it(run, adapted: Folders, tmp_path: Path) -> None:
    adapter = Path(shutil.copytree(adapted.adapters / "donor", tmp_path / "adapter"))
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": "/gone/away"}))
    done = run("mode=plan", *sources(target=adapted.models / "target", a=adapter))
    assert done.status == 2
    assert "model.donors.a: /gone/away: no such folder or file" in done.err
    assert f"if it is elsewhere, give path=BASE adapter={adapter}" in done.err
    beside = sources(target=adapted.models / "target", a=(adapted.models / "donor", adapter))
    assert run("mode=plan", *beside, f"output={tmp_path / 'out'}").status == 0


def test_an_adapter_of_another_model_is_refused(run, adapted: Folders, tmp_path: Path) -> None:
    pair = sources(target=(adapted.models / "target", adapted.adapters / "donor"), a=adapted.models / "donor")
    done = run("mode=merge", *pair, f"output={tmp_path / 'out'}")
    assert done.status == 2
    assert "model.target: " in done.err
    assert "has no tensor for" in done.err
    assert not (tmp_path / "out").exists()


def test_tokens_added_by_an_adapter_are_a_donors_but_not_a_targets(run, tmp_path: Path) -> None:
    """The adapter's folder brings its own tokenizer and an embedding with two rows more."""
    words = ["[UNK]", *"abcdef"]
    base = tiny.write_model(tmp_path / "base", tiny.llama_state(1))
    other = tiny.write_model(tmp_path / "other", tiny.llama_state(2, vocabulary=9))
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 1, "lora_alpha": 1, "base_model_name_or_path": str(base)})
    )
    added = torch.randn(9, 6)
    names = [f"base_model.model.{name}" for name in ("model.embed_tokens.weight", "lm_head.weight")]
    tiny.save_file({name: added + i for i, name in enumerate(names)}, adapter / "adapter_model.safetensors")
    tiny.write_tokenizer(base, words)
    tiny.write_tokenizer(adapter, [*words, "g", "h"])
    tiny.write_tokenizer(other, ["[UNK]", "h", "g", *"fedcba"])
    done = run(
        *("mode=merge", *sources(target=other, a=adapter), "merge.alpha=1.0"),
        f"output={tmp_path / 'out'}",
    )
    assert done.status == 0, done.err
    merged = load_file(tmp_path / "out/model/model.safetensors")
    order = torch.tensor([0, 8, 7, 6, 5, 4, 3, 2, 1])
    assert_same_bits(merged["model.embed_tokens.weight"], added[order])
    assert_same_bits(merged["lm_head.weight"], (added + 1)[order])
    done = run("mode=merge", *sources(target=adapter, a=other), f"output={tmp_path / 'no'}")
    assert done.status == 2
    assert "instead of [7, 6], which does not go with the base's config.json" in done.err


def test_a_llava_that_was_trained_as_lora_on_a_vicuna(run, tmp_path: Path) -> None:
    """Its projector is new to the base; a donor may say that it is a LLaVA, a target cannot be one so."""
    state = tiny.llama_state(1)
    base = tiny.write_model(tmp_path / "vicuna", state)
    other = tiny.write_model(tmp_path / "other", tiny.llama_state(2), "LlavaLlamaForCausalLM")
    a, b = torch.randn(2, 6), torch.randn(6, 2)
    name = "model.layers.0.self_attn.q_proj"
    lora.write_adapter(
        tmp_path / "adapter",
        {f"base_model.model.{name}.lora_A.weight": a, f"base_model.model.{name}.lora_B.weight": b},
        r=2,
        lora_alpha=4,
        base_model_name_or_path=str(base),
    )
    beside = {"base_model.model.model.mm_projector.0.weight": torch.ones(6, 4)}
    torch.save(beside, tmp_path / "adapter/non_lora_trainables.bin")
    donor = ["model=custom", f"model.target.path={other}", f"model.donors.a.path={tmp_path / 'adapter'}"]
    done = run("mode=merge", *donor, f"output={tmp_path / 'no'}")
    assert done.status == 2
    assert "not described by the architecture 'llama', first 'model.mm_projector.0.weight'" in done.err
    words = ["model.donors.a.architecture=llava", "merge.alpha=1", f"output={tmp_path / 'out'}"]
    assert run("mode=merge", *donor, *words).status == 0
    merged = load_file(tmp_path / "out/model/model.safetensors")
    expected = state[f"{name}.weight"].double() + 2 * b.double() @ a.double()
    assert_same_bits(merged[f"{name}.weight"], expected.float())
    target = ["model=custom", f"model.target.path={tmp_path / 'adapter'}", f"model.donors.a.path={other}"]
    done = run("mode=merge", *target, "model.target.architecture=llava", f"output={tmp_path / 'no'}")
    assert done.status == 2
    assert "makes model.mm_projector.0.weight [6, 4] where the base has none" in done.err


# ---------------------------------------------------------------- tied embeddings


@pytest.mark.filterwarnings("ignore:.*(tie|tying|tied)")
def test_embeddings_of_its_own_over_a_tied_head(run, tmp_path: Path) -> None:
    """What is written answers as PEFT's runtime does: the head is the base's table, not the new one."""
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText as Auto

    base = tiny.save_qwen2_vl(tmp_path / "base", tied=True)
    other = tiny.save_qwen2_vl(tmp_path / "other", 1, tied=True)
    whole = {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}
    lora.save_adapter(base, tmp_path / "adapter", spread=0.3, r=2, **whole)
    pair = sources(target=(base, tmp_path / "adapter"), a=other)
    done = run("mode=merge", *pair, "merge.alpha=0", f"output={tmp_path / 'out'}")
    assert done.status == 0, done.err
    assert "warning: model.target: the base ties lm_head.weight to model." in done.out + done.err
    ids = torch.arange(2, 12)[None]
    with torch.no_grad():
        ours = Auto.from_pretrained(tmp_path / "out/model", dtype=torch.float32)(ids).logits
        plain = Auto.from_pretrained(base, dtype=torch.float32)
        expected = PeftModel.from_pretrained(plain, tmp_path / "adapter")(ids).logits
    # The adapter is rounded to the base's bfloat16; a head that followed the embeddings is off by 2.
    assert (ours - expected).abs().max() < 0.1
    again = run("mode=plan", *sources(target=tmp_path / "out/model", a=other), f"output={tmp_path / 'plan'}")
    assert again.status == 0, again.err
    data = write_jsonl(tmp_path)
    asked = ("mode=respond", "candidate=0.0", "data=jsonl", f"data.path={data}", "evaluate=none")
    done = run(*asked, *pair, f"output={tmp_path / 'no'}")
    assert done.status == 2
    assert "Write the model out first (mode=merge merge.alpha=0 with it as model.target)" in done.err
