"""A merge on a GPU: the bytes of the processor, by every elementwise method.

Most of it needs a GPU (`-m cuda`). What decides the bytes and can be looked at without one is first.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import tiny_merges as merging
import torch
from configured import configured

from adamms.checkpoint.writer import write_tensors
from adamms.errors import AdammsError
from adamms.merge.catalogue import known_methods
from adamms.merge.device import Computed, check_device
from adamms.merge.exactness import divide_
from adamms.merge.method import Method, Survey
from adamms.merge.methods.breadcrumbs import BreadcrumbsRoundedDown
from adamms.merge.methods.linear import Linear
from adamms.merge.methods.model_stock import ModelStockBounded
from adamms.merge.methods.nuslerp import NuSlerp
from adamms.merge.methods.ram import RamInFloat32
from adamms.merge.methods.sce import SceOfDonors
from adamms.merge.methods.slerp import Slerp
from adamms.merge.randomness import random_bits, random_bits_on, uniform
from adamms.merge.recipe import Recipe
from adamms.merge.sources import MAPPED_FILES, Sources

METHODS: list[Method] = [
    Linear(),
    configured("merge/task_arithmetic", scaling=0.7),
    configured("merge/metagpt"),
    configured("merge/metagpt", scope="tensor"),
    configured("merge/slerp"),
    configured("merge/karcher"),
    configured("merge/ties", density=0.3),
    configured("merge/ties", density=0.3, scope="tensor", combine="mean", election="weighted"),
    configured("merge/ties", density=1.0),
    configured("merge/dare_linear", density=0.7),
    configured("merge/dare_ties", density=0.7, scope="tensor"),
    configured("merge/dare_ties", density=0.7, election="weighted", combine="mean"),
    configured("merge/breadcrumbs", density=0.7, gamma=0.05),
    configured("merge/breadcrumbs", density=0.7, gamma=0.05, scope="row", elect=True, combine="mean"),
    BreadcrumbsRoundedDown(**vars(configured("merge/breadcrumbs", density=0.7, gamma=0.05))),
    configured("merge/della"),
    configured("merge/della", elect=False),
    configured("merge/sce", density=0.6),
    configured("merge/sce", combine="sum"),
    SceOfDonors(**vars(configured("merge/sce", density=0.6))),
    configured("merge/model_stock"),
    configured("merge/model_stock", per="row"),
    ModelStockBounded(per="row", limit=False),
    configured("merge/nuslerp"),
    configured("merge/nuslerp_task"),
    configured("merge/multislerp"),
    configured("merge/multislerp_task"),
    configured("merge/arcee_fusion"),
    configured("merge/ram"),
    configured("merge/ram", epsilon=0.1, boost=0.2),
    RamInFloat32(epsilon=0.1, boost=0.2, bound=0.5, scope="tensor", scaling=1.0),
]
MATRIX_METHODS: list[Method] = [
    configured(f"merge/{method.name}") for method in known_methods() if not method.elementwise
]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Method], Recipe]:
    """CogVLM and two Llamas of one ancestor, the second without the last layer; an odd number of models.

    Some values are negative zeros, and of some tensors all are the ancestor's.
    """
    folder = tmp_path_factory.mktemp("three")
    ancestor = tiny.llama_state(5)
    ancestor["model.norm.weight"][::2] = -0.0
    states = {"a": tiny.llama_state(4, dtype=torch.float16), "b": tiny.llama_state(6, layers=1)}
    for state in states.values():
        state["model.norm.weight"].copy_(ancestor["model.norm.weight"])
    target = tiny.cogvlm_state(3, dtype=torch.bfloat16)
    target["model.norm.weight"].copy_(ancestor["model.norm.weight"])
    own = tiny.write_model(folder / "target", target, "CogVLMForCausalLM", shards=2)
    folders = {name: tiny.write_model(folder / name, state) for name, state in states.items()}
    base = tiny.write_model(folder / "ancestor", ancestor)

    def recipe(method: Method) -> Recipe:
        donors = {"a": folders["a"]} if isinstance(method, Slerp | NuSlerp) else folders
        return merging.make(method, own, donors, base, dict(zip(donors, (0.3, 0.25), strict=False)))

    return recipe


def survey_of(method: Method) -> Survey:
    survey = method.survey()
    assert survey is not None
    return survey


def test_every_method_is_compared() -> None:
    assert {type(method) for method in METHODS} == {found for found in known_methods() if found.elementwise}


def test_a_gpu_is_in_the_fingerprint_where_it_decides_the_last_bits(
    three: Callable[[Method], Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = iter(["H100", "H200"])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: next(names))
    gpu = Sources(torch.device("cuda", 0))
    elementwise, matrix = three(Linear()), three(configured("merge/tsv"))
    assert Computed(elementwise, gpu).fingerprint == elementwise.fingerprint
    prints = {matrix.fingerprint, Computed(matrix, gpu).fingerprint, Computed(matrix, gpu).fingerprint}
    assert len(prints) == 3
    assert Computed(matrix, MAPPED_FILES).fingerprint == matrix.fingerprint


def test_a_gpu_without_memory_is_an_error_that_says_what_to_do(
    three: Callable[[Method], Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    recipe, gpu = three(configured("merge/ties")), Sources(torch.device("cuda", 0))
    monkeypatch.setattr(Sources, "rows", full)
    message = r"cuda:0 has too little memory free .*merge\.device=cpu"
    with pytest.raises(AdammsError, match=message):
        Computed(recipe, gpu).surveyed(survey_of(recipe.method))
    with pytest.raises(AdammsError, match=message):
        list(Computed(recipe, gpu).pieces("lm_head.weight"))


def test_the_writer_gets_the_recipes_pieces_and_statistics(three: Callable[[Method], Recipe]) -> None:
    recipe = three(configured("merge/ties"))
    computed = Computed(recipe, MAPPED_FILES)
    for name in recipe.slots:
        for (start, piece), (other, expected) in zip(computed.pieces(name), recipe.pieces(name), strict=True):
            assert start == other
            tiny.assert_same_bits(piece, expected)
    assert computed.surveyed(survey_of(recipe.method)) == recipe.statistics


@pytest.mark.parametrize("start", [0, 5, 8 * 10**10 + 3, 2**66 - 8])
def test_random_numbers_of_torch_operations_are_numpys(start: int) -> None:
    """A GPU computes the generator with torch's operations on whole numbers, which are exact everywhere."""
    expected = random_bits(3, "w", "a", start, 99)
    found = random_bits_on(torch.device("cpu"), 3, "w", "a", start, 99)
    assert found.tolist() == expected.tolist()


