"""OptMerge's benchmark on tiny stand-ins: five experts of one model, merged by several methods."""

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
from command import ROOT, Outcome
from families import save_family
from safetensors.torch import load_file, save_file

EXPERTS = ("ocr", "vqa", "geometry", "chart", "grounding")
METHODS = ("linear", "ties", "wudi")  # that the others compose: see test_sweeps
Maker = Callable[[Path], Path]


def tuned(base: Path, folder: Path, seed: int) -> Path:
    """A copy of the base whose tensors have all moved a little."""
    folder.mkdir()
    for file in base.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    noise = torch.Generator().manual_seed(seed)
    state = load_file(base / "model.safetensors")
    moved = {name: t + 0.02 * torch.randn(t.shape, generator=noise).to(t.dtype) for name, t in state.items()}
    save_file(moved, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("experiment", "save", "methods", "embeddings"),
    [
        ("optmerge_qwen2_vl", tiny.save_qwen2_vl, METHODS, "model.embed_tokens.weight"),
        (
            "optmerge_internvl2_5",
            lambda folder: save_family("internvl_qwen2", folder),
            METHODS[:1],
            "language_model.model.embed_tokens.weight",
        ),
    ],
)
def test_the_sweep_merges_five_experts(
    run: Callable[..., Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    experiment: str,
    save: Maker,
    methods: tuple[str, ...],
    embeddings: str,
) -> None:
    base = save(tmp_path / "base")
    experts = {name: tuned(base, tmp_path / name, seed) for seed, name in enumerate(EXPERTS, start=1)}
    monkeypatch.chdir(ROOT)
    done = run(
        *("-cd", "sweeps", "-cn", "optmerge", f"experiment={experiment}", f"merge={','.join(methods)}"),
        *(f"model.target.path={base}", f"model.ancestor.path={base}"),
        *(f"model.donors.{name}.path={folder}" for name, folder in experts.items()),
        f"hydra.sweep.dir={tmp_path / 'sweep'}",
    )
    assert done.status == 0, done.err
    made = [load_file(tmp_path / f"sweep/{job}/model/model.safetensors") for job in range(len(methods))]
    before = load_file(base / "model.safetensors")
    each = [load_file(folder / "model.safetensors") for folder in experts.values()]
    [matrix] = [name for name in before if name.endswith("layers.0.mlp.up_proj.weight")]
    mean = torch.stack([own[matrix].double() for own in each]).mean(0)
    torch.testing.assert_close(made[0][matrix].double(), mean, atol=1e-3, rtol=0)
    kept = [name for name in before if name == embeddings or "norm" in name or name.endswith(".bias")]
    assert len(kept) > 3
    for state in made:
        assert not torch.equal(state[matrix], before[matrix])
        assert all(torch.equal(state[name], before[name]) for name in kept)
