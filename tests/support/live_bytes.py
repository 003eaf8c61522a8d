"""Counts the memory of tensors while they live: not of views of files, which cost no memory."""

import weakref
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """`peak`: the most bytes of tensors made within, and alive at once, in this thread."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._made: dict[int, tuple[int, list[weakref.ref[torch.Tensor]]]] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: tuple[type, ...],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        self._forget_freed()  # another tensor may have the address now
        given = {_place(leaf) for leaf in tree_leaves((args, dict(kwargs or {}))) if _is_tensor(leaf)}
        for leaf in tree_leaves(found):
            if _is_tensor(leaf) and (_place(leaf) in self._made or _place(leaf) not in given):
                size = leaf.untyped_storage().nbytes()
                self._made.setdefault(_place(leaf), (size, []))[1].append(weakref.ref(leaf))
        self.peak = max(self.peak, sum(size for size, _ in self._made.values()))
        return found

    def _forget_freed(self) -> None:
        for place, (_, tensors) in list(self._made.items()):
            if not any(reference() is not None for reference in tensors):
                del self._made[place]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._made.clear()
        super().__exit__(kind, error, trace)


def _is_tensor(leaf: object) -> bool:
    return isinstance(leaf, torch.Tensor)


def _place(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
