"""Merges have the bytes that version 0.2.0 wrote, which knew one way to compute and one to write a tensor."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from command import Outcome
from safetensors.torch import load_file, save_file

METHODS = {"linear": "merge.alpha=0.3", "task_arithmetic": "merge.alpha=0.7", "ties": "merge.density=0.4"}
# Written by the commit ec1fef8~1: method and dtype -> SHA-256 of names and values, in the order of names.
WRITTEN = {
    "linear float32": "527bcc8c7b031b4c0c598039dc8f8f772e9dcac39217d93994198ba5c5a38de2",
    "linear bfloat16": "89e73bc4c46124d887cd5cbad5fedc31a545faf79210f57192ed1cef2c4967ae",
    "linear float16": "87b925ad811daa6deddd416f3b1acf5112bbba2b7e86938f02034fd4cfc5f9d3",
    "task_arithmetic float32": "4be0399aca4da7eea6133bf452a821a7c3c2c70095156805d24619c5b3a59fcd",
    "task_arithmetic bfloat16": "91263a93359867a3839ccf12db8a1fccb9398e7b6ade3b79734dacc62bf423b5",
    "task_arithmetic float16": "5da7f0eeccbeaf8ab8966ac5bf862b038f80f3f345bd067a98dd7f72ceb8f356",
    "ties float32": "38a52992f97f9fbe8aeebaa694d3e072ee60a319c832f277d0995c8427dc0743",
    "ties bfloat16": "34135d4a9faee0494be73eb5da2613a00f98c85bf1627b44758b3a506b30bb3f",
    "ties float16": "8c19bc94b7accfd6b057c4806d82fab3a4089ae4f461d678e259964a622379d1",
}


def refilled(folder: Path, dtype: torch.dtype, seed: int) -> Path:
    """The model with values that every version of NumPy draws alike, with the scale of real weights."""
    draw, file = np.random.RandomState(seed), folder / "model.safetensors"
    shapes = {name: tensor.shape for name, tensor in sorted(load_file(file).items())}
    values = {name: 0.02 * draw.standard_normal(tuple(shape)) for name, shape in shapes.items()}
    save_file({n: torch.from_numpy(v).to(dtype) for n, v in values.items()}, file, {"format": "pt"})
    return folder


def digest(file: Path) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(load_file(file).items()):
        found.update(name.encode())
        found.update(tensor.view(torch.uint8).numpy())
    return found.hexdigest()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("method", METHODS)
def test_a_merge_has_the_bytes_of_0_2_0(
    method: str, dtype: str, run: Callable[..., Outcome], tmp_path: Path
) -> None:
    kinds = (("target", tiny.save_qwen2_vl), ("donors.a", tiny.save_onevision), ("ancestor", tiny.save_qwen2))
    models = [
        f"model.{key}.path={refilled(save(tmp_path / key), getattr(torch, dtype), seed)}"
        for seed, (key, save) in enumerate(kinds)
        if key != "ancestor" or method != "linear"
    ]
    settings = ["model=custom", f"merge={method}", METHODS[method]]
    done = run("mode=merge", *settings, *models, f"output={tmp_path / 'out'}")
    assert done.status == 0, done.err
    assert digest(tmp_path / "out/model/model.safetensors") == WRITTEN[f"{method} {dtype}"]
