"""What is merged from file to file has the bytes of what is merged piece by piece."""

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import tiny
import torch
from compiled import needs_kernel
from configured import configured
from safetensors.torch import load_file
from tiny_merges import make

from adamms.checkpoint.reader import open_checkpoint
from adamms.checkpoint.writer import whole_folder, write_tensors
from adamms.errors import AdammsError
from adamms.mapping.expression import Concat, Pick, Read, Slice, Stack, Transpose
from adamms.mapping.file_runs import FileRun
from adamms.mapping.plan import Plan, Slot
from adamms.merge import from_files
from adamms.merge.catalogue import known_methods
from adamms.merge.combination import Combination, CombiningMethod
from adamms.merge.device import Computed
from adamms.merge.method import TARGET, Statistics
from adamms.merge.methods.linear import Linear
from adamms.merge.recipe import Recipe
from adamms.merge.sources import MAPPED_FILES
from adamms.merge.task_vectors import TaskVectors
from adamms.system import output_file
from adamms.system.output_file import OutputFile
from adamms.system.threads import Advance

pytestmark = needs_kernel
COMBINING = [method.name for method in known_methods() if issubclass(method, CombiningMethod)]


def written(
    recipe: Recipe, folder: Path, files: bool, shard_bytes: int = 900
) -> tuple[dict[str, bytes], set[str]]:
    """The bytes of each file, and the names of the tensors that were written from file to file."""
    folder.mkdir()
    computed, direct, seen = Computed(recipe, MAPPED_FILES), set(), []

    def fast(name: str, file: OutputFile, offset: int, buffer: memoryview, advance: Advance) -> int:
        done = computed.write(name, file, offset, buffer, advance) if files else 0
        direct.update([name] if done == recipe.entry(name).elements else [])
        return done

    write_tensors(computed, folder, shard_bytes, 2, seen.append, fast)
    assert min(seen) >= 0, "nothing is written twice"
    assert sum(seen) == sum(entry.nbytes for entry in recipe.layout())
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}, direct


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A llama in each of three dtypes."""
    root = tmp_path_factory.mktemp("models")
    dtypes = (torch.bfloat16, torch.float32, torch.float16)
    states = [tiny.llama_state(i, dtype=dtype) for i, dtype in enumerate(dtypes)]
    return [tiny.write_model(root / str(i), state) for i, state in enumerate(states)]


@pytest.mark.parametrize("name", COMBINING)
def test_every_combination_has_the_bytes_of_its_pieces(
    name: str, folders: list[Path], tmp_path: Path
) -> None:
    method = configured(f"merge/{name}")
    recipe = make(method, folders[0], {"a": folders[1]}, folders[2] if method.needs_ancestor else None)
    expected, none = written(recipe, tmp_path / "pieces", files=False)
    found, direct = written(recipe, tmp_path / "files", files=True)
    assert found == expected
    assert not none
    survey = method.survey()
    alone = method.by_formula_alone and (survey is None or survey.scope == "model")
    assert direct == (set(recipe.slots) if alone else set())


def test_values_may_lie_in_many_places(tmp_path: Path) -> None:
    """Of fused, stacked and picked tensors; a transposed one is merged piece by piece."""
    torch.manual_seed(0)
    donor = {"a": torch.randn(6, 5), "b": torch.randn(4, 5).bfloat16(), "c": torch.randn(3, 7, 5)}
    sources = {
        "concat": Concat((Slice(Read("a"), 0, 1, 4), Read("b"), Read("a")), 0),
        "pick": Pick(Read("c"), 2),
        "rows of a pick": Slice(Pick(Read("c"), 1), 0, 2, 6),
        "stack": Stack((Pick(Read("c"), 0), Slice(Concat((Read("a"), Read("b")), 0), 0, 1, 8))),
        "columns": Slice(Read("a"), 1, 0, 3),
        "transposed": Transpose(Read("a")),
    }
    shapes = {"concat": (13, 5), "pick": (7, 5), "rows of a pick": (4, 5), "stack": (2, 7, 5)}
    shapes |= {"columns": (6, 3), "transposed": (5, 6)}
    own = {name: torch.randn(shapes[name]).bfloat16() for name in sources}
    own |= {"kept": torch.randn(3, 3), "counts": torch.arange(5), "scalar": torch.tensor(2.0)}
    target, other = (tiny.write_model(tmp_path / name, state) for name, state in (("t", own), ("d", donor)))
    opened = [open_checkpoint(target), open_checkpoint(other)]
    slots = tuple(
        Slot(e.name, e.shape, e.dtype, "", {"d": sources[e.name]} if e.name in sources else {}, reason="kept")
        for e in opened[0].tensors.values()
    )
    recipe = Recipe(opened[0], {"d": opened[1]}, Plan("t", {"d": "d"}, slots), Linear(), {"d": 0.3})
    expected, _ = written(recipe, tmp_path / "pieces", files=False)
    found, direct = written(recipe, tmp_path / "files", files=True)
    assert found == expected
    assert direct == own.keys() - {"columns", "transposed", "scalar"}


@pytest.fixture(params=["disk", "memory"])
def small_parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors are written in parts of 5001 elements and four pages, as to a disk and as to memory."""
    monkeypatch.setattr(output_file, "BUFFER_PAGES", 4)
    monkeypatch.setattr(output_file, "_in_memory", lambda file: request.param == "memory")
    monkeypatch.setattr(from_files, "ELEMENTS", 5001)


