"""Merged tensors against float64 arithmetic that is written out here, and what a recipe promises.

Expected values: NumPy float64, (1 - sum of alphas) * target + sum of alpha * f(donor), then one
conversion. float32 is IEEE rounding of the float64 value. For 16-bit targets the conversion is torch's
own; it goes through float32, so that it may miss the nearest value in the rare case that the float32
lies exactly between two 16-bit values. Hence a second check against the nearest value, computed from
bits: at most the neighbour, and only where the float64 value lies within one float32 rounding
(2**-24, relative) of the point halfway between the two.
"""

import json
import pickle
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from mappers import spec_mapper
from tiny import assert_same_bits

from adamms.architectures.recognise import recognise
from adamms.checkpoint.reader import Checkpoint, open_checkpoint
from adamms.checkpoint.writer import write_tensors
from adamms.errors import AdammsError
from adamms.mapping.specs.model import describe
from adamms.mapping.specs.resolve import SpecMapper
from adamms.merge import stream
from adamms.merge.method import Chunk
from adamms.merge.methods.linear import Linear
from adamms.merge.recipe import Recipe
from adamms.merge.sources import MAPPED_FILES, Sources

Array = npt.NDArray[np.float64]
Values = Mapping[str, Array]

EMBED, HEAD, NORM = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"
F16, BF16, F32 = torch.float16, torch.bfloat16, torch.float32


def make(
    target: Path,
    donors: Mapping[str, Path],
    alpha: float | Mapping[str, float] = 0.3,
    mapper: SpecMapper | None = None,
    ancestor: Path | None = None,
    method: object = None,
) -> Recipe:
    """The recipe of these folders, whose formats config.json tells."""

    def described(folder: Path) -> object:
        checkpoint = open_checkpoint(folder)
        return describe(checkpoint, recognise(checkpoint.config, folder))

    base = None if ancestor is None else described(ancestor)
    plan = (mapper or spec_mapper()).plan(
        described(target), {name: described(folder) for name, folder in donors.items()}, base
    )
    shares = alpha if isinstance(alpha, Mapping) else dict.fromkeys(donors, alpha / len(donors))
    checkpoints: dict[str, Checkpoint] = {name: open_checkpoint(folder) for name, folder in donors.items()}
    return Recipe(
        open_checkpoint(target),
        checkpoints,
        plan,
        method or Linear(),  # type: ignore[arg-type]
        shares,
        None if ancestor is None else open_checkpoint(ancestor),
    )


def exact(state: tiny.State) -> dict[str, Array]:
    return {name: tensor.double().numpy() for name, tensor in state.items()}


def interpolated(target: Array, *donors: tuple[float, Array]) -> Array:
    merged = (1 - sum(alpha for alpha, _ in donors)) * target
    for alpha, donor in donors:
        merged = merged + alpha * donor
    return merged


def rounded(value: Array, dtype: torch.dtype) -> torch.Tensor:
    return torch.from_numpy(np.asarray(value, dtype=np.float64)).to(dtype)


def nearest_16_bit(value: float, dtype: torch.dtype) -> tuple[float, float]:
    """The 16-bit value nearest to `value` (ties to even), and how far `value` is from a tie, relatively."""
    precision, least = (8, -133) if dtype == BF16 else (11, -24)
    exact_value = Fraction(value)
    if not exact_value:
        return 0.0, 1.0
    exponent = max(np.frexp(value)[1] - precision, least)
    quantum = Fraction(2) ** int(exponent)
    steps = exact_value / quantum
    return float(round(steps) * quantum), float(abs(abs(steps - int(steps)) - Fraction(1, 2)) / abs(steps))


