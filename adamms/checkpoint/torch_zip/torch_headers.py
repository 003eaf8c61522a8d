"""What the pickle in a torch archive may name: dtypes, storages, and the functions that make tensors of them.

Each function stands for torch's own of that name and gives a header: no tensor is made. What torch would be
told beside shape and place is refused unless it is understood. Knows neither opcodes nor files.
"""

import pickle
from dataclasses import dataclass
from typing import Any, NoReturn

import torch

from adamms.checkpoint.tensor_entry import brief

# Of one tensor; DeepSpeed and transformers add a few.
MAX_ATTRIBUTES = 100

_STORAGES = {
    "Double": torch.float64,
    "Float": torch.float32,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
}
_NO_STORAGES = (
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz),
    *(torch.uint16, torch.uint32, torch.uint64),
)


@dataclass(frozen=True)
class Storage:
    """Some bytes of the file.

    Args:
        start: position of the first one in the file.
        nbytes: how many.
        dtype: of the elements, where a tensor names no other.
    """

    start: int
    nbytes: int
    dtype: torch.dtype


@dataclass(frozen=True)
class TensorHeader:
    """A strided tensor as the pickle describes it.

    Args:
        storage: where it is.
        dtype: of its elements.
        offset: of its first element in the storage, in elements.
        shape, strides: in elements.
    """

    storage: Storage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def sound(self) -> bool:
        """Whether the pickle, which may say anything, describes a tensor that there can be."""
        return (
            type(self.shape) is type(self.strides) is tuple
            and len(self.shape) == len(self.strides) <= 64
            and all(
                type(number) is int and 0 <= number < 1 << 60
                for number in (self.offset, *self.shape, *self.strides)
            )
        )


@dataclass(frozen=True)
class Unread:
    """A tensor whose values are not simply stored.

    Args:
        reason: what it is, and what to do.
    """

    reason: str


def refuse(what: str) -> NoReturn:
    """Refuse what no tensor needs."""
    raise pickle.UnpicklingError(what)


@dataclass(frozen=True)
class StorageType:
    """A class of storages, by the dtype of their elements."""

    dtype: torch.dtype


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> TensorHeader | Unread:
    return _rebuild_tensor_v2(storage, offset, shape, strides, False, None)


def _rebuild_tensor_v2(
    storage: Any, offset: Any, shape: Any, strides: Any, grad: Any, hooks: Any, metadata: Any = None
) -> TensorHeader | Unread:
    dtype = getattr(storage, "dtype", None)
    return _rebuild_tensor_v3(storage, offset, shape, strides, grad, hooks, dtype, metadata)


def _rebuild_tensor_v3(
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    grad: Any,
    hooks: Any,
    dtype: Any,
    metadata: Any = None,
) -> TensorHeader | Unread:
    if not isinstance(storage, Storage) or not isinstance(dtype, torch.dtype):
        raise TypeError(f"a tensor of {brief(dtype)} in {brief(storage)}")
    if metadata is not None and metadata != {}:
        return Unread(
            "a negative or conjugate view, whose values are not those that are stored; "
            "save it with tensor.resolve_neg().resolve_conj()"
        )
    return _rebuild_parameter(TensorHeader(storage, dtype, offset, shape, strides), grad, hooks)


def _rebuild_parameter(data: Any, grad: Any, hooks: Any) -> Any:
    if not isinstance(data, TensorHeader | Unread):
        raise TypeError(f"a parameter of {brief(data)}")
    if type(grad) is not bool or (
        grad and isinstance(data, TensorHeader) and not _differentiable(data.dtype)
    ):
        raise TypeError(f"requires_grad of {brief(grad)}")
    if hooks is not None and hooks != {}:
        refuse("a tensor with hooks")
    return data


def _differentiable(dtype: torch.dtype) -> bool:
    return dtype.is_floating_point or dtype.is_complex


def _rebuild_parameter_with_state(data: Any, grad: Any, hooks: Any, state: Any) -> Any:
    _check_attributes(state)
    return _rebuild_parameter(data, grad, hooks)


def _rebuild_from_type_v2(function: Any, kind: Any, arguments: Any, state: Any) -> Any:
    """A tensor with attributes of its own, which are left out."""
    if (
        function not in _REBUILT
        or kind not in (torch.Tensor, torch.nn.Parameter)
        or type(arguments) is not tuple
    ):
        refuse(f"a tensor of {brief(kind)} made by {brief(function)}")
    _check_attributes(state)
    return function(*arguments)


def _check_attributes(state: Any) -> None:
    """Of a Python object: a dict, or that of its dict and that of its slots. None may change the tensor."""
    for attributes in state if type(state) is tuple and len(state) == 2 else (state,):
        if attributes is None:
            continue
        if type(attributes) is not dict or len(attributes) > MAX_ATTRIBUTES:
            refuse(f"a tensor with the state {brief(attributes)}")
        for name in attributes:
            if hasattr(torch.Tensor, name):
                refuse(f"to set {brief(name)} of a tensor")


def _rebuild_sparse_tensor(layout: Any, data: Any) -> Unread:
    return Unread(f"a sparse tensor ({brief(layout)}); save it with tensor.to_dense()")


def _rebuild_meta_tensor_no_storage(*arguments: Any) -> Unread:
    return Unread("on the meta device: it has no values; save the model after they are loaded")


def _get_layout(name: Any) -> str:
    return name


def _ordered_dict() -> dict[str, Any]:
    return {}


def _size(sizes: Any) -> Any:
    return sizes


_REBUILT = (
    _rebuild_tensor,
    _rebuild_tensor_v2,
    _rebuild_tensor_v3,
    _rebuild_parameter,
    _rebuild_parameter_with_state,
)
GLOBALS: dict[str, object] = {
    **{f"torch {name}Storage": StorageType(dtype) for name, dtype in _STORAGES.items()},
    # Bytes; the tensor names its dtype.
    "torch.storage UntypedStorage": StorageType(torch.uint8),
    **{str(dtype).replace(".", " "): dtype for dtype in (*_STORAGES.values(), *_NO_STORAGES)},
    **{f"torch._utils {function.__name__}": function for function in _REBUILT},
    "torch._utils _rebuild_sparse_tensor": _rebuild_sparse_tensor,
    "torch._utils _rebuild_meta_tensor_no_storage": _rebuild_meta_tensor_no_storage,
    "torch._tensor _rebuild_from_type_v2": _rebuild_from_type_v2,
    "torch.serialization _get_layout": _get_layout,
    "collections OrderedDict": _ordered_dict,
    "torch Size": _size,
    # Named as arguments, never called.
    "torch Tensor": torch.Tensor,
    "torch.nn.parameter Parameter": torch.nn.Parameter,
}