def test_quotients_by_a_number_are_rounded_once() -> None:
    values = torch.linspace(-1, 2, 1000, dtype=torch.float64)
    assert torch.equal(divide_(values.clone(), 0.7), values / 0.7)


@pytest.mark.cuda
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_the_same_bytes_on_a_gpu(three: Callable[[Method], Recipe], tmp_path: Path, method: Method) -> None:
    recipe, gpu = three(method), Sources(check_device("cuda"))
    if recipe.statistics is not None:
        assert repr(Computed(recipe, gpu).surveyed(survey_of(method))) == repr(recipe.statistics)
    (tmp_path / "there").mkdir()
    write_tensors(Computed(recipe, gpu), tmp_path / "there", 700, workers=4)
    there = {file.name: file.read_bytes() for file in sorted((tmp_path / "there").iterdir())}
    assert there == merging.written(recipe, tmp_path / "here")


@pytest.mark.cuda
@pytest.mark.parametrize("method", MATRIX_METHODS, ids=repr)
def test_matrix_methods_on_a_gpu(three: Callable[[Method], Recipe], method: Method) -> None:
    """Within one unit in the last place of the output: the decompositions differ in bits far below it."""
    recipe, gpu = three(method), Sources(check_device("cuda"))
    for name in recipe.mapped:
        expected = recipe.tensor(name).double().numpy()
        merging.assert_within_a_unit(recipe.tensor(name, gpu).cpu(), expected)


@pytest.mark.cuda
def test_random_numbers_on_a_gpu() -> None:
    like = torch.empty(100_003, dtype=torch.float64)
    there = uniform(3, "w", "a", 5, like.to(check_device("cuda")))
    tiny.assert_same_bits(there.cpu(), uniform(3, "w", "a", 5, like))