def assert_rounded_once(found: torch.Tensor, value: Array) -> None:
    """`found` is the float64 `value` converted once; see the module's docstring."""
    assert_same_bits(found, rounded(value, found.dtype))
    if found.dtype == F32:
        np.testing.assert_array_equal(found.numpy(), value.astype(np.float32))
        return
    for got, wanted in zip(found.double().flatten().tolist(), value.flatten().tolist(), strict=True):
        nearest, from_tie = nearest_16_bit(wanted, found.dtype)
        if got != nearest:
            assert from_tie <= 2**-24


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("donor_dtype", [F16, BF16, F32], ids=["f16", "bf16", "f32"])
@pytest.mark.parametrize("target_dtype", [F16, BF16, F32], ids=["f16", "bf16", "f32"])
def test_every_mix_of_dtypes_is_float64_arithmetic_rounded_once(
    target_dtype: torch.dtype, donor_dtype: torch.dtype, tmp_path: Path
) -> None:
    ours, theirs = tiny.llama_state(1, dtype=target_dtype), tiny.llama_state(2, dtype=donor_dtype)
    folders = [tiny.write_model(tmp_path / name, s) for name, s in (("target", ours), ("donor", theirs))]
    for alpha in (0.1, 0.3, 0.5, 0.9):
        recipe = make(folders[0], {"a": folders[1]}, alpha)
        target, donor = exact(ours), exact(theirs)
        for name, tensor in recipe.tensors():
            assert tensor.dtype == target_dtype
            assert_rounded_once(tensor, interpolated(target[name], (alpha, donor[name])))


@given(
    st.sampled_from([F16, BF16]),
    st.lists(st.floats(-1000, 1000, width=16), min_size=1, max_size=30),
    st.lists(st.floats(-1000, 1000, width=16), min_size=30, max_size=30),
    st.floats(0.001, 1 - 1e-11) | st.just(1.0),  # between them a rest is rounding
)
def test_linear_of_any_values_is_rounded_once(
    dtype: torch.dtype, target: list[float], donor: list[float], alpha: float
) -> None:
    a, b = (torch.tensor(values[: len(target)], dtype=dtype) for values in (target, donor))
    chunk = Chunk("w", tuple(a.shape), 0, a.double(), {"a": b.double()}, None, {"a": alpha})
    merged = Linear().merge(chunk)
    np.testing.assert_array_equal(
        merged.numpy(), interpolated(a.double().numpy(), (alpha, b.double().numpy()))
    )
    assert_rounded_once(merged.to(dtype), interpolated(a.double().numpy(), (alpha, b.double().numpy())))


def cogvlm_pair(tmp_path: Path, dtype: torch.dtype = BF16) -> tuple[Path, Path, Values, Values]:
    fused, plain = tiny.cogvlm_state(3, dtype=dtype), tiny.llama_state(4, dtype=F16)
    return (
        tiny.write_model(tmp_path / "cogvlm", fused, "CogVLMForCausalLM"),
        tiny.write_model(tmp_path / "llama", plain, torch_zip=True, shards=2),
        exact(fused),
        exact(plain),
    )


def test_fused_targets_take_concatenations(tmp_path: Path) -> None:
    fused, plain, target, donor = cogvlm_pair(tmp_path)
    merged = dict(make(fused, {"a": plain}, 0.3).tensors())
    for i in (0, 1):
        layer = f"model.layers.{i}."
        qkv = np.concatenate([donor[f"{layer}self_attn.{p}_proj.weight"] for p in "qkv"])
        for expert in ("language", "vision"):
            name = f"{layer}self_attn.{expert}_expert_query_key_value.weight"
            assert_rounded_once(merged[name], interpolated(target[name], (0.3, qkv)))
            name = f"{layer}mlp.{expert}_mlp.down_proj.weight"
            down = donor[f"{layer}mlp.down_proj.weight"]
            assert_rounded_once(merged[name], interpolated(target[name], (0.3, down)))
    vision = "model.vision.patch_embedding.proj.weight"
    assert_same_bits(merged[vision], open_checkpoint(fused).read(vision))


@pytest.mark.parametrize("prefer", ["text", "image", "mean"])
def test_fused_donors_are_sliced_and_averaged(prefer: str, tmp_path: Path) -> None:
    fused, plain, donor, target = cogvlm_pair(tmp_path)
    merged = dict(make(plain, {"a": fused}, 0.3, spec_mapper(prefer=prefer)).tensors())

    def chosen(name: str, rows: slice) -> Array:
        text, image = (donor[name.format(e=e)][rows] for e in ("language", "vision"))
        return {"text": text, "image": image, "mean": (text + image) / 2}[prefer]

    for i in (0, 1):
        attention = f"model.layers.{i}.self_attn."
        for index, p in enumerate("qkv"):
            name = f"{attention}{p}_proj.weight"
            value = chosen(attention + "{e}_expert_query_key_value.weight", slice(6 * index, 6 * index + 6))
            assert_rounded_once(merged[name], interpolated(target[name], (0.3, value)))
        name = f"model.layers.{i}.mlp.up_proj.weight"
        value = chosen(f"model.layers.{i}.mlp." + "{e}_mlp.up_proj.weight", slice(None))
        assert_rounded_once(merged[name], interpolated(target[name], (0.3, value)))


