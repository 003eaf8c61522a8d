"""Which merge methods there are: the classes in the modules of `methods`.

Used in messages only. The configuration names a method by its class.
"""

import importlib
import pkgutil
from collections.abc import Iterator

from adamms.errors import AdammsError
from adamms.merge import methods
from adamms.merge.method import Method


def known_methods() -> Iterator[type[Method]]:
    """The class of every method, in the order of their modules' names."""
    for found in pkgutil.iter_modules(methods.__path__, f"{methods.__name__}."):
        for value in vars(importlib.import_module(found.name)).values():
            if isinstance(value, type) and value.__module__ == found.name and Method in value.__mro__:
                yield value


def check_ancestor(method: Method, given: bool) -> None:
    """Raise AdammsError if the method needs an ancestor and none is given; names methods that need none."""
    if method.needs_ancestor and not given:
        others = ", ".join(other.name for other in known_methods() if not other.needs_ancestor)
        raise AdammsError(
            f"merge={method.name} needs an ancestor: model.ancestor.path=FOLDER. Without one: merge={others}"
        )
