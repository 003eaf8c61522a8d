"""Against mergekit 0.1.5 itself, in its own environment: heterogeneous models here, renamed ones there.

mergekit merges models of one architecture. The target here is a Qwen2-VL, its donors are a LLaVA-OneVision
and a Qwen2, as the ancestor is; mergekit gets the same language models, all in Qwen2's names.

mergekit computes in the stored dtypes unless `dtype` says otherwise, so that its results in 16 bits carry
the rounding of every step. Here it is told to compute in float64 and to round once to the target's dtype
(`dtype: float64`, `out_dtype`): then both must agree within one unit in the last place, in float32 and in
bfloat16. Its trimming nevertheless sorts magnitudes in float32; the values are multiples of 2**-20 below
1, so that all differences are exact in float32, and what is selected must be the same bit for bit. Of
equal magnitudes at a threshold mergekit keeps some and adamms all; here no two of a tensor are equal.

Random numbers cannot agree. With density 1 the random methods are compared like the others; below it, how
many entries are kept, which values these have, and (DELLA) that large ones are kept more often.
"""

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import mergekit_yamls
import pytest
import tiny
import torch
import yaml
from command import start_run
from configured import configured
from safetensors.torch import load_file
from tiny_merges import assert_within_a_unit, make

from adamms.merge.method import Method
from adamms.merge.methods.linear import Linear
from adamms.merge.methods.ram import RamInFloat32

# `make test` puts it beside the environment's own python.
PYTHON = Path(os.environ.get("MERGEKIT_PYTHON", f"{sys.prefix}/mergekit/bin/python"))
pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason=f"mergekit's interpreter is not at {PYTHON}; MERGEKIT_PYTHON gives another"
)

ALONE = {"a": 1.0}
ONE = {"a": 0.3}
TWO = {"a": 0.31, "b": 0.23}
ALIKE = {"a": 1 / 3, "b": 1 / 3}
F32, BF16 = torch.float32, torch.bfloat16


@dataclass(frozen=True)
class Case:
    """A merge in both tools.

    Args:
        ours: the method.
        theirs: mergekit's name of it.
        shares: donor -> share, which mergekit is given as `weight` of each model; the rest is the target's.
        parameters: mergekit's, besides the weights.
        selects: some entries are left out, bit for bit the same.
        weighted: mergekit's method has weights.
        seed: of mergekit's random numbers.
    """

    ours: Method
    theirs: str
    shares: Mapping[str, float] = field(default_factory=lambda: dict(TWO))
    parameters: Mapping[str, object] = field(default_factory=dict)
    selects: bool = False
    weighted: bool = True
    seed: int = 0

    @property
    def has_base(self) -> bool:
        return self.ours.needs_ancestor


