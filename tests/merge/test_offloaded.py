"""On another device, the same bytes: every method, on one that differs wherever it may (see `away`)."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import lora
import pytest
import tiny
import tiny_merges as merging
import torch
from fake_cuda import GPU, Away, Present
from fake_tracks import ThreadTracks

from adamms.checkpoint.adapter import open_adapter
from adamms.checkpoint.reader import open_checkpoint
from adamms.checkpoint.writer import write_tensors
from adamms.errors import AdammsError
from adamms.mapping.expression import Tokens
from adamms.merge.catalogue import known_methods
from adamms.merge.device import CudaTracks, check_device
from adamms.merge.exactness import divide_, positive_
from adamms.merge.method import Method
from adamms.merge.methods.breadcrumbs import Breadcrumbs
from adamms.merge.methods.dare_linear import DareLinear
from adamms.merge.methods.dare_ties import DareTies
from adamms.merge.methods.della import Della
from adamms.merge.methods.iso_c import IsoC
from adamms.merge.methods.karcher import Karcher
from adamms.merge.methods.linear import Linear
from adamms.merge.methods.metagpt import MetaGpt
from adamms.merge.methods.model_stock import ModelStock
from adamms.merge.methods.sce import Sce
from adamms.merge.methods.slerp import Slerp
from adamms.merge.methods.task_arithmetic import TaskArithmetic
from adamms.merge.methods.ties import Ties
from adamms.merge.methods.tsv import Tsv
from adamms.merge.methods.wudi import Wudi
from adamms.merge.offloaded import Offloaded
from adamms.merge.randomness import kept, uniform
from adamms.merge.recipe import Recipe

METHODS: list[Method] = [
    *(Linear(), TaskArithmetic(0.7), MetaGpt(), MetaGpt(scope="tensor"), Slerp(), Karcher()),
    *(Ties(density=0.3), Ties(density=0.3, scope="tensor", combine="mean", election="weighted"), Ties(1.0)),
    *(DareLinear(0.7), DareTies(0.7, scope="tensor"), DareTies(0.7, election="weighted", combine="mean")),
    *(Breadcrumbs(0.7, 0.05), Breadcrumbs(0.7, 0.05, scope="row", elect=True, combine="mean")),
    *(Della(), Della(elect=False), Sce(density=0.6), Sce(combine="sum"), ModelStock(), ModelStock("row")),
]


@pytest.fixture
def made() -> Iterator[list[ThreadTracks]]:
    """The tracks made in a test."""
    tracks: list[ThreadTracks] = []
    yield tracks
    for track in tracks:
        track.__exit__(None, None, None)


def elsewhere(
    recipe: Recipe, made: list[ThreadTracks], chunk: int = 24, device: torch.device = GPU
) -> Offloaded:
    def tracks() -> ThreadTracks:
        made.append(ThreadTracks(device, pause=0.0002, seed=len(made)))
        return made[-1]

    return Offloaded(recipe, tracks, "a device of no metal", chunk)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Recipe]:
    """CogVLM and two Llamas, the second without the last layer, from one ancestor; an odd number of shares.

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
        donors = {"a": folders["a"]} if isinstance(method, Slerp) else folders
        return merging.make(method, own, donors, base, dict(zip(donors, (0.3, 0.25), strict=False)))

    return recipe


def test_these_are_all_elementwise_methods() -> None:
    assert {type(method) for method in METHODS} == {found for found in known_methods() if found.elementwise}


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_the_same_bytes(
    three: Callable[..., Recipe], made: list[ThreadTracks], tmp_path: Path, method: Method
) -> None:
    recipe = three(method)
    chunk = 1200 if hasattr(method, "seed") else 60  # the generator is hundreds of operations
    device = elsewhere(recipe, made, chunk)
    surveyed = elsewhere(replace(recipe, statistics=None), made, chunk).measured()
    assert repr(surveyed.statistics) == repr(recipe.statistics)
    (tmp_path / "there").mkdir()
    write_tensors(device, tmp_path / "there", 700, workers=2)
    there = {file.name: file.read_bytes() for file in sorted((tmp_path / "there").iterdir())}
    assert there == merging.written(recipe, tmp_path / "here")
    assert sum(len(tracks.jobs) for tracks in made) > 60  # it did take place there
    assert device.fingerprint == recipe.fingerprint


def test_what_mappings_adapters_and_whole_tensors_need(tmp_path: Path, made: list[ThreadTracks]) -> None:
    """An adapted target, rows aligned by token of which some stay the target's, and a scalar."""
    base = tiny.write_model(tmp_path / "base", tiny.llama_state(1))
    adapter = lora.write_adapter(
        tmp_path / "adapter",
        {
            f"base_model.model.lm_head.lora_{part}.weight": tensor
            for part, tensor in {"A": torch.ones(2, 6), "B": torch.ones(7, 2)}.items()
        },
        r=2,
        lora_alpha=2,
    )
    donor = tiny.write_model(tmp_path / "donor", tiny.llama_state(2))
    target = open_adapter(open_checkpoint(base), adapter)
    recipe = replace(merging.make(Linear(), base, {"a": donor}, None, 0.4), target=target)
    slots = tuple(
        replace(slot, donors={"a": Tokens(slot.donors["a"], (3, -1, 1, -1, -1, 6, 0))})
        if slot.name == "model.embed_tokens.weight"
        else slot
        for slot in recipe.plan.slots
    )
    recipe = replace(recipe, plan=replace(recipe.plan, slots=slots))
    device = elsewhere(recipe, made, 12)
    for name in recipe.slots:
        for _ in range(2):  # the conveyor is there already
            found = torch.cat([piece.clone() for _, piece in device.pieces(name)])
            tiny.assert_same_bits(found, recipe.tensor(name).reshape(-1))
    own = recipe.target.read("model.embed_tokens.weight")
    assert torch.equal(recipe.tensor("model.embed_tokens.weight")[[1, 3, 4]], own[[1, 3, 4]])


