"""A device that is not there: tensors that say so of theirs, hold real values, and refuse what a GPU refuses.

Its arithmetic is correct, and differs from the processor's wherever neither IEEE 754 nor PyTorch says what is
right: division by a number is a product with its reciprocal, a sum runs from the last to the first, `clamp`
and a sort of equal values choose the other one. What may be fused, and so rounded once or twice, it refuses.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

aten = torch.ops.aten
# PyTorch needs nothing for this kind of device. What it is called does not matter: it is not `cpu`.
GPU = torch.device("meta")
# Operations that take tensors of the processor beside those of a GPU.
MIXING = (
    *(aten.copy_.default, aten._to_copy.default),
    *(aten.index.Tensor, aten.index_put_.default, aten.index_put.default),
)
# Whose last bits are nobody's promise, so that elementwise methods may not use them.
INEXACT = (
    *("exp", "log", "sin", "cos", "tanh", "sigmoid", "rsqrt", "reciprocal", "lerp", "addcmul", "addcdiv"),
    *("mean", "var", "std", "norm", "linalg_vector_norm", "prod", "cumsum", "mm", "addmm", "bmm", "dot"),
)


class Away(torch.Tensor):
    """A tensor on the device that is not there."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> "Away":
        found = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=GPU,
        )
        found.inner = inner
        return found

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"Away({tuple(self.shape)}, {self.dtype})"

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return computed(func, args, dict(kwargs or {}))


class Present(TorchDispatchMode):
    """Within it, tensors can be made on the device, as `device=` says."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return computed(func, args, dict(kwargs or {}))


def computed(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What the operation gives, on the device where it takes place."""
    given = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, torch.Tensor)]
    away = [value for value in given if isinstance(value, Away)]
    wanted = kwargs.get("device")
    there = torch.device(wanted).type == GPU.type if wanted is not None else bool(away)
    if away and func not in MIXING:
        strangers = [value for value in given if not isinstance(value, Away) and value.dim()]
        assert not strangers, f"{func}: tensors of the processor and of the device"
    if away:
        name = func.overloadpacket.__name__.rstrip("_")
        assert name not in INEXACT, f"{func} is not the same on every device"
    if wanted is not None:
        kwargs["device"] = torch.device("cpu")
    args, kwargs = tree_map(_inside, args), tree_map(_inside, kwargs)
    result = ODD.get(func, func)(*args, **kwargs) if away else func(*args, **kwargs)
    if func.overloadpacket.__name__.endswith("_") and not func.overloadpacket.__name__.startswith("_"):
        return given[0]
    return tree_map(lambda value: Away(value) if there and _plain(value) else value, result)


def _plain(value: object) -> bool:
    return isinstance(value, torch.Tensor) and not isinstance(value, Away)


def _inside(value: Any) -> Any:
    return value.inner if isinstance(value, Away) else value


def _divide(values: torch.Tensor, by: Any) -> torch.Tensor:
    if isinstance(by, torch.Tensor):
        return values / by
    return values * (1.0 / by)


def _divide_(values: torch.Tensor, by: Any) -> torch.Tensor:
    return values.copy_(_divide(values, by))


def _added(values: torch.Tensor, other: Any, *, alpha: float = 1) -> torch.Tensor:
    assert alpha in (1, -1), "add with alpha is not the same on every device"
    return torch.add(values, other, alpha=alpha)


def _clamp_(values: torch.Tensor, low: float | None = None, high: float | None = None) -> torch.Tensor:
    values.clamp_(low, high)
    return values.masked_fill_(values == 0, -0.0)


def _sum(values: torch.Tensor, dims: Any = None, keepdim: bool = False, **dtype: Any) -> torch.Tensor:
    assert not keepdim
    if dims is None or values.dim() < 2:
        values, dims = values.reshape(-1), [0]
    (dim,) = dims
    return values.flip(dim).cumsum(dim, **dtype).select(dim, -1)


def _sort(values: torch.Tensor, dim: int = -1, descending: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    ordered, places = values.flip(dim).sort(dim=dim, descending=descending, stable=True)
    return ordered, values.shape[dim] - 1 - places


ODD: dict[Any, Callable[..., Any]] = {
    aten.div.Tensor: _divide,
    aten.div_.Tensor: _divide_,
    aten.add.Tensor: _added,
    aten.add_.Tensor: lambda values, other, *, alpha=1: values.copy_(_added(values, other, alpha=alpha)),
    aten.clamp_.default: _clamp_,
    aten.clamp_min_.default: _clamp_,
    aten.sum.default: _sum,
    aten.sum.dim_IntList: _sum,
    aten.sort.default: _sort,
}