CASES = {
    "linear": Case(Linear(), "linear"),
    "task_arithmetic": Case(
        configured("merge/task_arithmetic", scaling=0.7), "task_arithmetic", parameters={"lambda": 0.7}
    ),
    "slerp": Case(configured("merge/slerp"), "slerp", ONE, {"t": 0.3}, weighted=False),
    "slerp_parallel": Case(
        configured("merge/slerp", parallel=0.9995), "slerp", {"near": 0.3}, {"t": 0.3}, weighted=False
    ),
    "karcher": Case(
        configured("merge/karcher"), "karcher", ALIKE, {"max_iter": 100, "tol": 1e-12}, weighted=False
    ),
    "karcher_default": Case(
        configured("merge/karcher", steps=10, tolerance=1e-5), "karcher", ALIKE, weighted=False
    ),
    "nuslerp": Case(configured("merge/nuslerp"), "nuslerp", ONE),
    "nuslerp_task": Case(configured("merge/nuslerp_task"), "nuslerp", ONE),
    "nuslerp_rows": Case(
        configured("merge/nuslerp_task", per="row"), "nuslerp", ONE, {"nuslerp_flatten": False}
    ),
    "multislerp": Case(configured("merge/multislerp"), "multislerp"),
    "multislerp_task": Case(configured("merge/multislerp_task"), "multislerp"),
    "arcee_fusion": Case(configured("merge/arcee_fusion"), "arcee_fusion", ALONE, weighted=False),
    "model_stock": Case(configured("merge/model_stock", limit=False), "model_stock", ALIKE, weighted=False),
    "model_stock_rows": Case(
        configured("merge/model_stock", per="row", limit=False),
        "model_stock",
        ALIKE,
        {"filter_wise": True},
        weighted=False,
    ),
    "ties": Case(
        configured(
            "merge/ties", density=0.3, scaling=1.0, scope="tensor", combine="mean", election="weighted"
        ),
        "ties",
        parameters={"density": 0.3},
        selects=True,
    ),
    "ties_sum": Case(
        configured(
            "merge/ties", density=0.5, scaling=1.5, scope="tensor", combine="sum", election="weighted"
        ),
        "ties",
        parameters={"density": 0.5, "normalize": False, "lambda": 1.5},
        selects=True,
    ),
    "ties_mask": Case(
        configured(
            "merge/ties", density=0.2, scaling=1.0, scope="tensor", combine="mean", election="weighted"
        ),
        "ties",
        ALONE,
        {"density": 0.2},
        selects=True,
    ),
    "breadcrumbs": Case(
        configured("merge/breadcrumbs", density=0.5, gamma=1 / 32),
        "breadcrumbs",
        parameters={"density": 0.5, "gamma": 1 / 32},
        selects=True,
    ),
    "breadcrumbs_ties": Case(
        configured("merge/breadcrumbs", density=0.25, gamma=1 / 32, elect=True),
        "breadcrumbs_ties",
        parameters={"density": 0.25, "gamma": 1 / 32},
        selects=True,
    ),
    "breadcrumbs_mask": Case(
        configured("merge/breadcrumbs", density=0.5, gamma=1 / 32),
        "breadcrumbs",
        ALONE,
        {"density": 0.5, "gamma": 1 / 32},
        selects=True,
    ),
    "sce": Case(configured("merge/sce"), "sce", ALIKE, weighted=False),
    "sce_half": Case(
        configured("merge/sce", density=0.5), "sce", ALIKE, {"select_topk": 0.5}, weighted=False, selects=True
    ),
    "ram": Case(
        configured("merge/ram", epsilon=0.125), "ram", ALIKE, {"epsilon": 0.125}, weighted=False, selects=True
    ),
    "ram_plus": Case(
        RamInFloat32(epsilon=0.125, boost=0.3, bound=3.0, scope="tensor", scaling=1.0),
        "ramplus_tl",
        ALIKE,
        {"epsilon": 0.125, "r": 0.3, "alpha": 3.0},
        weighted=False,
        selects=True,
    ),
    "dare_linear": Case(configured("merge/dare_linear", density=1.0), "dare_linear"),
    "dare_ties": Case(
        configured("merge/dare_ties", density=1.0, scaling=1.0, election="weighted"), "dare_ties"
    ),
    "della": Case(configured("merge/della", density=1.0), "della"),
    "della_linear": Case(configured("merge/della", density=1.0, elect=False), "della_linear"),
}
# Neither tool rescales what is kept: mergekit on request, adamms by a scaling that undoes it.
KEPT = 0.6
RANDOM = {
    "random_dare_linear": Case(
        configured("merge/dare_linear", density=KEPT, scaling=KEPT),
        "dare_linear",
        ALONE,
        {"density": KEPT, "rescale": False},
    ),
    "random_dare_ties": Case(
        configured("merge/dare_ties", density=KEPT, scaling=KEPT, election="weighted"),
        "dare_ties",
        ALONE,
        {"density": KEPT, "rescale": False},
    ),
    "random_della": Case(
        configured("merge/della", density=KEPT, epsilon=0.3, rescale=False),
        "della",
        ALONE,
        {"density": KEPT, "epsilon": 0.3, "rescale": False},
    ),
}
DTYPES = {"f32": F32, "bf16": BF16}


