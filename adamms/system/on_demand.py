"""torch, imported when something of it is first used: plans and many merges need none, and it takes a second.

A module that takes `torch` from here must not use it while it is imported itself, nor in annotations that are
evaluated then (`from __future__ import annotations`).
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any


class _OnDemand(ModuleType):
    """A module by its name; whatever is asked of it, is asked of the real one."""

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self.__name__), attribute)


if TYPE_CHECKING:
    import torch as torch
else:
    torch = _OnDemand("torch")
