"""Merged checkpoints in the published code of families that transformers does not have, from a checkout.

    python tests/benchmarks/published_code.py --family cambrian --code CHECKOUT --python INTERPRETER

Makes a tiny target in the family's published format and a donor that transformers has, plans, merges at
alpha 0.4 and 1 with `python run.py`, and has the published class load the results and answer six texts
and three images (tests/benchmarks/guests). Ends with status 1 unless, of every checkpoint,

    the class finds each of its weights in the files, and uses each weight there is, with the same values
    it answers every prompt, and images that differ change its scores
    at alpha=1 the answers to texts are the donor's in transformers, token by token, at 0.4 they are not

CHECKOUT is the root of the repository, cloned by you, INTERPRETER a Python that imports it. None of its
packages is needed in adamms' own environment, nor adamms there:

    --family                            repository (commit tried)
    cambrian                            github.com/cambrian-mllm/cambrian (539ffc3)
    internvl_internlm2, internvl_qwen2  github.com/OpenGVLab/InternVL (2410d1d)
    llava_onevision                     github.com/LLaVA-VL/LLaVA-NeXT (df17966)
    llava_onevision_1_5                 github.com/EvolvingLMMs-Lab/LLaVA-OneVision-1.5 (a5eb942)
    minicpm_v                           huggingface.co/openbmb/MiniCPM-V-2_6, the Python files (a copy of
                                        October 2024)

One environment did for all but LLaVA-OneVision-1.5: transformers==4.40.2 huggingface-hub==0.24.7
numpy==1.26.4 torch==2.13.0 torchvision==0.28.0 timm==0.9.16 peft==0.10.0 diffusers==0.27.2
open_clip_torch==2.32.0 ezcolorlog==1.0.3 einops==0.8.2 accelerate==1.15.0. That one was tried with
transformers==4.53.1 huggingface-hub==0.36.2 torch==2.13.0 torchvision==0.28.0.

Nothing is downloaded, and no weights are needed.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import tiny
import torch
from families import FAMILIES, save_family, save_language, save_model
from family_models import HIDDEN, TEXT
from remote_code import make_runnable
from remote_formats import FEED_FORWARD, WIDTH
from transformers.utils.logging import disable_progress_bar

ROOT = Path(__file__).resolve().parents[2]
GUESTS = Path(__file__).with_name("guests")
ALPHAS = ("0.4", "1")
NEW_TOKENS = 8
LEAST_APART = 1e-3  # of the scores of two images; scores of the tiny models are of size 1
Guest = Callable[[], None]


@dataclass(frozen=True)
class Pair:
    """Folders of a target in the published format and of a donor that transformers runs."""

    target: Path
    donor: Path


@dataclass(frozen=True)
class Family:
    """A family of models and what is published of it.

    Args:
        guest: the program in `guests` that runs the published class.
        file: what there is of the code in a checkout.
        inside: the folder of a checkout that Python imports from.
        make: (folder, guest) -> the pair; `guest` runs the program's first step in the folder.
    """

    guest: str
    file: str
    inside: str
    make: Callable[[Path, Guest], Pair]


def remote_code(name: str, folder: Path, guest: Guest) -> Pair:
    """A family of the tests."""
    target = make_runnable(name, save_family(name, folder / "target", seed=1))
    return Pair(target, save_language(FAMILIES[name].language, folder / "donor", seed=7))


def cambrian(folder: Path, guest: Guest) -> Pair:
    """The published class makes the target: its aggregator has tensors of many kinds."""
    from transformers import LlamaConfig, LlamaForCausalLM

    language = TEXT | {"num_hidden_layers": 4, "max_position_embeddings": 256}
    (folder / "language.json").write_text(json.dumps(language))
    guest()
    donor = save_model(lambda: LlamaForCausalLM(LlamaConfig(**language)), folder / "donor", seed=7)
    return Pair(folder / "target", donor)


def llava_onevision(folder: Path, guest: Guest) -> Pair:
    """The paper's pair: LLaVA-OneVision in its original format, and Qwen2-VL."""
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        Qwen2Config,
        SiglipVisionConfig,
    )

    text = {"initializer_range": 0.15, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6}
    vision = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 2, "num_hidden_layers": 1}
    config = LlavaOnevisionConfig(
        text_config=Qwen2Config(**(tiny._TEXT | text)),
        vision_config=SiglipVisionConfig(**vision, image_size=384, patch_size=14, vision_use_head=False),
        **{"image_token_index": 1, "video_token_index": 2, "tie_word_embeddings": False},
    )
    save_model(lambda: LlavaOnevisionForConditionalGeneration(config), folder / "hf", seed=1)
    target = tiny.as_original(folder / "hf", folder / "target")
    grid = [[384 * i, 384 * j] for i in range(1, 4) for j in range(1, 4)]
    fields = {
        **{"mm_hidden_size": 64, "mm_projector_type": "mlp2x_gelu", "mm_patch_merge_type": "spatial_unpad"},
        **{"mm_newline_position": "one_token", "mm_resampler_type": None, "mm_use_im_start_end": False},
        **{"mm_tunable_parts": "mm_vision_tower,mm_mlp_adapter,mm_language_model", "use_mm_proj": True},
        **{"mm_vision_select_feature": "patch", "mm_vision_select_layer": -2, "bos_token_id": 3},
        **{"image_aspect_ratio": "anyres_max_9", "image_grid_pinpoints": grid, "hidden_act": "silu"},
    }
    file = target / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | text | fields))
    guest()
    return Pair(target, tiny.save_qwen2_vl(folder / "donor", 7, **text))


