"""Large numbers as text: three digits with a prefix, the same in every message, table and page."""

SCALES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def scaled(value: float, unit: str = "", among: float | None = None) -> str:
    """Three digits with a decimal prefix: 15.2 GB, 803 M.

    Args:
        value: in the plain unit.
        unit: e.g. "B" for bytes.
        among: a value whose prefix is used instead, so that two numbers can be compared.
    """
    for size, prefix in SCALES:
        if abs(value if among is None else among) >= size:
            return f"{three_digits(value / size)} {prefix}{unit}"
    return f"{value:g} {unit}".rstrip()


def three_digits(value: float) -> str:
    return f"{value:.{0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2}f}"