@pytest.mark.usefixtures("small_parts")
def test_large_tensors_are_written_in_parts_that_end_anywhere(tmp_path: Path) -> None:
    """Of two pages at most, with whole pages past the page cache where a file is on a disk."""
    torch.manual_seed(0)
    own = {f"w{i}": torch.randn(rows, 37).bfloat16() for i, rows in enumerate((1, 300, 55, 1200))}
    own |= {"wide": torch.randn(700, 3), "kept": torch.randn(41, 333).half(), "bytes": torch.arange(200)}
    others = {name: values.float() + 1 for name, values in own.items() if name.startswith("w")}
    target, donor = (tiny.write_model(tmp_path / n, state) for n, state in (("t", own), ("d", others)))
    opened = [open_checkpoint(target), open_checkpoint(donor)]
    slots = tuple(
        Slot(e.name, e.shape, e.dtype, "", {"d": Read(e.name)} if e.name in others else {}, reason="kept")
        for e in opened[0].tensors.values()
    )
    recipe = Recipe(opened[0], {"d": opened[1]}, Plan("t", {"d": "d"}, slots), Linear(), {"d": 0.3})
    expected, _ = written(recipe, tmp_path / "pieces", files=False, shard_bytes=1 << 30)
    found, direct = written(recipe, tmp_path / "files", files=True, shard_bytes=1 << 30)
    assert found == expected
    assert direct == own.keys()


@dataclass(frozen=True)
class DonorAlone(CombiningMethod):
    name: ClassVar[str] = "donor_alone"
    formula: ClassVar[str] = "donor"
    elementwise: ClassVar[bool] = True
    needs_ancestor: ClassVar[bool] = False

    def combination(self, shares: Mapping[str, float], statistics: Statistics | None) -> Combination:
        return Combination({"a": 1.0})


def test_without_a_share_of_the_target_its_dtype_stays(folders: list[Path], tmp_path: Path) -> None:
    recipe = make(DonorAlone(), folders[0], {"a": folders[1]}, None)
    expected, _ = written(recipe, tmp_path / "pieces", files=False)
    found, direct = written(recipe, tmp_path / "files", files=True)
    assert found == expected
    assert direct == set(recipe.slots)


@dataclass(frozen=True)
class ChangesOfTarget(CombiningMethod):
    """Half the donor's changes of the target.

    Args:
        factors: of the rows, which weigh their changes: only large ones are taken; none for all changes.
    """

    factors: tuple[float, ...] = ()

    name: ClassVar[str] = "changes_of_target"
    formula: ClassVar[str] = "target + (donor - target) / 2"
    elementwise: ClassVar[bool] = True
    needs_ancestor: ClassVar[bool] = False

    def combination(self, shares: Mapping[str, float], statistics: Statistics | None) -> Combination:
        if not self.factors:
            return Combination({"a": 0.5}, TaskVectors(base=TARGET))
        factors = {"a": torch.tensor(self.factors, dtype=torch.float64)}
        return Combination({"a": 0.5}, TaskVectors({"a": 0.5}, factors=factors, base=TARGET))


def test_changes_of_the_target_are_added_to_it_beside_an_ancestor(
    folders: list[Path], tmp_path: Path
) -> None:
    recipe = make(ChangesOfTarget(), folders[0], {"a": folders[1]}, folders[2])
    expected, _ = written(recipe, tmp_path / "pieces", files=False)
    found, direct = written(recipe, tmp_path / "files", files=True)
    assert found == expected
    assert direct == set(recipe.slots)


def test_weighed_rows_are_merged_piece_by_piece(tmp_path: Path) -> None:
    torch.manual_seed(0)
    folders = [tiny.write_model(tmp_path / name, {"w": torch.randn(3, 5)}) for name in "ta"]
    target, donor = map(open_checkpoint, folders)
    plan = Plan("t", {"a": "a"}, (Slot("w", (3, 5), "F32", "", {"a": Read("w")}),))
    recipe = Recipe(target, {"a": donor}, plan, ChangesOfTarget((0.1, 1.0, 10.0)), {"a": 0.5})
    expected, _ = written(recipe, tmp_path / "pieces", files=False)
    found, direct = written(recipe, tmp_path / "files", files=True)
    assert found == expected
    assert not direct


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_of_what_is_infinite_or_nan_pieces_tell(bad: float, folders: list[Path], tmp_path: Path) -> None:
    state = load_file(folders[0] / "model.safetensors")
    state["model.norm.weight"][3] = bad
    target = tiny.write_model(tmp_path / "target", state)
    recipe = make(Linear(), target, {"a": folders[1]}, None)
    expected, _ = written(recipe, tmp_path / "pieces", files=False)
    found, direct = written(recipe, tmp_path / "files", files=True)
    assert found == expected
    assert direct == state.keys() - {"model.norm.weight"}