def onevision_1_5(folder: Path, guest: Guest) -> Pair:
    """Qwen3 under names of the authors' own; one default of theirs is another."""
    target = save_family("llava_onevision_1_5", folder / "target", seed=1)
    file = target / "config.json"
    config = json.loads(file.read_text())
    config["text_config"]["rope_theta"] = 10000.0
    vision = {"depth": 1, "hidden_size": WIDTH, "embed_dim": WIDTH, "intermediate_size": FEED_FORWARD}
    vision |= {"model_type": "rice_vit", "num_heads": 2, "text_hidden_size": HIDDEN}
    file.write_text(json.dumps(config | {"image_token_id": 3, "vision_config": vision}))
    return Pair(target, save_language("qwen3", folder / "donor", seed=7))


_INTERNVL = ("run_internvl.py", "internvl/model/internvl_chat/modeling_internvl_chat.py", "internvl_chat")
PUBLISHED = {
    "cambrian": Family("run_cambrian.py", "cambrian/model/language_model/cambrian_llama.py", ".", cambrian),
    "internvl_internlm2": Family(*_INTERNVL, partial(remote_code, "internvl_internlm2")),
    "internvl_qwen2": Family(*_INTERNVL, partial(remote_code, "internvl_qwen2")),
    "llava_onevision": Family(
        "run_llava_onevision.py", "llava/model/language_model/llava_qwen.py", ".", llava_onevision
    ),
    "llava_onevision_1_5": Family(
        "run_onevision_1_5.py", "llavaonevision1_5/modeling_llavaonevision1_5.py", "ds", onevision_1_5
    ),
    "minicpm_v": Family("run_minicpm_v.py", "modeling_minicpmv.py", ".", partial(remote_code, "minicpm_v")),
}


def answered(command: list[str], folder: Path, doing: str, **variables: str) -> None:
    """Run a command to its end, or say what it said last."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=os.environ | variables)
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-12:])
        sys.exit(f"{doing} ended with status {done.returncode}:\n{said}")


def run_guest(family: Family, arguments: argparse.Namespace, folder: Path, *step: str) -> None:
    """One step of the program that runs the published class, without the hub."""
    code = (arguments.code / family.inside).resolve()
    answered(
        [arguments.python, "-W", "ignore", str(GUESTS / family.guest), str(code), *step],
        folder,
        f"{family.guest} in {arguments.python} (see --help for what it needs)",
        **{"HF_HUB_CACHE": str(folder / "hub"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""},
    )


def check(family: Family, arguments: argparse.Namespace) -> None:
    """End here if there is no such code or no such interpreter, whose path becomes absolute."""
    file = arguments.code / family.inside / family.file
    if not file.is_file():
        sys.exit(f"--code {arguments.code}: no {file}; give the root of a checkout, see --help for which")
    found = shutil.which(arguments.python)
    if found is None:
        sys.exit(f"--python {arguments.python}: there is no such program")
    arguments.python = str(Path(found).absolute())


def merge(pair: Pair, folder: Path, *overrides: str) -> dict[str, Any]:
    """One run of adamms; its plan."""
    answered(
        [
            *(sys.executable, str(ROOT / "run.py"), "model=custom", *overrides),
            "plan.force=true",  # the weights are random
            *(f"model.target.path={pair.target}", f"model.donors.a.path={pair.donor}", f"output={folder}"),
        ],
        folder.parent,
        "adamms",
    )
    plan: dict[str, Any] = json.loads((folder / "plan.json").read_text())
    return plan


@torch.no_grad()
def donor_answers(folder: Path, texts: list[list[int]]) -> list[list[int]]:
    """What transformers, which has the donor's class, generates after each text."""
    import transformers

    (name,) = json.loads((folder / "config.json").read_text())["architectures"]
    model = getattr(transformers, name).from_pretrained(folder, dtype=torch.float32).eval()
    answers = []
    for text in texts:
        ids = torch.tensor([text])
        settings = {"attention_mask": torch.ones_like(ids), "max_new_tokens": NEW_TOKENS, "do_sample": False}
        answers.append(model.generate(ids, **settings)[0, len(text) :].tolist())
    return answers


