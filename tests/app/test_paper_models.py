"""Tiny checkpoints of the paper's families through the command line, with the pairs' own configurations.

Merged values are checked against the written correspondences in float64; then the merged folder is loaded
and generates: in its own class, transformers' or ours, else under the names of the class that it is
converted to. CogVLM and mPLUG-Owl2, also in classes of ours: tests/models, and CogVLM at the end here.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import native_models as native
import paper_models
import pytest
import tiny
import torch
import yaml
from configured import configured
from correspondences import EMBEDDINGS, FORMATS, Tree, correspondences
from safetensors.torch import load_file
from tiny import State

CONF = Path(__file__).resolve().parents[2] / "conf"
ALPHA = 0.3

Maker = Callable[[Path, int], Path]


def _onevision_original(folder: Path, seed: int) -> Path:
    return tiny.as_original(tiny.save_onevision(folder.with_name(folder.name + "_fresh"), seed), folder)


def _onevision_hf(folder: Path, seed: int) -> Path:
    return tiny.with_vision_level(tiny.save_onevision(folder.with_name(folder.name + "_fresh"), seed), folder)


# conf/checkpoint -> what makes a tiny one of that format.
MAKERS: Mapping[str, Maker] = {
    "qwen2_vl_7b_instruct": tiny.save_qwen2_vl,
    "llava_onevision_qwen2_7b_ov": _onevision_original,
    "llava_onevision_qwen2_7b_ov_hf": _onevision_hf,
    "qwen2_7b_instruct": tiny.save_qwen2,
    "llava_v1_5_7b": paper_models.save_llava,
    "llava_1_5_7b_hf": paper_models.save_llava_hf,
    "sharegpt4v_7b": paper_models.save_sharegpt4v,
    "cogvlm_chat_hf": paper_models.save_cogvlm,
    "mplug_owl2_llama2_7b": paper_models.save_mplug_owl2,
    "yi_vl_34b": paper_models.save_yi_vl,
    "cambrian_34b": paper_models.save_cambrian,
    "llama_2_7b_hf": paper_models.save_llama,
    "yi_34b": paper_models.save_llama,
}


# conf/checkpoint -> its format, a key of correspondences.FORMATS.
FORMAT = {
    "qwen2_vl_7b_instruct": "qwen2_vl",
    "llava_onevision_qwen2_7b_ov": "llava_onevision",
    "llava_onevision_qwen2_7b_ov_hf": "llava_onevision_hf",
    "llava_1_5_7b_hf": "llava_hf",
    **dict.fromkeys(("llava_v1_5_7b", "sharegpt4v_7b", "yi_vl_34b"), "llava"),
    **{"cogvlm_chat_hf": "cogvlm", "mplug_owl2_llama2_7b": "mplug_owl2", "cambrian_34b": "cambrian"},
}


def named_in(pair: str) -> dict[str, str]:
    """Target, donor and ancestor -> the checkpoints that conf/model/PAIR.yaml names for them."""
    entries = yaml.safe_load((CONF / f"model/{pair}.yaml").read_text())["defaults"]
    return {
        key.removeprefix("/checkpoint@"): value
        for entry in entries
        for key, value in entry.items()
        if value in MAKERS
    }


# Pair, and the target in place of its own: the original formats are targets too.
CASES: list[tuple[str, str | None]] = [
    *((f.stem, None) for f in sorted((CONF / "model").glob("*_from_*.yaml")) if len(named_in(f.stem)) == 3),
    ("llava_onevision_from_qwen2vl", "llava_onevision_qwen2_7b_ov"),
    ("llava_from_mplug_owl2", "llava_v1_5_7b"),
]


def weights(folder: Path) -> State:
    """All tensors of a checkpoint, read by its own library."""
    state: State = {}
    for file in sorted(folder.glob("*.safetensors")):
        state |= load_file(file)
    for file in sorted(folder.glob("*.bin")):
        state |= torch.load(file, weights_only=True)
    return state


def value(tree: Tree, donor: State, own: torch.Tensor) -> torch.Tensor:
    """The tree's value in float64; `own` stands where the donor has no row."""
    match tree:
        case {"read": str(name)}:
            return donor[name].double()
        case {"slice": inner, "dim": 0, "start": int(start), "stop": int(stop)}:
            return value(inner, donor, own)[start:stop]
        case {"concat": parts, "dim": 0}:
            return torch.cat([value(part, donor, own) for part in parts])
        case {"tokens": inner}:
            rows = value(inner, donor, own)
            return torch.cat([rows, own[len(rows) :].double()])
    raise AssertionError(tree)


