"""What a model's own loader reads of the tensors that it is given. Knows neither vLLM nor recipes."""

from dataclasses import dataclass
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class Given:
    """A contiguous tensor in memory: from the byte `start` to before `end`, with `row` bytes per row."""

    name: str
    start: int
    end: int
    row: int


class Reads(TorchDispatchMode):
    """While it is entered, notes the rows (of dimension 0) that are read of each tensor given.

    A view reads nothing; every other operation reads all of each view that it gets and does not write. So it
    shows that a worker keeps a slice of a tensor, or nothing. A tensor is known by its storage, and with it
    forgotten: what is made in the same memory later is another one.

        with Reads() as reads:
            model.load_weights((name, reads.give(name, tensor)) for name, tensor in tensors)
        reads.rows["lm_head.weight"]  # [range(0, 76000)]

    Attributes:
        rows: name -> disjoint ranges in order; a name of which nothing was read is absent.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, list[range]] = {}
        self._given: dict[int, list[Given]] = {}  # by storage; of those that overlap, the last one
        self._storages: set[StorageWeakRef] = set()  # while one is held, no other storage has its number

    def give(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """The same tensor, from now on under this name."""
        start, count = tensor.data_ptr(), len(tensor) if tensor.dim() else 1
        if tensor.numel():
            new = Given(name, start, start + tensor.nbytes, tensor.nbytes // count)
            storage = StorageWeakRef(tensor.untyped_storage())
            self._storages.add(storage)
            others = self._given.get(storage.cdata, ())
            apart = [old for old in others if old.end <= new.start or new.end <= old.start]
            self._given[storage.cdata] = [*apart, new]
        return tensor

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view:
            parameters = func._schema.arguments
            named = dict(zip((p.name for p in parameters), args, strict=False)) | (kwargs or {})
            written = {p.name for p in parameters if p.alias_info is not None and p.alias_info.is_write}
            for leaf in tree_leaves([value for name, value in named.items() if name not in written]):
                if isinstance(leaf, torch.Tensor) and not leaf.is_meta and leaf.numel():
                    self._note(leaf)
        return func(*args, **(kwargs or {}))

    def _note(self, view: torch.Tensor) -> None:
        first = view.data_ptr()
        steps = sum((size - 1) * stride for size, stride in zip(view.shape, view.stride(), strict=True))
        last = first + steps * view.element_size()
        for given in self._given.get(view.untyped_storage()._cdata, ()):
            if first < given.end and given.start <= last:
                start, end = max(first, given.start), min(last, given.end - 1)
                rows = range((start - given.start) // given.row, (end - given.start) // given.row + 1)
                self.rows[given.name] = joined([*self.rows.get(given.name, ()), rows])


def joined(ranges: list[range]) -> list[range]:
    """Disjoint ranges in order that cover the same numbers.

    >>> joined([range(4, 6), range(0, 2), range(2, 5)])
    [range(0, 6)]
    """
    found: list[range] = []
    for each in sorted(ranges, key=lambda each: each.start):
        if found and each.start <= found[-1].stop:
            found[-1] = range(found[-1].start, max(found[-1].stop, each.stop))
        else:
            found.append(each)
    return found
