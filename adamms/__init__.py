"""AdaMMS: map, merge and search multimodal LLMs of different architectures.

>>> import adamms
>>> pair = ["model=custom", "model.target.path=A", "model.donors.a.path=B"]
>>> plan = adamms.plan(*pair)                                       # doctest: +SKIP
>>> folder = adamms.merge(*pair, "merge.alpha=0.3", "output=OUT")   # doctest: +SKIP
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adamms.app.functions import evaluate, merge, plan, search

__version__ = "0.10.0"
__all__ = ["evaluate", "merge", "plan", "search"]


class _Callable(ModuleType):
    """A package that, when it is called, does what the function of its name in adamms.app.functions does."""

    def __call__(self, *words: str) -> Any:
        return getattr(import_module("adamms.app.functions"), self.__name__.rpartition(".")[2])(*words)


for _package in ("evaluate", "merge", "search"):
    import_module(f"adamms.{_package}").__class__ = _Callable


def __getattr__(name: str) -> Any:
    if name == "plan":  # there is no package of that name
        return import_module("adamms.app.functions").plan
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