def test_tokens_keep_the_targets_row_where_the_donor_has_none(tmp_path: Path) -> None:
    ours, theirs = tiny.llama_state(1, dtype=BF16), tiny.llama_state(2, vocabulary=9, dtype=BF16)
    target = tiny.write_model(tmp_path / "target", ours)
    donor = tiny.write_model(tmp_path / "donor", theirs)
    words = ["[UNK]", "a", "b", "c", "d"]
    tiny.write_tokenizer(target, [*words, "mine"])  # and one padding row
    tiny.write_tokenizer(donor, ["[UNK]", "x", *words[:0:-1], "y"])
    recipe = make(target, {"a": donor}, 0.3)
    donor_row = {0: 0, 1: 5, 2: 4, 3: 3, 4: 2}
    for name in (EMBED, HEAD):
        merged = recipe.tensor(name)
        mine, other = exact(ours)[name], exact(theirs)[name]
        for row in range(7):
            if row in donor_row:
                assert_rounded_once(merged[row], interpolated(mine[row], (0.3, other[donor_row[row]])))
            else:
                assert_same_bits(merged[row], ours[name][row])


def test_several_donors_each_with_its_share(tmp_path: Path) -> None:
    states = {
        name: tiny.llama_state(seed, dtype=dtype)
        for seed, (name, dtype) in enumerate([("target", BF16), ("a", F16), ("b", F32), ("c", BF16)])
    }
    folders = {name: tiny.write_model(tmp_path / name, state) for name, state in states.items()}
    shares = {"a": 0.2, "b": 0.3, "c": 0.1}
    recipe = make(folders.pop("target"), folders, shares)
    values = {name: exact(state) for name, state in states.items()}
    for name, tensor in recipe.tensors():
        parts = [(share, values[donor][name]) for donor, share in shares.items()]
        # Four products summed in order; a sum in another order may round differently in float64.
        np.testing.assert_array_equal(
            tensor.double().numpy(),
            rounded(interpolated(values["target"][name], *parts), BF16).double().numpy(),
        )


def test_a_donor_that_lacks_a_tensor_leaves_its_share_to_the_target(tmp_path: Path) -> None:
    states = {
        "target": tiny.llama_state(0, layers=2),
        "deep": tiny.llama_state(1, layers=2),
        "flat": tiny.llama_state(2, layers=1),
    }
    folders = {name: tiny.write_model(tmp_path / name, state) for name, state in states.items()}
    recipe = make(folders.pop("target"), folders, {"deep": 0.2, "flat": 0.5})
    values = {name: exact(state) for name, state in states.items()}
    name = "model.layers.1.mlp.up_proj.weight"
    expected = interpolated(values["target"][name], (0.2, values["deep"][name]))
    assert_rounded_once(recipe.tensor(name), expected)


def test_tied_heads_take_the_donors_embeddings(tmp_path: Path) -> None:
    ours, theirs = tiny.llama_state(1), tiny.llama_state(2, head=False)
    recipe = make(
        tiny.write_model(tmp_path / "a", ours), {"a": tiny.write_model(tmp_path / "b", theirs)}, 0.25
    )
    expected = interpolated(exact(ours)[HEAD], (0.25, exact(theirs)[EMBED]))
    assert_rounded_once(recipe.tensor(HEAD), expected)


