"""Merged checkpoints of formats that vLLM has and transformers lacks, in vLLM's classes, on a CPU.

    python tests/benchmarks/vllm_formats.py [--format molmo2]

Makes a tiny target in the published names and layout and a donor that transformers has, merges them at alpha
0.4 and 1 with `python run.py`, and has vLLM load each result and answer six texts, and three images where the
format is one of tests/support/recent_code.WITH_IMAGES. Elsewhere it is told that there are no images, and
leaves the vision encoder out. Ends with status 1 unless, of every merged checkpoint,

    the answers to texts are those of its language model in transformers, taken out by this benchmark's hand
    images that differ have other log-probabilities

and that language model answers as the donor's at alpha 1, and otherwise at 0.4.

The vision encoders of OpenVLA and DeepSeek-VL2 need timm, of which a folder in PYTHONPATH is enough:
pip install --no-deps --target FOLDER timm (1.0.31 was tried).
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

import torch
from families import OPENVLA, RECENT, save_family, save_language
from published_code import ALPHAS, GUESTS, LEAST_APART, NEW_TOKENS, Pair, answered, donor_answers, merge
from recent_code import FIELDS, WITH_IMAGES, make_runnable
from recent_formats import OPENVLA_ROWS
from remote_formats import RemoteFormat
from safetensors.torch import load_file, save_file
from transformers.utils.logging import disable_progress_bar

FORMATS = RECENT | OPENVLA
# What stands for an image in a prompt.
MARKS = {"keye_vl": "<image>", "minicpm_v_4_5": "(<image>./</image>)", "internvl_qwen3_moe": "<image>"}
OVERRIDES = {"openvla": ("mapper.embeddings=rows", f"mapper.embedding_rows={OPENVLA_ROWS}")}


def pair_of(name: str, folder: Path) -> Pair:
    """A target in the format and a language model of its kind."""
    target = save_family(name, folder / "target", seed=1)
    return Pair(target, save_language(FORMATS[name].language, folder / "donor", seed=7))


def language_of(name: str, merged: Path, donor: Path, folder: Path) -> Path:
    """The merged checkpoint's language model alone, as transformers has it."""
    remote = FORMATS[name].source
    assert isinstance(remote, RemoteFormat)
    shutil.copytree(donor, folder)
    state = {
        name: tensor for file in merged.glob("*.safetensors") for name, tensor in load_file(file).items()
    }
    language = {name: tensor.contiguous() for name, tensor in remote.restored(state).items()}
    save_file(language, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def in_vllm(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What guests/run_vllm.py answers to a request."""
    (folder / "request.json").write_text(json.dumps(request))
    command = [sys.executable, str(GUESTS / "run_vllm.py"), "request.json", "answers.json"]
    path = os.pathsep.join([str(GUESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    settings = {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "PYTHONPATH": path}
    answered(command, folder, f"vLLM on {request['folder']}", **settings)
    found: dict[str, Any] = json.loads((folder / "answers.json").read_text())
    return found


def tried(name: str, folder: Path) -> list[str]:
    """Make, merge, run and compare; what is wrong."""
    pair = pair_of(name, folder)
    make_runnable(name, pair.target)
    draws = torch.Generator().manual_seed(0)
    texts = [torch.randint(10, 47, (5 + i,), generator=draws).tolist() for i in range(6)]
    wrong, before = [], donor_answers(pair.donor, texts)
    for alpha in ALPHAS:
        merge(pair, folder / f"at{alpha}", "mode=merge", f"merge.alpha={alpha}", *OVERRIDES.get(name, ()))
        merged = folder / f"at{alpha}/model"
        request = {
            **{"folder": str(merged), "texts": texts, "max_new_tokens": NEW_TOKENS},
            **{"images": name in WITH_IMAGES, "image_prompt": f"largest digit {MARKS.get(name)} of the"},
        }
        found = in_vllm(request, folder)
        plain = language_of(name, merged, pair.donor, folder / f"plain{alpha}")
        expected = donor_answers(plain, texts)
        same = sum(one == other for one, other in zip(found["texts"], expected, strict=True))
        values = sorted(found["images"])
        apart = min((b - a for a, b in pairwise(values)), default=None)
        print(f"{name}, alpha={alpha}: {found['class']}, {same} of {len(texts)} texts, images {apart} apart")
        if same < len(texts):
            wrong.append(f"{name}, alpha={alpha}: vLLM answers {found['texts']}, transformers {expected}")
        if apart is not None and not apart >= LEAST_APART:
            wrong.append(f"{name}, alpha={alpha}: two images have the same log-probabilities")
        if name not in OVERRIDES and (expected == before) != (alpha == "1"):
            wrong.append(f"{name}, alpha={alpha}: the language model is not what was merged")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--format", choices=sorted(FIELDS), nargs="*", default=sorted(FIELDS))
    disable_progress_bar()
    wrong = []
    for name in parser.parse_args().format:
        with tempfile.TemporaryDirectory() as folder:
            wrong += tried(name, Path(folder))
    for problem in wrong:
        print(f"WRONG: {problem}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
