"""The compiled passes give the bits of torch's operations for any finite values, and nothing for others."""

import hashlib
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from compiled import needs_kernel
from configured import configured
from hypothesis import given
from hypothesis import strategies as st

from adamms.checkpoint.tensor_values import torch_dtype
from adamms.merge import kernel, kernel_ranks
from adamms.merge.combination import Combination, CombiningMethod
from adamms.merge.election import MajorityVote
from adamms.merge.method import ANCESTOR, TARGET, Chunk
from adamms.merge.methods.della import InOrder
from adamms.merge.methods.linear import Linear
from adamms.merge.randomness import random_bits
from adamms.merge.surveys.products import PairProducts
from adamms.merge.surveys.thresholds import Ranking
from adamms.merge.task_vectors import TaskVectors

pytestmark = needs_kernel

DTYPES = [torch_dtype(name) for name in kernel.DTYPES]
WHOLE = {torch.float64: torch.int64, torch.float32: torch.int32}
# The blocks of the kernel are 512 long.
LENGTHS = st.sampled_from([1, 7, 511, 513, 1500])
WEIGHTS = st.floats(-2, 2) | st.sampled_from([0.0, 0.3, 0.5, 1.0])


def drawn(dtype: torch.dtype, length: int, seed: int, kind: str) -> torch.Tensor:
    """Values of a kind: `any` finite bit pattern, or like weights, with equal and zero ones among them."""
    generator = torch.Generator().manual_seed(seed)
    if kind == "any":
        whole = WHOLE.get(dtype, torch.int16)
        raw = torch.randint(-(2**63), 2**63 - 1, (length,), generator=generator)
        values = (raw >> (64 - 8 * dtype.itemsize)).to(whole).view(dtype)
        return torch.where(torch.isfinite(values), values, 1.0)
    values = torch.randn(length, generator=generator, dtype=torch.float64) * 0.02
    rounded = (values * 100).round() / 100  # -0.0 too
    return torch.where(torch.rand(length, generator=generator) < 0.5, values, rounded).to(dtype)


@st.composite
def chunks(draw: Callable[..., int]) -> Chunk:
    """A chunk as it is stored: three models and an ancestor, each of a dtype of its own."""
    length, kind = draw(LENGTHS), draw(st.sampled_from(["any", "like weights"]))
    tensors = [
        drawn(draw(st.sampled_from(DTYPES)), length, draw(st.integers(0, 999)), kind) for _ in range(4)
    ]
    target, first, second, ancestor = tensors
    donors = {"a": first, "b": second}
    return Chunk("w", (9 * length,), 0, target, donors, ancestor, {"a": 0.25, "b": 0.125})


@st.composite
def task_vectors(draw: Callable[..., float]) -> TaskVectors:
    """Of models whose tensor has one row."""

    def numbers(scale: float) -> dict[str, float]:
        drawn = {name: abs(draw(WEIGHTS)) * scale for name in ("target", "a", "b")}
        return drawn if draw(st.booleans()) else {}

    factors = {name: torch.tensor([factor]).double() for name, factor in numbers(1.0).items()}
    return TaskVectors(numbers(0.02), numbers(0.1), factors, draw(st.sampled_from([ANCESTOR, TARGET])))


@st.composite
def combinations(draw: Callable[..., float]) -> Combination:
    weights = {name: draw(WEIGHTS) for name in ("target", "a", "b")}
    if draw(st.booleans()):
        return Combination(weights)
    vectors = draw(task_vectors())
    if vectors.base == TARGET:
        del weights["target"]
    return Combination(
        weights,
        vectors,
        draw(WEIGHTS),
        draw(st.sampled_from([None, "majority", "weighted"])),
        draw(st.sampled_from(["sum", "mean"])),
        draw(st.sampled_from([-1, 0, 1])),
    )