@pytest.mark.parametrize("donor", ["onevision_fresh", "onevision_hub", "onevision_original"])
def test_real_checkpoints_of_different_architectures(
    donor: str, qwen2_vl: Path, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(donor)
    recipe = make(qwen2_vl, {"a": folder}, 0.4)
    prefix = "" if donor == "onevision_original" else "language_model."
    theirs = open_checkpoint(folder)
    for name, tensor in recipe.tensors():
        own = recipe.target.read(name)
        if name.startswith("visual."):
            assert_same_bits(tensor, own)
        else:
            value = interpolated(own.double().numpy(), (0.4, theirs.read(prefix + name).double().numpy()))
            assert_same_bits(tensor, rounded(value, BF16))
            assert not torch.equal(tensor, own)


# ---------------------------------------------------------------- the ends


def with_oddities(state: tiny.State) -> tiny.State:
    """-0.0, subnormals, infinities and NaNs with payloads, in a vector and in a matrix."""
    bits = torch.tensor([0x8000, 0x0001, 0x7F80, 0xFF80, 0x7FC1, 0xFFA5], dtype=torch.int32).to(torch.int16)
    state = {name: tensor.clone() for name, tensor in state.items()}
    state[NORM] = bits.view(BF16)
    state[HEAD][2] = bits.view(BF16)
    return state


def test_alpha_0_gives_the_targets_bytes(tmp_path: Path) -> None:
    ours = with_oddities(tiny.llama_state(1, dtype=BF16))
    target = tiny.write_model(tmp_path / "target", ours)
    donor = tiny.write_model(tmp_path / "donor", tiny.llama_state(2, dtype=F32))
    recipe = make(target, {"a": donor}, 0.0)
    for name, tensor in recipe.tensors():
        assert_same_bits(tensor, ours[name])
    (tmp_path / "out").mkdir()
    write_tensors(recipe, tmp_path / "out", 10**9)
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (
        target / "model.safetensors"
    ).read_bytes()


@pytest.mark.parametrize("donor_dtype", [F16, BF16, F32], ids=["f16", "bf16", "f32"])
def test_alpha_1_gives_the_donors_values_in_the_targets_dtype(
    donor_dtype: torch.dtype, tmp_path: Path
) -> None:
    theirs = tiny.llama_state(2, dtype=donor_dtype)
    target = tiny.write_model(tmp_path / "target", tiny.llama_state(1, dtype=BF16))
    recipe = make(target, {"a": tiny.write_model(tmp_path / "donor", theirs)}, 1.0)
    for name, tensor in recipe.tensors():
        assert_same_bits(tensor, theirs[name].double().to(BF16))


def test_a_donor_of_share_0_among_others_adds_nothing(tmp_path: Path) -> None:
    folders = {n: tiny.write_model(tmp_path / n, tiny.llama_state(i)) for i, n in enumerate(("t", "a", "b"))}
    both = make(folders["t"], {"a": folders["a"], "b": folders["b"]}, {"a": 0.3, "b": 0.0})
    alone = make(folders["t"], {"a": folders["a"]}, 0.3)
    for (name, tensor), (other, expected) in zip(both.tensors(), alone.tensors(), strict=True):
        assert name == other
        assert_same_bits(tensor, expected)


# ---------------------------------------------------------------- the same bytes, however computed


def written(recipe: Recipe, folder: Path, workers: int = 2) -> dict[str, bytes]:
    folder.mkdir()
    write_tensors(recipe, folder, 700, workers)
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Recipe]:
    """A merge with fused, averaged and token-aligned operands, its inputs sharded as asked."""
    root = tmp_path_factory.mktemp("ways")
    words = ["[UNK]", "a", "b", "c", "d", "e", "f"]

    def make_one(shards: int, torch_zip: bool) -> Recipe:
        folder = root / f"{shards}{torch_zip}"
        kind = {"shards": shards, "torch_zip": torch_zip}
        fused = tiny.write_model(folder / "a", tiny.cogvlm_state(3, dtype=F16), "CogVLMForCausalLM", **kind)
        target = tiny.write_model(folder / "t", tiny.llama_state(4, dtype=BF16), **kind)
        tiny.write_tokenizer(target, words)
        tiny.write_tokenizer(fused, words[::-1])
        return make(target, {"a": fused}, 0.3, spec_mapper(prefer="mean"))

    return make_one