def expected_trees(formats: tuple[str, str], target: State, donor: State) -> dict[str, Tree]:
    (kind, mine), (donor_kind, theirs) = (FORMATS[name] for name in formats)
    found = correspondences((kind, donor_kind), tiny.LAYERS, tiny.HIDDEN, (mine, theirs))
    for name in EMBEDDINGS:
        rows, donor_rows = len(target[mine + name]), len(donor[theirs + name])
        if rows > donor_rows:
            found[mine + name] = {
                "tokens": {"read": theirs + name},
                "rows": f"0:{donor_rows} -{rows - donor_rows}",
            }
        assert rows >= donor_rows
    return found


def merge(run: Any, folder: Path, pair: str, names: Mapping[str, str], models: Mapping[str, Path]) -> Path:
    """Plan and merge with the pair's own configuration; the merged folder."""
    settings = [f"model={pair}", *(f"model.{key}.path={path}" for key, path in models.items())]
    settings += [f"checkpoint@model.{key}={name}" for key, name in names.items()]
    if "llava_1_5_7b_hf" in names.values():
        settings += ["mapper.embeddings=rows", f"mapper.embedding_rows={paper_models.WORDS}"]
    for mode in ("plan", "merge"):
        done = run(f"mode={mode}", *settings, f"merge.alpha={ALPHA}", f"output={folder / mode}")
        assert done.status == 0, done.err
    plans = [(folder / mode / "plan.json").read_text() for mode in ("plan", "merge")]
    assert plans[0] == plans[1]
    return folder / "merge/model"


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One tiny checkpoint of each format, every one of other weights."""
    folder = tmp_path_factory.mktemp("paper")
    return {name: make(folder / name, seed) for seed, (name, make) in enumerate(MAKERS.items())}


@pytest.mark.parametrize(("pair", "other_target"), CASES)
def test_a_pair_of_the_paper_merges_and_the_result_generates(
    pair: str, other_target: str | None, run: Any, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    names = named_in(pair) | ({"target": other_target} if other_target else {})
    models = {key: checkpoints[name] for key, name in names.items()}
    merged_folder = merge(run, tmp_path, pair, names, models)

    (donor_key,) = [key for key in models if key.startswith("donors.")]
    target, donor = weights(models["target"]), weights(models[donor_key])
    formats = (FORMAT[names["target"]], FORMAT[names[donor_key]])
    expected = expected_trees(formats, target, donor)
    plan = json.loads((tmp_path / "plan/plan.json").read_text())
    found = {t["name"]: next(iter(t.get("donors", {}).values()), None) for t in plan["tensors"]}
    assert found == dict.fromkeys(target) | expected

    merged = weights(merged_folder)
    assert merged.keys() == target.keys()
    for name, tensor in target.items():
        if name in expected:
            other = value(expected[name], donor, tensor)
            tensor = ((1 - ALPHA) * tensor.double() + ALPHA * other).to(tensor.dtype)
        assert torch.equal(merged[name], tensor), name
    if formats[0] in RUNS:
        generates(*RUNS[formats[0]](merged_folder, models["target"], tmp_path / "converted"), merged)


# ---------------------------------------------------------------- generation


def generates(model: Any, prefix: str, merged: State) -> None:
    """The loaded model holds the merged weights, and answers; `prefix` begins merged names, not its own."""
    live = dict(model.get_decoder().named_parameters())
    for name in ("layers.1.self_attn.k_proj.weight", "layers.0.mlp.down_proj.weight", "norm.weight"):
        assert torch.equal(live[name], merged[f"{prefix}model.{name}"]), name
    prompt = torch.tensor([[7, 8, 9]])
    output = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=4, do_sample=False)
    assert output.shape[0] == 1
    assert 4 <= output.shape[1] <= 7


def loaded(model_class: Any, folder: Path) -> Any:
    """The model in `folder`, in which every parameter was found and nothing was left over."""
    model, report = model_class.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    return model


def as_it_is(folder: Path, target: Path, converted: Path) -> tuple[Any, str]:
    from transformers import AutoModelForImageTextToText

    declared = json.loads((folder / "config.json").read_text())["architectures"]
    model = loaded(AutoModelForImageTextToText, folder)
    assert [type(model).__name__] == declared
    return model, "" if "Qwen2VLForConditionalGeneration" in declared else "language_model."


def natively(folder: Path, target: Path, converted: Path) -> tuple[Any, str]:
    """The original format as it is, in a class of ours; the vision tower has a place of its own."""
    from adamms.models.registration import load_model

    model = load_model(folder)
    assert [type(model).__name__] == ["LlavaLlamaForCausalLM"]
    stored = {name for name in weights(folder) if not name.endswith("inv_freq")}
    assert stored == {name for name in model.state_dict() if not name.startswith("vision_tower.")}
    return model, ""


def as_onevision_hf(folder: Path, target: Path, converted: Path) -> tuple[Any, str]:
    """The original format under the names of Hugging Face's, with its config."""
    from transformers import LlavaOnevisionForConditionalGeneration

    back = {
        "model.vision_tower.vision_tower.vision_model.": "vision_tower.vision_model.",
        "model.mm_projector.0.": "multi_modal_projector.linear_1.",
        "model.mm_projector.2.": "multi_modal_projector.linear_2.",
        "model.image_newline": "image_newline",
        "model.": "language_model.model.",
        "lm_head.": "language_model.lm_head.",
    }
    tiny.write_state(paper_models.renamed(weights(folder), back), converted)
    config = target.with_name(target.name + "_fresh") / "config.json"
    (converted / "config.json").write_bytes(config.read_bytes())
    return loaded(LlavaOnevisionForConditionalGeneration, converted), ""


