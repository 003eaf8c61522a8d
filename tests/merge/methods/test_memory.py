"""Memory of one tensor: bounded by the chunk where a method is elementwise, else by what its module says.

Room that a decomposition takes inside the library is not seen here; tests/benchmarks/matrices.py measures it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import tiny
import torch
from command import CONF
from configured import configured
from live_bytes import LiveBytes
from tiny_merges import make

from adamms.merge import kernel, stream
from adamms.merge.method import TARGET, Chunk, Survey

OPTIONS = sorted(file.stem for file in (CONF / "merge").glob("*.yaml"))
ELEMENTWISE = [option for option in OPTIONS if configured(f"merge/{option}").elementwise]
HEAD = "lm_head.weight"
# Numbers of float64 in memory, from the models, the elements of the matrix, and r of the interference.
BOUNDS: Mapping[str, Callable[[int, int, int], int]] = {
    "tsv": lambda models, elements, _: (4 * models + 6) * elements,
    "iso_c": lambda models, elements, _: (models + 7) * elements,
    "iso_cts": lambda models, elements, _: (3 * models + 18) * elements,
    "swudi": lambda models, elements, rank: (models + 5) * elements + 9 * rank**2,
    "aswudi": lambda models, elements, rank: (models + 5) * elements + 9 * rank**2,
    "wudi": lambda models, elements, rank: (3 * models + 3) * elements + 4 * rank**2,
    "wudi2": lambda models, elements, rank: (3 * models + 10) * elements + 4 * rank**2,
}


def with_heads(folder: Path, rows: int) -> list[Path]:
    """Three models whose heads have so many rows."""
    folders = []
    for seed in range(3):
        state = tiny.llama_state(seed)
        generator = torch.Generator().manual_seed(seed)
        state[HEAD] = torch.randn(rows, state[HEAD].shape[1], generator=generator)
        folders.append(tiny.write_model(folder / str(seed), state))
    return folders


@pytest.mark.parametrize("option", ELEMENTWISE)
def test_it_does_not_grow_with_the_tensor(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CHUNK_ELEMENTS", 64)
    monkeypatch.setattr(stream, "COMPILED_CHUNKS", 1)
    peaks = []
    for rows in (50, 250):
        folders = with_heads(tmp_path / str(rows), rows)
        method = configured(f"merge/{option}")
        base = folders[2] if method.needs_ancestor else None
        recipe = make(method, folders[0], {"a": folders[1]}, base)
        with LiveBytes() as live:
            for _ in recipe.pieces(HEAD):
                pass
        peaks.append(live.peak)
    assert 0 < peaks[1] <= peaks[0] * 1.1


def of_the_model() -> dict[str, Survey]:
    """What is measured over the whole model before it is merged; what is of one tensor is above."""
    surveys = {option: configured(f"merge/{option}").survey() for option in OPTIONS}
    surveys["ram_plus"] = configured("merge/ram", boost=0.1).survey()
    surveys["norms"] = configured("merge/schedule/norms").survey()
    return {name: each for name, each in surveys.items() if each is not None and each.scope == "model"}


@pytest.mark.parametrize("name", of_the_model())
def test_what_is_measured_does_not_grow_with_the_tensor(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "LIBRARY", None)  # compiled passes make no tensors
    monkeypatch.setattr(stream, "CHUNK_ELEMENTS", 64)
    monkeypatch.setattr(stream, "COMPILED_CHUNKS", 1)
    peaks = []
    for rows in (50, 250):
        folders = with_heads(tmp_path / str(rows), rows)
        recipe = make(configured("merge/task_arithmetic"), folders[0], {"a": folders[1]}, folders[2])
        with LiveBytes() as live:
            recipe.surveyed(of_the_model()[name], workers=0)
        peaks.append(live.peak)
    assert 0 < peaks[1] <= peaks[0] * 1.1


def test_every_other_method_says_what_it_takes() -> None:
    assert sorted(BOUNDS) == sorted(set(OPTIONS) - set(ELEMENTWISE))


@pytest.mark.parametrize("shape", [(128, 128), (192, 48), (48, 192)])
@pytest.mark.parametrize("models", [2, 4])
@pytest.mark.parametrize("option", BOUNDS)
def test_it_is_within_the_bound(option: str, models: int, shape: tuple[int, int]) -> None:
    method = configured(f"merge/{option}", **({"steps": 2} if option == "wudi2" else {}))
    generator = torch.Generator().manual_seed(0)
    with LiveBytes() as live:
        ancestor = torch.randn(shape, generator=generator, dtype=torch.float64)
        operands = {
            name: torch.randn(shape, generator=generator, dtype=torch.float64)
            for name in [TARGET, *"abc"[: models - 1]]
        }
        target = operands.pop(TARGET)
        method.merge(Chunk("w", shape, 0, target, operands, ancestor, dict.fromkeys(operands, 1 / models)))
    rows, columns = shape
    rank = min(columns, models * rows)
    basis = columns * rank * (models if option == "wudi" else 1) if models * rows < columns else 0
    assert live.peak <= 8 * (BOUNDS[option](models, rows * columns, rank) + basis)
