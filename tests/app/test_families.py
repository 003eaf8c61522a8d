"""Every family beyond the paper's, tiny, through the command line: planned, merged, loaded and run.

At alpha=1 the merged model's language model is the donor's, tensor by tensor. So its answers to text must be
the donor's, which checks the meaning of every correspondence: a head that landed elsewhere, a swapped gate
and up, a layer off by one all change them.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command import Outcome
from families import BUILT, FAMILIES, REMOTE, save_family
from remote_formats import RemoteFormat
from safetensors.torch import load_file, save_file
from tiny import with_vision_level

Run = Callable[..., Outcome]

SEEDS = {name: seed for seed, name in enumerate(FAMILIES, start=1)}
IDS = torch.tensor([[5, 9, 17, 30, 11, 6]])
# float32 of the same weights in the same order; classes differ in how they compute norms, rope and attention.
CLOSE = {"atol": 1e-5, "rtol": 1e-4}


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of the tiny model of a family, made once."""
    folder = tmp_path_factory.mktemp("families")

    def make(name: str) -> Path:
        return (
            folder / name if (folder / name).exists() else save_family(name, folder / name, seed=SEEDS[name])
        )

    return make


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert sorted(found) == sorted(expected)
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name


def merge(run: Run, target: Path, donor: Path, output: Path, *more: str, alpha: float = 1) -> Path:
    done = run(
        *("mode=merge", "model=custom", f"model.target.path={target}", f"model.donors.a.path={donor}"),
        *(f"merge.alpha={alpha}", f"output={output}", *more),
    )
    assert done.status == 0, done.err
    return output / "model"


def plan(run: Run, target: Path, donor: Path, output: Path) -> dict[str, dict[str, str]]:
    done = run(
        *("mode=plan", "model=custom", f"model.target.path={target}", f"model.donors.a.path={donor}"),
        f"output={output}",
    )
    assert done.status == 0, done.err
    return {record["name"]: record for record in json.loads((output / "plan.json").read_text())["tensors"]}


def load(folder: Path) -> torch.nn.Module:
    """The model in its own class; every weight found, none left over."""
    import transformers

    (name,) = json.loads((folder / "config.json").read_text())["architectures"]
    model, info = getattr(transformers, name).from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    assert not any(info.values()), info
    return model.eval()