def raw(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().view(torch.uint8)


@given(chunks(), combinations())
def test_a_combination_has_the_bits_of_torch(chunk: Chunk, combination: Combination) -> None:
    before = chunk.exact()
    expected = combination.of(chunk.exact()).to(chunk.target.dtype)
    found = combination.compiled(chunk)
    assert found is None or found.dtype == expected.dtype
    if torch.isfinite(expected).all():
        assert found is not None
        assert torch.equal(raw(found), raw(expected))
    else:
        assert found is None
    assert torch.equal(before.target, chunk.target.double())  # nothing is overwritten


@given(st.sampled_from([1, 7, 8, 100, 128, 131, 263, 1500]), st.booleans(), st.data())
def test_the_products_of_rows_have_the_bits_of_numpy(width: int, vectors: bool, data: st.DataObject) -> None:
    dtypes = st.sampled_from(DTYPES)
    models = [
        drawn(data.draw(dtypes), 3 * width, data.draw(st.integers(0, 999)), "like weights").view(3, width)
        for _ in range(3)
    ]
    chunk = Chunk("w", (3, width), 0, models[0], {"a": models[1]}, models[2], {})
    terms = PairProducts(vectors)
    found, expected = terms.row_sums(chunk), terms(chunk.exact())
    assert found is not None
    assert list(found) == list(expected)
    for name, products in expected.items():
        assert np.array_equal(found[name], np.add.reduce(products.numpy(), axis=1))


@pytest.mark.parametrize("bad", [float("inf"), float("nan"), 1e200])
def test_of_products_that_are_not_finite_there_are_none(bad: float) -> None:
    values = torch.ones(2, 300, dtype=torch.float64)
    chunk = Chunk("w", (2, 300), 0, values, {"a": values.clone()}, None, {})
    chunk.donors["a"][1, 299] = bad
    assert PairProducts(vectors=False).row_sums(chunk) is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_every_value_of_16_bits(dtype: torch.dtype) -> None:
    """And the values in the middle between two of them, and those just beside the middle."""
    values = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype)
    values = values[torch.isfinite(values)].float().sort().values.to(dtype)
    following = values.roll(-1)
    for weight in (0.5, 0.25, 2.0**-24, 0.25 + 2.0**-8, 0.25 + 2.0**-30, 0.5 - 2.0**-30):
        combination = Combination({"target": weight, "a": 0.5})
        chunk = Chunk("w", (len(values),), 0, values, {"a": following}, None, {})
        expected = combination.of(chunk.exact()).to(dtype)
        assert torch.isfinite(expected).all()
        found = combination.compiled(chunk)
        assert found is not None
        assert torch.equal(raw(found), raw(expected))