def language_model(folder: Path, target: Path, converted: Path) -> tuple[Any, str]:
    """The language model alone, for a model that transformers has no class for."""
    from transformers import LlamaForCausalLM

    parts = ("model.layers.", "model.embed_tokens.", "model.norm.", "lm_head.")
    tiny.write_state({n: t for n, t in weights(folder).items() if n.startswith(parts)}, converted)
    config = json.loads((folder / "config.json").read_text())
    (converted / "config.json").write_text(json.dumps(config | {"model_type": "llama"}))
    return loaded(LlamaForCausalLM, converted), ""


RUNS: Mapping[str, Callable[[Path, Path, Path], tuple[Any, str]]] = {
    "qwen2_vl": as_it_is,
    "llava_onevision_hf": as_it_is,
    "llava_hf": as_it_is,
    "llava": natively,
    "llava_onevision": as_onevision_hf,
    "cambrian": language_model,
}


# ---------------------------------------------------------------- the whole search


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two labelled questions of each skill over digits, as JSONL."""
    folder = tmp_path_factory.mktemp("questions")
    data = configured("data/digits", folder=folder / "images", per_task=2).load()
    lines = [
        {
            "id": e.id,
            "task": e.task,
            "question": e.question,
            "image": str(e.image),
            "answer": str(data.answers[e.id]),
        }
        for e in data.examples
    ]
    file = folder / "questions.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines))
    return file


def search(
    run: Any, experiment: str, models: Mapping[str, Path], questions: Path, output: Path, *more: str
) -> Any:
    """The paper's experiment on tiny models, in a mapper's setting that fits their vocabulary."""
    return run(
        f"experiment={experiment}",
        *(f"model.{key}.path={path}" for key, path in models.items()),
        f"mapper.embedding_rows={paper_models.WORDS}",
        f"data.path={questions}",
        *("engine.accelerator=cpu", "engine.batch_size=5", "engine.max_new_tokens=3"),
        f"output={output}",
        *more,
    )


def plain_answers(folder: Path, questions: Path) -> dict[str, str]:
    """What transformers alone makes of the folder, one question at a time."""
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(folder)
    processor = AutoProcessor.from_pretrained(folder)
    answers = {}
    for line in map(json.loads, questions.read_text().splitlines()):
        content = [{"type": "image"}, {"type": "text", "text": line["question"]}]
        prompt = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        with Image.open(line["image"]) as image:
            inputs = processor(text=[prompt], images=[image], return_tensors="pt")
        output = model.generate(**inputs, max_new_tokens=3, do_sample=False)
        new = output[:, inputs["input_ids"].shape[1] :]
        answers[line["id"]] = processor.batch_decode(new, skip_special_tokens=True)[0].strip()
    return answers


@pytest.mark.parametrize(
    ("experiment", "donor"),
    [("paper_llava_mplug_owl2", "mplug_owl2_llama2_7b"), ("paper_llava_sharegpt4v", "sharegpt4v_7b")],
)
def test_llava_goes_through_the_whole_search(
    experiment: str,
    donor: str,
    run: Any,
    checkpoints: dict[str, Path],
    questions: Path,
    tmp_path: Path,
) -> None:
    pair = experiment.replace("paper_llava_", "llava_from_")
    models = {key: checkpoints[name] for key, name in named_in(pair).items()}
    assert models[f"donors.{pair.removeprefix('llava_from_')}"] == checkpoints[donor]
    native = f"evaluate.donors={donor == 'sharegpt4v_7b'}".lower()  # the tiny mPLUG-Owl2 has no vision model
    done = search(run, experiment, models, questions, tmp_path / "out", native)
    assert done.status == 0, done.err
    assert "is not evaluated" not in done.out
    selection = json.loads((tmp_path / "out/selection.json").read_text())
    records = [json.loads(line) for line in (tmp_path / "out/answers.jsonl").read_text().splitlines()]
    assert all(list(record["answers"]) == [f"{i / 10:g}" for i in range(7)] for record in records)
    assert len({answer for record in records for answer in record["answers"].values()}) > 3
    winner = f"{selection['overall']['alpha']:g}"
    assert plain_answers(tmp_path / "out/model", questions) == {
        r["id"]: r["answers"][winner] for r in records
    }


def test_sharegpt4v_in_its_own_format_goes_through_the_whole_search(
    run: Any, checkpoints: dict[str, Path], questions: Path, tmp_path: Path
) -> None:
    """The winner's answers are those of the folder that was written, opened as a stranger would."""
    from configured_engines import transformers_engine

    from adamms.engines.answer import texts

    models = {key: checkpoints[name] for key, name in named_in("sharegpt4v_from_llava").items()}
    done = run(
        "experiment=paper_sharegpt4v_llava",
        *(f"model.{key}.path={path}" for key, path in models.items()),
        *(f"data.path={questions}", "data.prompts={}", "engine.accelerator=cpu", "engine.max_new_tokens=3"),
        f"output={tmp_path / 'out'}",
    )
    assert done.status == 0, done.err
    assert "is not evaluated" not in done.out
    winner = f"{json.loads((tmp_path / 'out/selection.json').read_text())['overall']['alpha']:g}"
    records = [json.loads(line) for line in (tmp_path / "out/answers.jsonl").read_text().splitlines()]
    asked = configured("data/jsonl", path=str(questions), pictures=questions.parent).load().examples
    with transformers_engine(tmp_path / "out/model", max_new_tokens=3, accelerator="cpu") as engine:
        assert texts(dict(engine.generate(asked))) == {r["id"]: r["answers"][winner] for r in records}
    assert len({answer for record in records for answer in record["answers"].values()}) > 3


