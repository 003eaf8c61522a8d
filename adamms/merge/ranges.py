"""Checks of numeric parameters against their ranges; knows nothing of what they mean."""

import math

from adamms.errors import AdammsError


def check_between(
    what: str, value: object, least: float, most: float, *, above: bool = False, below: bool = False
) -> None:
    """Raise AdammsError unless `value` is a number from `least` to `most`.

    Args:
        what: the parameter's name, e.g. `merge.gamma`.
        value: what the user gave.
        least, most: the ends of the range.
        above, below: the range is without `least`, without `most`.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        inside = (least < value if above else least <= value) and (value < most if below else value <= most)
        if inside:
            return
    opening, closing = "(" if above else "[", ")" if below else "]"
    raise AdammsError(f"{what} is {value!r}; expected a number in {opening}{least:g}, {most:g}{closing}")


def check_whole(what: str, value: object, least: int, most: int | None = None) -> None:
    """Raise AdammsError unless `value` is a whole number from `least` (to `most`)."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole and least <= value and (most is None or value <= most):  # type: ignore[operator]
        return
    bound = f"from {least}" if most is None else f"from {least} to {most}"
    raise AdammsError(f"{what} is {value!r}; expected a whole number {bound}")
