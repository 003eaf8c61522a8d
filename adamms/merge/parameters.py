"""Checks of the hyper-parameters that several methods have, with one message for each."""

import math

from adamms.errors import AdammsError


def check_density(density: object) -> None:
    """Raise AdammsError unless `density`, a share that is kept, is in (0, 1]."""
    if isinstance(density, bool) or not isinstance(density, int | float) or not 0 < density <= 1:
        raise AdammsError(f"merge.density is {density!r}; expected a number in (0, 1], the share kept")


def check_number(what: str, value: object) -> None:
    """Raise AdammsError unless `value` is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise AdammsError(f"{what} is {value!r}; expected a finite number")