def complaints(found: dict[str, Any], planned: set[str]) -> list[str]:
    """What is wrong with a checkpoint by itself."""
    wrong = [f"{name}: {', '.join(names[:3])}" for name, names in found["problems"].items() if names]
    if not found["tensors"] == found["as_stored"] == len(planned):
        wrong.append("the class has not the values of the file, or the file not the tensors of the plan")
    if not all(found["texts"] + found["images"]):
        wrong.append("a prompt has no answer")
    if not found["least_apart"] >= LEAST_APART:  # which NaN is not, either
        wrong.append("two images have the same scores")
    return wrong


def show(title: str, found: dict[str, Any]) -> None:
    counts = ", ".join(f"{len(names)} {name}" for name, names in found["problems"].items())
    print(f"{title}: {found['as_stored']} of {found['tensors']} tensors as stored; loader: {counts}")
    for kind in ("texts", "images"):
        tokens = " | ".join(" ".join(map(str, answer)) for answer in found[kind])
        print(f"  {kind}, {sum(map(len, found[kind]))} tokens: {tokens}")
    print(f"  scores of two images are {found['least_apart']:.2g} apart at least")


def tried(name: str, arguments: argparse.Namespace, folder: Path) -> list[str]:
    """Make, plan, merge, run and compare; what is wrong."""
    family = PUBLISHED[name]
    pair = family.make(folder, lambda: run_guest(family, arguments, folder, "prepare", str(folder)))
    records = merge(pair, folder / "plan", "mode=plan")["tensors"]
    print(
        f"{name}: {len(records)} tensors, {sum(one['action'] == 'merge' for one in records)} of them merged"
    )
    folders = {"target": pair.target}
    for alpha in ALPHAS:
        merge(pair, folder / f"at{alpha}", "mode=merge", f"merge.alpha={alpha}")
        folders[f"alpha={alpha}"] = folder / f"at{alpha}/model"
    draws = torch.Generator().manual_seed(0)
    texts = [torch.randint(10, 47, (5 + i,), generator=draws).tolist() for i in range(6)]
    request = {"folders": list(map(str, folders.values())), "texts": texts, "max_new_tokens": NEW_TOKENS}
    (folder / "request.json").write_text(json.dumps(request))
    run_guest(family, arguments, folder, "answer", "request.json", "answers.json")
    answers = json.loads((folder / "answers.json").read_text())
    found = {title: answers[str(path)] for title, path in folders.items()}
    print(f"class: {found['target']['class']}\n       {found['target']['versions']}")
    wrong = []
    for title, one in found.items():
        show(title, one)
        wrong += [f"{title}: {problem}" for problem in complaints(one, {r["name"] for r in records})]
    expected = donor_answers(pair.donor, texts)
    same = sum(one == other for one, other in zip(found["alpha=1"]["texts"], expected, strict=True))
    print(f"at alpha=1 {same} of {len(texts)} texts have the donor's answer in transformers, token by token")
    if same < len(texts):
        wrong.append(f"alpha=1: the donor answers {expected}")
    if found["alpha=0.4"]["texts"] in (expected, found["target"]["texts"]):
        wrong.append("alpha=0.4: the answers to texts are those of one of the models that were merged")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--family", choices=sorted(PUBLISHED), required=True)
    parser.add_argument("--code", type=Path, required=True, help="root of the checkout")
    parser.add_argument("--python", default=sys.executable, help="the interpreter that can import it")
    arguments = parser.parse_args()
    check(PUBLISHED[arguments.family], arguments)
    disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        wrong = tried(arguments.family, arguments, Path(folder))
    for problem in wrong:
        print(f"WRONG: {problem}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
