"""Checks of methods' numeric parameters, with messages that say what was expected."""

import math

from adamms.errors import AdammsError


def check_between(
    what: str,
    value: object,
    least: float,
    most: float,
    *,
    above: bool = False,
    below: bool = False,
) -> None:
    """Raise AdammsError unless `value` is a finite number from `least` to `most`.

    Args:
        what: the parameter's name, e.g. `merge.method.density`.
        value: what the user gave.
        least, most: the ends of the range.
        above, below: the range is without `least`, without `most`.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if number:
        given = float(value)  # type: ignore[arg-type]
        if (least < given if above else least <= given) and (given < most if below else given <= most):
            return
    if math.isinf(most):
        bound = "a number" if math.isinf(least) else f"a number {'above' if above else 'from'} {least:g}"
    else:
        bound = f"a number in {'(' if above else '['}{least:g}, {most:g}{')' if below else ']'}"
    raise AdammsError(f"{what} is {value!r}; expected {bound}")


def check_whole(what: str, value: object, least: int) -> None:
    """Raise AdammsError unless `value` is a whole number, `least` or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise AdammsError(f"{what} is {value!r}; expected a whole number from {least}")