def test_values_that_the_dtype_cannot_hold(tmp_path: Path, made: list[ThreadTracks]) -> None:
    state = tiny.llama_state(1, dtype=torch.float16)
    target = tiny.write_model(tmp_path / "target", state)
    ancestor = tiny.write_model(tmp_path / "ancestor", {name: -tensor for name, tensor in state.items()})
    method = TaskArithmetic(1e6)
    recipe = merging.make(method, target, {"a": target}, ancestor)
    message = "merging lm_head.weight made values that torch.float16 cannot hold"
    for source in (recipe, elsewhere(recipe, made)):
        with pytest.raises(AdammsError, match=message):
            list(source.pieces("lm_head.weight"))
    assert not any(tracks.busy for tracks in made)


def test_matrix_methods_have_the_device_in_their_fingerprint(
    three: Callable[..., Recipe], made: list[ThreadTracks]
) -> None:
    """They cannot run on this device of no metal; on the tracks of the processor they do."""
    recipe = three(Tsv())
    assert elsewhere(recipe, made).fingerprint != recipe.fingerprint
    device = elsewhere(recipe, made, device=torch.device("cpu"))
    for name in recipe.mapped[:4]:
        found = torch.cat([piece.clone() for _, piece in device.pieces(name)])
        tiny.assert_same_bits(found, recipe.tensor(name).reshape(-1))


@pytest.mark.parametrize("start", [0, 5, 8 * 10**10 + 3, 2**66 - 8])
def test_random_numbers_on_a_device_are_those_of_the_processor(start: int) -> None:
    like = torch.empty(9, 11, dtype=torch.float64)
    with Present():
        there = uniform(3, "w", "a", start, Away(like))
        stays = kept(0.3, 3, "w", "a", start, Away(like))
    tiny.assert_same_bits(there.cpu(), uniform(3, "w", "a", start, like))
    tiny.assert_same_bits(stays.cpu(), kept(0.3, 3, "w", "a", start, like))
    assert isinstance(there, Away)


def test_the_device_of_no_metal_differs_where_it_may() -> None:
    """Or the tests here would say less than they seem to."""
    values = torch.linspace(-1, 2, 1000, dtype=torch.float64)
    for operation in (lambda tensor: tensor / 0.7, lambda tensor: tensor.sum()[None]):
        assert not torch.equal(operation(Away(values)).cpu(), operation(values))
    with pytest.raises(AssertionError, match="not the same on every device"):
        Away(values).add(Away(values), alpha=0.1)
    with pytest.raises(AssertionError, match="not the same on every device"):
        Away(values).exp()
    with pytest.raises(AssertionError, match="tensors of the processor and of the device"):
        Away(values) + values
    quotients = divide_(values.clone(), 0.7)
    assert torch.equal(divide_(Away(values.clone()), 0.7).cpu(), quotients)
    assert torch.equal(quotients, values / 0.7)
    odd = torch.tensor([-0.0, 0.0, -1.0, 1.0, float("inf"), -float("inf"), float("nan")]).double()
    tiny.assert_same_bits(positive_(Away(odd.clone())).cpu(), positive_(odd.clone()))


@pytest.mark.cuda
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_the_same_bytes_on_a_gpu(three: Callable[..., Recipe], tmp_path: Path, method: Method) -> None:
    recipe, gpu = three(method), check_device("cuda")
    device = Offloaded(recipe, lambda: CudaTracks(gpu), "gpu", 240)
    surveyed = Offloaded(replace(recipe, statistics=None), lambda: CudaTracks(gpu), "gpu", 240).measured()
    assert repr(surveyed.statistics) == repr(recipe.statistics)
    (tmp_path / "there").mkdir()
    write_tensors(device, tmp_path / "there", 700, workers=4)
    there = {file.name: file.read_bytes() for file in sorted((tmp_path / "there").iterdir())}
    assert there == merging.written(recipe, tmp_path / "here")


@pytest.mark.cuda
@pytest.mark.parametrize("method", [Tsv(), IsoC(), Wudi()], ids=repr)
def test_matrix_methods_on_a_gpu(three: Callable[..., Recipe], method: Method) -> None:
    """Within one unit in the last place of the output: the decompositions differ in bits far below it."""
    recipe, gpu = three(method), check_device("cuda")
    device = Offloaded(recipe, lambda: CudaTracks(gpu), "gpu")
    for name in recipe.mapped:
        found = torch.cat([piece.clone() for _, piece in device.pieces(name)])
        merging.assert_within_a_unit(found, recipe.tensor(name).reshape(-1).double().numpy())


@pytest.mark.cuda
def test_random_numbers_on_a_gpu() -> None:
    like = torch.empty(100_003, dtype=torch.float64)
    there = uniform(3, "w", "a", 5, like.to(check_device("cuda")))
    tiny.assert_same_bits(there.cpu(), uniform(3, "w", "a", 5, like))