def drawn(shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """Normal values of standard deviation 0.1, as multiples of 2**-20."""
    return (torch.randn(shape, generator=generator) * (0.1 * 2**20)).round() / 2**20


def changed(seed: int, base: tiny.State, dtype: torch.dtype = F32) -> tiny.State:
    """Values that all differ from the base's by another magnitude than the rest of their tensor does."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, ancestor in base.items():
        values = drawn(ancestor.shape, generator).to(dtype)
        while True:
            _, place, counts = (values - ancestor).abs().unique(return_inverse=True, return_counts=True)
            again = counts[place] > 1
            if not again.any():
                break
            values[again] = drawn(torch.Size([int(again.sum())]), generator).to(dtype)
        state[name] = values
    return state


def as_llava(state: tiny.State) -> tiny.State:
    return {f"language_model.{name}": tensor for name, tensor in state.items()}


@dataclass(frozen=True)
class Models:
    """Folders by name, target's by dtype: as they are, and the language models in Qwen2's names."""

    real: Mapping[str, Path]
    renamed: Mapping[str, Path]


@pytest.fixture(scope="module")
def trios(
    tmp_path_factory: pytest.TempPathFactory, qwen2_vl: Path, onevision_hub: Path, qwen2: Path
) -> Models:
    """The target in float32 and in bfloat16, donors of two other formats, the ancestor; all values fresh."""
    root = tmp_path_factory.mktemp("trios")
    shapes = load_file(qwen2 / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    ancestor = {name: drawn(t.shape, generator) for name, t in shapes.items()}
    texts = {name: changed(seed, ancestor) for seed, name in enumerate(("f32", "a", "b"))}
    texts |= {"ancestor": ancestor, "bf16": changed(3, ancestor, BF16)}
    near = {name: t + drawn(t.shape, generator) / 64 for name, t in texts["f32"].items()}
    texts["near"] = near
    real = {}
    for name, text in texts.items():
        source, state = (
            (qwen2_vl, text)
            if name in DTYPES
            else (qwen2, text)
            if name in ("ancestor", "b")
            else (onevision_hub, as_llava(text))
        )
        others = {key: t for key, t in load_file(source / "model.safetensors").items() if key not in state}
        real[name] = tiny.write_state(others | state, root / name)
        (real[name] / "config.json").write_bytes((source / "config.json").read_bytes())
    renamed = {name: tiny.write_state(text, root / f"renamed-{name}") for name, text in texts.items()}
    for folder in renamed.values():
        (folder / "config.json").write_bytes((qwen2 / "config.json").read_bytes())
    return Models(real, renamed)


def config(case: Case, target: str, models: Models) -> dict[str, object]:
    """What mergekit is given."""
    names = {target: 1 - math.fsum(case.shares.values()), **case.shares}
    weights = {n: {"parameters": {"weight": share}} if case.weighted else {} for n, share in names.items()}
    described: dict[str, object] = {
        "merge_method": case.theirs,
        "models": [
            {"model": str(models.renamed[n])} | weights[n] for n, share in names.items() if share > 1e-12
        ],
        "parameters": dict(case.parameters),
        "dtype": "float64",
        "out_dtype": {"f32": "float32", "bf16": "bfloat16"}[target],
    }
    base = "ancestor" if case.has_base else target if case.theirs in ("slerp", "arcee_fusion") else None
    return described | ({"base_model": str(models.renamed[base])} if base else {})


@pytest.fixture(scope="module")
def yamls(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """(name, dtype of the result) -> a YAML as mergekit's users write it."""
    root = tmp_path_factory.mktemp("yamls")
    folders = mergekit_yamls.yaml_models(root)
    files = {}
    for name, dtype in mergekit_yamls.CASES:
        files[name, dtype] = root / f"{name}-{dtype}.yml"
        files[name, dtype].write_text(mergekit_yamls.yaml_of(name, folders, dtype))
    return files


@pytest.fixture(scope="module")
def references(
    trios: Models, yamls: Mapping[tuple[str, str], Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], tiny.State]:
    """(case, target's dtype) -> what mergekit makes of it; one process, most of whose time is imports."""
    root = tmp_path_factory.mktemp("mergekit")
    wanted = [(name, dtype) for name in CASES for dtype in DTYPES] + [(name, "f32") for name in RANDOM]
    jobs = [
        {
            "config": config((CASES | RANDOM)[name], dtype, trios),
            "output": str(root / name / dtype),
            "seed": 7,
        }
        for name, dtype in wanted
    ]
    jobs += [
        {"config": yaml.safe_load(file.read_text()), "output": str(root / f"yaml-{name}" / dtype), "seed": 7}
        for (name, dtype), file in yamls.items()
    ]
    wanted += [(f"yaml-{name}", dtype) for name, dtype in yamls]
    (root / "jobs.json").write_text(json.dumps(jobs))
    script = Path(__file__).parents[1] / "support/run_mergekit.py"
    done = subprocess.run(
        [str(PYTHON), str(script), str(root / "jobs.json")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    return {(name, dtype): load_file(root / name / dtype / "model.safetensors") for name, dtype in wanted}


def merged(case: Case, target: str, models: Models) -> tiny.State:
    """What adamms makes of the heterogeneous models: the language model's tensors, in the target's names."""
    donors = {name: models.real[name] for name in case.shares}
    ancestor = models.real["ancestor"] if case.has_base else None
    recipe = make(case.ours, models.real[target], donors, ancestor, case.shares)
    assert {n for n in recipe.mapped if not n.startswith("visual.")} == set(recipe.mapped)
    return {name: recipe.tensor(name) for name in recipe.mapped}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_it_is_mergekits_to_one_unit_in_the_last_place(
    name: str, dtype: str, trios: Models, references: Mapping[tuple[str, str], tiny.State]
) -> None:
    expected, found = references[name, dtype], merged(CASES[name], dtype, trios)
    assert set(found) == set(expected)
    for slot, tensor in found.items():
        assert tensor.dtype == expected[slot].dtype == DTYPES[dtype]
        assert_within_a_unit(tensor, expected[slot].double().numpy())


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.selects])
def test_what_is_selected_is_the_same_bit_for_bit(
    name: str, trios: Models, references: Mapping[tuple[str, str], tiny.State]
) -> None:
    ancestor = load_file(trios.renamed["ancestor"] / "model.safetensors")
    left_out = 0
    for slot, tensor in merged(CASES[name], "f32", trios).items():
        ours, theirs = tensor != ancestor[slot], references[name, "f32"][slot] != ancestor[slot]
        tiny.assert_same_bits(ours, theirs)
        left_out += int((~ours).sum())
    assert left_out


@pytest.mark.parametrize("name", RANDOM)
def test_random_methods_keep_as_many_with_the_same_values(
    name: str, trios: Models, references: Mapping[tuple[str, str], tiny.State]
) -> None:
    """Within 5 standard deviations; what is kept is the donor's value, what is dropped the ancestor's."""
    donor, ancestor = (load_file(trios.renamed[n] / "model.safetensors") for n in ("a", "ancestor"))
    for state in (merged(RANDOM[name], "f32", trios), references[name, "f32"]):
        kept, larger = [], []
        for slot, tensor in state.items():
            stays = tensor != ancestor[slot]
            assert_within_a_unit(tensor[stays], donor[slot][stays].double().numpy())
            change = (donor[slot] - ancestor[slot]).abs()
            kept.append(stays.flatten())
            larger.append((change > change.median(dim=-1, keepdim=True).values).flatten())
        kept, larger = torch.cat(kept), torch.cat(larger)
        assert abs(kept.double().mean() - KEPT) < 5 * math.sqrt(KEPT * (1 - KEPT) / len(kept))
        rates = [float(kept[half].double().mean()) for half in (larger, ~larger)]
        # DELLA's probabilities go from 0.3 to 0.9 along a row: 0.75 and 0.45 in the halves.
        wanted = (KEPT + 0.15, KEPT - 0.15) if "della" in name else (KEPT, KEPT)
        assert rates == pytest.approx(wanted, abs=0.02)


@pytest.mark.parametrize(("name", "dtype"), mergekit_yamls.CASES)
def test_a_yaml_is_mergekits_to_one_unit_in_the_last_place(
    name: str,
    dtype: str,
    yamls: Mapping[tuple[str, str], Path],
    references: Mapping[tuple[str, str], tiny.State],
    tmp_path: Path,
) -> None:
    start_run("mode=merge", "model=custom", f"recipe={yamls[name, dtype]}", f"output={tmp_path / 'out'}")
    found = load_file(tmp_path / "out/model/model.safetensors")
    expected = references[f"yaml-{name}", dtype]
    assert set(found) == set(expected)
    for slot, tensor in found.items():
        assert tensor.dtype == expected[slot].dtype == DTYPES[dtype]
        assert_within_a_unit(tensor, expected[slot].double().numpy())
    config = json.loads((tmp_path / "out/model/config.json").read_text())
    assert config.get("dtype", config.get("torch_dtype")) == str(DTYPES[dtype]).removeprefix("torch.")