@torch.no_grad()
def answers(model: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits for a few tokens of text, and the tokens that are generated after them."""
    mask = torch.ones_like(IDS)
    logits = model(input_ids=IDS, attention_mask=mask).logits
    return logits, model.generate(input_ids=IDS, attention_mask=mask, max_new_tokens=4, do_sample=False)


def embeddings(name: str) -> tuple[str, ...]:
    """mllama has eight embeddings more than its head and than Llama."""
    return ("mapper.embeddings=rows", "mapper.embedding_rows=48") if name == "mllama" else ()


@pytest.mark.parametrize("name", BUILT)
def test_a_family_takes_its_language_model(name: str, run, family, language, tmp_path: Path) -> None:
    target, donor = family(name), language(FAMILIES[name].language)
    planned = plan(run, target, donor, tmp_path / "plan")
    merged = merge(run, target, donor, tmp_path / "merge", *embeddings(name))
    before, after = weights(target), weights(merged)
    assert sorted(planned) == sorted(before) == sorted(after)
    kept = [record for record in planned.values() if record["role"] is None]
    assert kept
    for record in kept:
        assert record["reason"] in ("vision encoder", "projector", "cross-attention layer")
        assert torch.equal(after[record["name"]], before[record["name"]])
    logits, tokens = answers(load(merged))
    expected_logits, expected_tokens = answers(load(donor))
    torch.testing.assert_close(logits, expected_logits, **CLOSE)
    assert torch.equal(tokens, expected_tokens)
    untouched, _ = answers(load(target))
    assert (untouched - expected_logits).abs().max() > 0.1


@pytest.mark.parametrize("name", ["llava_next_mistral", "gemma3"])
def test_a_family_in_the_hubs_names_keeps_them(name: str, run, family, language, tmp_path: Path) -> None:
    """The hub's files have a level `vision_model.` that a model made afresh by transformers 5 lacks."""
    target = with_vision_level(family(name), tmp_path / "hub")
    donor = language(FAMILIES[name].language)
    merged = merge(run, target, donor, tmp_path / "merge")
    assert sorted(weights(merged)) == sorted(weights(target))
    logits, tokens = answers(load(merged))
    expected_logits, expected_tokens = answers(load(donor))
    torch.testing.assert_close(logits, expected_logits, **CLOSE)
    assert torch.equal(tokens, expected_tokens)


@pytest.mark.parametrize("name", BUILT)
def test_a_language_model_takes_that_of_a_family(name: str, run, family, language, tmp_path: Path) -> None:
    target, donor = language(FAMILIES[name].language), family(name)
    merged = merge(run, target, donor, tmp_path / "merge", *embeddings(name))
    assert sorted(weights(merged)) == sorted(weights(target))
    logits, tokens = answers(load(merged))
    expected_logits, expected_tokens = answers(load(donor))
    torch.testing.assert_close(logits, expected_logits[..., :48], **CLOSE)
    assert torch.equal(tokens, expected_tokens)


@pytest.mark.parametrize("name", REMOTE)
def test_a_family_of_remote_code_takes_its_language_model(
    name: str, run, family, language, tmp_path: Path
) -> None:
    """What is merged is taken out again by the test's own hand, runs in transformers, and is the donor."""
    remote = FAMILIES[name].source
    assert isinstance(remote, RemoteFormat)
    target, donor = family(name), language(FAMILIES[name].language)
    planned = plan(run, target, donor, tmp_path / "plan")
    merged = merge(run, target, donor, tmp_path / "merge")
    before, after = weights(target), weights(merged)
    assert sorted(planned) == sorted(before) == sorted(after)
    assert [n for n, record in planned.items() if record["action"] == "keep"] == sorted(remote.vision)
    for vision in remote.vision:
        assert torch.equal(after[vision], before[vision])
    assert (merged / "config.json").read_bytes() == (target / "config.json").read_bytes()

    plain = shutil.copytree(donor, tmp_path / "plain")
    save_file(remote.restored(after), plain / "model.safetensors", metadata={"format": "pt"})
    assert_same(weights(plain), weights(donor))
    assert torch.equal(answers(load(plain))[1], answers(load(donor))[1])


@pytest.mark.parametrize("name", REMOTE)
def test_a_language_model_takes_that_of_remote_code(name: str, run, family, language, tmp_path: Path) -> None:
    target, donor = language(FAMILIES[name].language), family(name)
    merged = merge(run, target, donor, tmp_path / "merge")
    inside = weights(donor.with_name(f"{name}-plain"))  # what the family's file was written around
    assert_same(weights(merged), inside)
    load(merged)


@pytest.mark.parametrize(("name", "other"), [("phi3_v", "llama"), ("internvl_internlm2", "phi3")])
def test_layouts_translate_into_one_another_and_run_alike(
    name: str, other: str, run, family, language, tmp_path: Path
) -> None:
    """Phi-3, Llama and InternLM2 compute the same of the same weights, fused or not."""
    remote = FAMILIES[name].source
    assert isinstance(remote, RemoteFormat)
    target, donor = family(name), language(other)
    plain = shutil.copytree(target.with_name(f"{name}-plain"), tmp_path / "plain")
    merged = merge(run, target, donor, tmp_path / "there")
    save_file(remote.restored(weights(merged)), plain / "model.safetensors", metadata={"format": "pt"})
    torch.testing.assert_close(answers(load(plain))[0], answers(load(donor))[0], **CLOSE)
    merged = merge(run, donor, target, tmp_path / "back")
    torch.testing.assert_close(
        answers(load(merged))[0], answers(load(target.with_name(f"{name}-plain")))[0], **CLOSE
    )


PAIRS = [
    ("qwen2_5_vl", "internvl_hf"),
    ("minicpm_v", "internvl_qwen2"),
    ("llava_next_llama", "internvl_internlm2"),
    ("internvl_internlm2", "idefics3"),
    ("mllama", "internlm2"),
    ("phi3_v", "internvl_internlm2"),
    ("internlm2", "phi3_v"),
]


@pytest.mark.parametrize(("target", "donor"), PAIRS)
def test_families_merge_with_one_another(target: str, donor: str, run, family, tmp_path: Path) -> None:
    """Halfway between a model and itself, brought into another's layout and back, is the model itself."""
    folder, other = family(target), family(donor)
    there = merge(run, other, folder, tmp_path / "there", *embeddings(target))
    back = merge(run, folder, there, tmp_path / "back", *embeddings(target), alpha=0.5)
    assert_same(weights(back), weights(folder))
    records = json.loads((tmp_path / "back/plan.json").read_text())["tensors"]
    assert all((record["action"] == "merge") == (record["role"] is not None) for record in records)
    between = weights(merge(run, folder, other, tmp_path / "between", *embeddings(target), alpha=0.5))
    before = weights(folder)
    for record in records:
        name = record["name"]
        assert torch.equal(between[name], before[name]) == (record["action"] == "keep"), name
