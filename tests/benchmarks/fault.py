"""What a fault of the campaign is, and how it can end. `faults.py` runs them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong, and what adamms makes of it.

    `trial` gets an empty folder of its own. It returns if what adamms gave is right, and lets an AdammsError
    pass if adamms told of the fault. It raises `Wrong` or `Lost` for what must not happen; any other
    exception is a traceback that a user would have seen.

    >>> fault = Fault("a header that lies", lambda folder: None)

    Args:
        what: is done, in a few words.
        trial: does it and looks at the result.
    """

    what: str
    trial: Callable[[Path], None]


class Wrong(Exception):
    """adamms gave something wrong without saying so."""


class Lost(Exception):
    """An answer that had been given is not in the store any more."""
