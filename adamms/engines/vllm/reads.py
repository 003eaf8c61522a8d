"""What a model's own loader reads of the tensors that it is given. Knows neither vLLM nor recipes."""

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Any

import torch
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

    A view reads nothing; every other operation reads all of the view that it gets. So it shows that a worker
    keeps a slice of a tensor, or nothing.

        with Reads() as reads:
            model.load_weights(reads.noted(tensors))
        reads.rows["lm_head.weight"]  # [range(0, 76000)]

    Attributes:
        rows: name -> disjoint ranges in order; a name of which nothing was read is absent.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, list[range]] = {}
        self._given: list[Given] = []  # by address; memory may be given again, so the last one counts

    def give(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """The same tensor, from now on under this name."""
        start, count = tensor.data_ptr(), len(tensor) if tensor.dim() else 1
        if tensor.numel():
            new = Given(name, start, start + tensor.nbytes, tensor.nbytes // count)
            first = bisect_right(self._given, new.start, key=lambda old: old.end)
            after = bisect_left(self._given, new.end, key=lambda old: old.start)
            self._given[first:after] = [new]
        return tensor

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view:
            for leaf in tree_leaves((args, kwargs)):
                if isinstance(leaf, torch.Tensor) and not leaf.is_meta and leaf.numel():
                    self._note(leaf)
        return func(*args, **(kwargs or {}))

    def _note(self, view: torch.Tensor) -> None:
        first = view.data_ptr()
        place = bisect_right(self._given, first, key=lambda given: given.start) - 1
        if place < 0 or first >= self._given[place].end:
            return
        given = self._given[place]
        steps = sum((size - 1) * stride for size, stride in zip(view.shape, view.stride(), strict=True))
        last = first + steps * view.element_size()
        rows = range((first - given.start) // given.row, (last - given.start) // given.row + 1)
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