def test_cogvlm_goes_through_the_whole_search_with_the_experiments_own_prompt(
    run: Any, questions: Path, tmp_path: Path
) -> None:
    models = {
        "target": native.save_cogvlm(tmp_path / "target", seed=1),
        "donors.llava": native.save_llava(tmp_path / "donor", seed=2),
        "ancestor": tiny.save_llama(tmp_path / "ancestor", 3, num_key_value_heads=tiny.HEADS),
    }
    done = run(
        "experiment=paper_cogvlm_llava",
        *(f"model.{key}.path={path}" for key, path in models.items()),
        f"model.target.tokenizer={native.save_tokenizer(tmp_path / 'tokenizer')}",
        f"data.path={questions}",
        *("engine.accelerator=cpu", "engine.max_new_tokens=3", f"output={tmp_path / 'out'}"),
    )
    assert done.status == 0, done.err
    assert "the donor llava is not evaluated: " in done.out  # it has neither tower nor tokenizer
    written = yaml.safe_load((tmp_path / "out/config.yaml").read_text())
    assert written["model"]["target"]["chat_template"] == "vqa"
    records = [json.loads(line) for line in (tmp_path / "out/answers.jsonl").read_text().splitlines()]
    assert all(list(record["answers"]) == [f"{i / 10:g}" for i in range(7)] for record in records)
    assert len({answer for record in records for answer in record["answers"].values()}) > 3


@pytest.mark.parametrize("mode", ["search", "respond"])
def test_a_target_that_no_engine_runs_is_refused_before_any_work(
    mode: str, run: Any, checkpoints: dict[str, Path], questions: Path, tmp_path: Path
) -> None:
    models = {key: checkpoints[name] for key, name in named_in("cambrian_from_yi_vl").items()}
    done = run(
        "experiment=paper_cambrian_yi_vl",
        f"mode={mode}",
        "candidate=0.1",
        *(f"model.{key}.path={path}" for key, path in models.items()),
        f"data.path={questions}",
        f"output={tmp_path / 'out'}",
    )
    assert done.status == 2
    assert f"{models['target']} (cambrian) cannot be run with engine=transformers. Neither transf" in done.err
    assert "engine=replay" in done.err
    assert not (tmp_path / "out").exists()