@pytest.mark.parametrize("bad", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("place", ["target", "a", "ancestor"])
def test_of_an_infinite_or_nan_value_there_is_no_result(bad: float, place: str) -> None:
    for dtype in DTYPES:
        values = {name: torch.ones(700, dtype=dtype) for name in ("target", "a", "ancestor")}
        values[place][600] = bad
        chunk = Chunk("w", (700,), 0, values["target"], {"a": values["a"]}, values["ancestor"], {"a": 0.5})
        # What is trimmed or out-voted does not show in the result.
        trimmed = TaskVectors({"target": 5.0, "a": 5.0})
        assert Combination({"target": 1.0, "a": 0.0}, trimmed, 1.0, "weighted").compiled(chunk) is None


def test_a_result_that_overflows_is_none() -> None:
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        most = torch.full((3,), torch.finfo(dtype).max, dtype=dtype)
        assert Combination({"target": 1.0}).compiled(Chunk("w", (3,), 0, most, {}, None, {})) is not None
        assert Combination({"target": 2.0}).compiled(Chunk("w", (3,), 0, most, {}, None, {})) is None


def test_tensors_may_be_strided() -> None:
    values = torch.randn(40, 30).bfloat16()
    chunk = Chunk("w", (30, 39), 0, values[1:].T, {"a": values[:-1].T}, None, {})
    found = Combination({"target": 0.5, "a": 0.25}).compiled(chunk)
    assert found is not None
    expected = values[1:].T.double() * 0.5 + values[:-1].T.double() * 0.25
    assert torch.equal(found, expected.bfloat16())


@given(chunks(), st.integers(0, 999))
def test_surveys_of_task_vectors_find_what_torch_finds(chunk: Chunk, seed: int) -> None:
    """Also with infinite and NaN values, which do not count."""
    for values in chunk.models().values():
        values[random.Random(seed).randrange(len(values))] = [float("nan"), float("inf"), 1.0][seed % 3]
    least = {"target": 0.01, "a": 0.02, "b": 0.0}
    for compiled, plain in (
        (Ranking(TaskVectors(), lambda count: (1, count // 2, count)), Chunk.task_vectors),
        (MajorityVote(TaskVectors(least)), lambda other: TaskVectors(least)(other)),
        (MajorityVote(TaskVectors()), Chunk.task_vectors),
    ):
        key = "taken" if isinstance(compiled, Ranking) else "vectors"
        ways = [(compiled, chunk.exact, chunk), (replace(compiled, **{key: plain}), None, None)]
        found = []
        for survey, _, stored in ways:
            step = survey
            while hasattr(step, "empty"):
                summary = step.empty()
                assert summary.stored == (stored is not None)
                summary.add(chunk if stored is not None else chunk.exact())
                step = step.conclude(summary)
            found.append(step)
        np.testing.assert_equal(vars(found[0]) | {"before": None}, vars(found[1]) | {"before": None})


@given(st.sampled_from([2, 3, 255, 257, 1500]), st.integers(0, 99), st.sampled_from(DTYPES))
def test_rows_are_thinned_as_torch_does(width: int, seed: int, dtype: torch.dtype) -> None:
    """Also those with values that have no place, in the compiled pass or at all."""
    kind = ["like weights", "any"][seed % 2]
    tau = drawn(dtype, 5 * width, seed, kind).double().view(5, width)
    tau[seed % 7 % 5, seed % width] = [0.0, -1.0, 1 / 3, float("inf"), float("nan")][seed % 5]
    method = configured("merge/della", density=0.5, epsilon=0.25, rescale=seed % 3 > 0)
    chunk = Chunk("w", (50, width), 10 * width, tau, {}, torch.zeros_like(tau), {})
    draws = random_bits(method.seed, "w", "target", chunk.start, tau.numel())
    done = kernel_ranks.thin(tau.clone(), draws, 0.25, 0.5, method.rescale)
    few_bits = dtype.itemsize == 2 and kind == "like weights" and seed % 5 < 2
    assert done == 5 or not few_bits
    found, expected = tau.clone(), tau.clone()
    method._prune(found, "target", replace(chunk, statistics=InOrder({})))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "LIBRARY", None)
        method._prune(expected, "target", replace(chunk, statistics=InOrder({})))
    finite = torch.isfinite(expected)
    assert torch.equal(torch.isnan(found), torch.isnan(expected))
    assert torch.equal(raw(found[finite]), raw(expected[finite]))


def test_a_derived_method_with_a_merge_of_its_own_is_not_passed_by() -> None:
    class Doubled(Linear):
        def merge(self, chunk: Chunk) -> torch.Tensor:
            return super().merge(chunk) * 2

    values = torch.ones(3)
    chunk = Chunk("w", (3,), 0, values, {}, None, {})
    assert Linear().compiled(chunk, torch.empty(3)) is not None
    assert Doubled().compiled(chunk, torch.empty(3)) is None


@pytest.mark.parametrize(
    "name", ["linear", "task_arithmetic", "metagpt", "ties", "breadcrumbs", "arcee_fusion", "nuslerp"]
)
def test_these_methods_are_compiled(name: str) -> None:
    assert isinstance(configured(f"merge/{name}"), CombiningMethod)


def test_a_change_of_the_source_is_a_new_version() -> None:
    """A library built from another source is not used: raise VERSION in both, then write the digest here."""
    source = Path(kernel.__file__).with_name("kernel.c").read_bytes()
    digests = {6: "fc2ec68d1eb2a18d"}
    assert hashlib.blake2b(source, digest_size=8).hexdigest() == digests[kernel.VERSION]
    assert kernel.LIBRARY is not None
    assert kernel.LIBRARY.adamms_version() == kernel.VERSION


def test_a_library_of_another_version_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "VERSION", 0)
    assert kernel._load() is None