def test_chunk_size_does_not_matter(
    ways: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = ways(1, False)
    results = []
    for chunk in (1, 6, 7, 13, 1 << 17):
        monkeypatch.setattr(stream, "CHUNK_ELEMENTS", chunk)
        monkeypatch.setattr(stream, "KEPT_PIECE_ELEMENTS", chunk)
        results.append(written(recipe, tmp_path / str(chunk)))
    assert all(result == results[0] for result in results)


def test_a_float64_target_does_not_depend_on_chunks_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tightest case: float64 targets show every bit of the arithmetic."""
    states = [tiny.llama_state(i, dtype=torch.float64, hidden=17, feed_forward=23) for i in (1, 2)]
    folders = [tiny.write_model(tmp_path / str(i), state) for i, state in enumerate(states)]
    recipe = make(folders[0], {"a": folders[1]}, 0.3)
    results = []
    for chunk in (1, 17, 40, 170, 1 << 17):
        monkeypatch.setattr(stream, "CHUNK_ELEMENTS", chunk)
        results.append(written(recipe, tmp_path / f"out{chunk}"))
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize(("shards", "torch_zip"), [(3, False), (1, True), (4, True)])
def test_the_inputs_shards_and_format_do_not_matter(
    shards: int, torch_zip: bool, ways: Callable[..., Recipe], tmp_path: Path
) -> None:
    reference, other = ways(1, False), ways(shards, torch_zip)
    assert written(other, tmp_path / "other") == written(reference, tmp_path / "reference")
    assert other.fingerprint == reference.fingerprint


def test_the_number_of_workers_does_not_matter(ways: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe = ways(1, False)
    results = [written(recipe, tmp_path / str(workers), workers) for workers in (1, 2, 4)]
    assert results[0] == results[1] == results[2]
    assert len(results[0]) > 2
    streams = [list(recipe.tensors(workers=workers)) for workers in (1, 4)]
    for (name, tensor), (other, expected) in zip(*streams, strict=True):
        assert name == other
        assert_same_bits(tensor, expected)


def test_pieces_are_the_tensor_in_parts(ways: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = ways(1, False)
    whole = dict(recipe.tensors())
    monkeypatch.setattr(stream, "CHUNK_ELEMENTS", 12)
    for entry in recipe.layout():
        parts = torch.full((entry.elements,), float("nan"), dtype=BF16)
        for start, piece in recipe.pieces(entry.name):
            assert piece.dim() == 1
            assert piece.is_contiguous()
            assert piece.dtype == BF16
            parts[start : start + len(piece)] = piece
        assert_same_bits(parts.view(entry.shape), whole[entry.name])


# ---------------------------------------------------------------- the stream


class Watched(Recipe):
    """Counts which tensors have been computed."""

    log: ClassVar[list[str]]

    def tensor(self, name: str, sources: Sources = MAPPED_FILES) -> torch.Tensor:
        self.log.append(name)
        return super().tensor(name, sources)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_stream_is_lazy_and_looks_a_bounded_number_of_tensors_ahead(workers: int, tmp_path: Path) -> None:
    target = tiny.write_model(tmp_path / "t", tiny.llama_state(1, layers=6))
    plain = make(target, {"a": target}, 0.5)
    Watched.log = log = []
    recipe = Watched(plain.target, plain.donors, plain.plan, plain.method, plain.coefficients)
    stream = recipe.tensors(workers=workers)
    assert log == []
    names = []
    for count, (name, _) in enumerate(stream, start=1):
        names.append(name)
        assert len(log) <= count + workers + 1
        if count == 3:
            break
    stream.close()
    assert names == list(plain.target.tensors)[:3]
    assert len(log) <= 3 + workers + 1 < len(plain.target.tensors)


def test_the_stream_has_the_targets_names_in_order(qwen2_vl: Path, onevision_hub: Path) -> None:
    recipe = make(qwen2_vl, {"a": onevision_hub})
    names = list(open_checkpoint(qwen2_vl).tensors)
    assert [name for name, _ in recipe.tensors()] == [entry.name for entry in recipe.layout()] == names
    mapped = [name for name, _ in recipe.tensors(only_mapped=True)]
    assert mapped == [name for name in names if not name.startswith("visual.")]


def test_only_mapped_names_are_the_same_at_alpha_0(qwen2_vl: Path, onevision_hub: Path) -> None:
    """A live model that held another alpha must get all of them back."""
    mapped = [
        [n for n, _ in make(qwen2_vl, {"a": onevision_hub}, a).tensors(only_mapped=True)] for a in (0, 0.5)
    ]
    assert mapped[0] == mapped[1]


def test_threads_of_torch_are_given_back(ways: Callable[..., Recipe]) -> None:
    before = torch.get_num_threads()
    for _ in ways(1, False).tensors(workers=2):
        pass
    assert torch.get_num_threads() == before


# ---------------------------------------------------------------- values that cannot be held


@pytest.mark.parametrize("chunk", [1, 1 << 17])
def test_an_overflow_is_an_error_that_names_the_tensor(
    chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CHUNK_ELEMENTS", chunk)
    theirs = tiny.llama_state(2, dtype=F32)
    name = "model.layers.1.mlp.up_proj.weight"
    theirs[name][3, 4] = 1e6  # float16 ends at 65504
    target = tiny.write_model(tmp_path / "t", tiny.llama_state(1, dtype=F16))
    recipe = make(target, {"a": tiny.write_model(tmp_path / "d", theirs)}, 0.5)
    message = rf"merging {name.replace('.', '[.]')} made values that torch\.float16 cannot hold"
    with pytest.raises(AdammsError, match=message):
        recipe.tensor(name)
    with pytest.raises(AdammsError, match=message):
        list(recipe.tensors())
    (tmp_path / "out").mkdir()
    with pytest.raises(AdammsError, match=message):
        write_tensors(recipe, tmp_path / "out", 10**9)
    recipe.tensor(NORM)


@pytest.mark.parametrize("chunk", [1, 1 << 17])
def test_an_overflow_beside_a_nan_of_the_input_is_still_an_error(
    chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CHUNK_ELEMENTS", chunk)
    theirs = tiny.llama_state(2, dtype=F32)
    theirs[HEAD][0, 0], theirs[HEAD][3, 4] = float("nan"), 1e6
    target = tiny.write_model(tmp_path / "t", tiny.llama_state(1, dtype=F16))
    recipe = make(target, {"a": tiny.write_model(tmp_path / "d", theirs)}, 0.5)
    with pytest.raises(AdammsError, match=r"merging lm_head\.weight"):
        recipe.tensor(HEAD)


def test_nan_and_infinity_of_an_input_pass(tmp_path: Path) -> None:
    ours, theirs = tiny.llama_state(1, dtype=BF16), tiny.llama_state(2, dtype=BF16)
    ours[HEAD][0, 0], theirs[HEAD][1, 1], theirs[HEAD][2, 2] = float("nan"), float("inf"), float("nan")
    folders = [tiny.write_model(tmp_path / n, s) for n, s in (("t", ours), ("d", theirs))]
    merged = make(folders[0], {"a": folders[1]}, 0.5).tensor(HEAD)
    assert merged[0, 0].isnan()
    assert merged[1, 1] == float("inf")
    assert merged[2, 2].isnan()
    assert int(merged.isfinite().logical_not().sum()) == 3


# ---------------------------------------------------------------- pickling, fingerprint


def test_a_recipe_pickles_small_and_gives_the_same_tensors(
    qwen2_vl: Path, onevision_hub: Path, qwen2: Path
) -> None:
    recipe = make(qwen2_vl, {"a": onevision_hub}, 0.3, ancestor=qwen2)
    assert recipe.fingerprint  # what is remembered of the content travels along
    raw = pickle.dumps(recipe)
    weights = sum(entry.nbytes for entry in recipe.layout())
    assert len(raw) < min(300_000, weights)
    again = pickle.loads(raw)
    assert again.fingerprint == recipe.fingerprint
    for (name, tensor), (other, expected) in zip(again.tensors(), recipe.tensors(), strict=True):
        assert name == other
        assert_same_bits(tensor, expected)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    return {
        name: tiny.write_model(tmp_path / name, tiny.llama_state(seed, dtype=BF16))
        for seed, name in enumerate(("target", "donor", "ancestor"))
    }


def test_the_fingerprint_is_of_content_not_of_folders_or_shards(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    elsewhere = {
        name: tiny.write_model(
            tmp_path / "elsewhere" / name, tiny.llama_state(seed, dtype=BF16), shards=3, torch_zip=True
        )
        for seed, name in enumerate(("target", "donor", "ancestor"))
    }
    prints = [
        make(f["target"], {"a": f["donor"]}, ancestor=f["ancestor"]).fingerprint for f in (folders, elsewhere)
    ]
    assert prints[0] == prints[1]


def test_everything_that_decides_the_values_is_in_the_fingerprint(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    target, donor = folders["target"], {"a": folders["donor"]}
    changed = tiny.llama_state(1, dtype=BF16)
    changed["model.layers.1.mlp.down_proj.weight"][2, 3] += 1
    other_donor = {"a": tiny.write_model(tmp_path / "changed", changed)}
    other_target = tiny.write_model(tmp_path / "other", tiny.llama_state(5, dtype=BF16))
    recipes = {
        "plain": make(target, donor),
        "alpha": make(target, donor, 0.30000000000000004),
        "one weight": make(target, other_donor),
        "target": make(other_target, donor),
        "plan": make(target, donor, mapper=spec_mapper(exclude=("norm",))),
        "ancestor": make(target, donor, ancestor=folders["ancestor"]),
        "donor's name": make(target, {"b": folders["donor"]}),
        "swapped": make(folders["donor"], {"a": target}),
    }
    prints = {name: recipe.fingerprint for name, recipe in recipes.items()}
    assert len(set(prints.values())) == len(prints), prints
    assert make(target, donor).fingerprint == prints["plain"]


def test_a_method_whose_values_have_changed_has_another_fingerprint(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = make(folders["target"], {"a": folders["donor"]}).fingerprint
    monkeypatch.setattr(Linear, "since", "9.9.9")
    assert make(folders["target"], {"a": folders["donor"]}).fingerprint != before


@pytest.mark.parametrize("whose", ["donor", "ancestor"])
def test_another_alignment_of_tokens_is_another_fingerprint(whose: str, folders: dict[str, Path]) -> None:
    words = ["[UNK]", "a", "b", "c", "d", "e", "f"]
    prints = []
    for mine in (words[:1] + words[:0:-1], [*words[:1], "b", "a", *words[3:]]):
        for name, folder in folders.items():
            tiny.write_tokenizer(folder, mine if name == whose else words)
        recipe = make(folders["target"], {"a": folders["donor"]}, ancestor=folders["ancestor"])
        assert json.dumps(recipe.plan.to_json())  # the same in both
        prints.append(recipe.fingerprint)
    assert prints[0] != prints[1]


# ---------------------------------------------------------------- methods


class NeedsAncestor(Linear):
    name = "needs_ancestor"
    needs_ancestor = True

    def merge(self, chunk: Chunk) -> torch.Tensor:
        base = chunk.base()
        return base + sum(chunk.coefficients[n] * (chunk.donors[n] - base) for n in chunk.donors)


def test_a_method_gets_the_ancestor_of_the_slot(folders: dict[str, Path]) -> None:
    recipe = make(
        folders["target"], {"a": folders["donor"]}, 0.5, ancestor=folders["ancestor"], method=NeedsAncestor()
    )
    donor, ancestor = (open_checkpoint(folders[name]) for name in ("donor", "ancestor"))
    for name, tensor in recipe.tensors():
        base = ancestor.read(name).double()
        assert_same_bits(tensor, (base + 0.5 * (donor.read(name).double() - base)).to(BF16))


def test_a_method_that_needs_an_ancestor_is_refused_without(folders: dict[str, Path]) -> None:
    with pytest.raises(AdammsError, match=r"merge=needs_ancestor needs an ancestor: model\.ancestor\.path"):
        make(folders["target"], {"a": folders["donor"]}, method=NeedsAncestor())


class WholeTensors(Linear):
    """Not elementwise: it must see every tensor whole."""

    name = "whole"
    elementwise = False

    def merge(self, chunk: Chunk) -> torch.Tensor:
        assert chunk.target.shape == chunk.shape
        return chunk.target - chunk.target.mean()


def test_a_method_that_is_not_elementwise_sees_whole_tensors(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "CHUNK_ELEMENTS", 1)
    recipe = make(folders["target"], {"a": folders["donor"]}, method=WholeTensors())
    own = open_checkpoint(folders["target"]).read(HEAD).double()
    assert_same_bits(recipe.tensor(HEAD), (own - own.mean()).to(BF16))