@pytest.mark.usefixtures("small_parts")
def test_what_is_written_before_an_infinite_value_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Late in a large tensor. Pieces go on behind it: a page is only ever written in one of the two ways."""
    torch.manual_seed(0)
    own, others = torch.randn(1200, 37).bfloat16(), torch.randn(1200, 37)
    others[900, 5] = float("inf")
    folders = [tiny.write_model(tmp_path / n, {"w": values}) for n, values in (("t", own), ("d", others))]
    target, donor = map(open_checkpoint, folders)
    plan = Plan("t", {"d": "d"}, (Slot("w", (1200, 37), "BF16", "", {"d": Read("w")}),))
    recipe = Recipe(target, {"d": donor}, plan, Linear(), {"d": 0.3})
    expected, _ = written(recipe, tmp_path / "pieces", files=False)
    places = []
    write = OutputFile.write

    def noted(file: OutputFile, raw: memoryview, offset: int, descriptor: int | None = None) -> None:
        places.extend([offset] if raw.nbytes else [])
        write(file, raw, offset, descriptor)

    monkeypatch.setattr(OutputFile, "write", noted)
    found, direct = written(recipe, tmp_path / "files", files=True)
    assert found == expected
    assert not direct
    header = 8 + int.from_bytes(found["model.safetensors"][:8], "little")
    first = (900 * 37 + 5) // 5001 * 5001
    assert min(place for place in places if place) == header + 2 * first


def test_a_model_that_cannot_be_read_is_named(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The system has an error for reading where a process has no memory."""
    recipe = make(Linear(), folders[0], {"a": folders[1]}, None)
    broken = os.open("/proc/self/mem", os.O_RDONLY)

    def opened(runs: Sequence[FileRun], stack: ExitStack) -> dict[Path, int]:
        return open_files(runs, stack) | {folders[1] / "model.safetensors": broken}

    open_files = from_files.open_files
    monkeypatch.setattr(from_files, "open_files", opened)
    name = re.escape(str(folders[1] / "model.safetensors"))
    computed = Computed(recipe, MAPPED_FILES)
    with (
        pytest.raises(AdammsError, match=f"^{name}: cannot be read: Input/output error"),
        whole_folder(tmp_path / "model", 0) as partial,
    ):
        write_tensors(computed, partial, 900, 2, fast=computed.write)
    os.close(broken)
    assert not (tmp_path / "model").exists()


def test_a_file_that_became_shorter_is_told_of(tmp_path: Path) -> None:
    states = [tiny.llama_state(i) for i in range(2)]
    target, donor = (tiny.write_model(tmp_path / str(i), state) for i, state in enumerate(states))
    recipe = make(Linear(), target, {"a": donor}, None)
    with (donor / "model.safetensors").open("r+b") as file:
        file.truncate(file.seek(0, 2) - 1)
    with pytest.raises(AdammsError, match=r"1/model\.safetensors: is shorter than it was"):
        written(recipe, tmp_path / "files", files=True)


def test_so_is_one_that_becomes_shorter_while_it_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    states = [tiny.llama_state(i) for i in range(2)]
    target, donor = (tiny.write_model(tmp_path / str(i), state) for i, state in enumerate(states))
    recipe = make(Linear(), target, {"a": donor}, None)
    opened = from_files.open_files

    def then_cut(runs: Sequence[FileRun], stack: ExitStack) -> Mapping[Path, int]:
        found = opened(runs, stack)
        os.truncate(donor / "model.safetensors", 0)
        monkeypatch.setattr(from_files, "open_files", opened)
        return found

    monkeypatch.setattr(from_files, "open_files", then_cut)
    with pytest.raises(AdammsError, match=r"1/model\.safetensors: is shorter than it was"):
        written(recipe, tmp_path / "files", files=True)


def test_a_full_disk_is_told_of(folders: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """/dev/full takes no byte."""
    recipe = make(Linear(), folders[0], {"a": folders[1]}, None)
    full = os.open("/dev/full", os.O_WRONLY)
    monkeypatch.setattr(OutputFile, "descriptors", (full, -1))
    with pytest.raises(OSError, match="No space left"):
        written(recipe, tmp_path / "files", files=True)
    os.close(full)
