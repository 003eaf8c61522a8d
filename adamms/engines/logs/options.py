"""The option that a model prefers, where lmms-eval has logged log-likelihoods of options instead of texts.

Reads `resps`, [[[value, is_greedy], ...], ...] with a list per option and a pair per repetition, and
`filtered_resps`, [[value, is_greedy], ...]; lmms-eval writes numbers and truth values as texts.
"""

import math
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from adamms.errors import AdammsError

CHOICES = ("choices", "options")  # of a doc, where a log has it


def likelihoods(logged: Any) -> list[float] | None:
    """A number per option; None where texts were logged.

    >>> likelihoods([[["-1.5", "False"]], [["-0.5", "True"]]])
    [-1.5, -0.5]

    Raises:
        AdammsError: some of the options have none, or one that is no number.
    """
    if not isinstance(logged, list) or not logged:
        return None
    if (single := _value(logged)) is not None and not isinstance(logged[0], list):
        return [single]
    values = [_value(option) for option in logged]
    if all(value is None for value in values):
        return None
    known = [value for value in values if value is not None and math.isfinite(value)]
    if len(known) < len(values):
        raise AdammsError(f"{len(values) - len(known)} of {len(values)} options have no log-likelihood")
    return known


def _value(logged: Any) -> float | None:
    """The number of a pair, or of the first of several: of [number, is_greedy] alone."""
    while isinstance(logged, list) and logged and isinstance(logged[0], list):
        logged = logged[0]
    if not isinstance(logged, list) or len(logged) != 2 or str(logged[1]) not in ("True", "False"):
        return None
    try:
        return float(logged[0])
    except (TypeError, ValueError):
        return None


def lowest_is_best(records: Sequence[Sequence[float]]) -> bool:
    """Whether a log holds losses, as of most of lmms-eval's models: positive, where log-likelihoods are not.

    Raises:
        AdammsError: both, or records of which each has but one text.
    """
    if all(len(values) == 1 for values in records):
        raise AdammsError(
            "these are log-likelihoods of one text per example, which name no answer; log a task whose "
            "output_type is multiple_choice or generate_until"
        )
    negative, positive = (any(sign * v > 0 for own in records for v in own) for sign in (-1, 1))
    if negative and positive:
        raise AdammsError(
            "log-likelihoods of both signs: they may be losses or not, so that the best option is unknown; "
            "log a task whose output_type is generate_until"
        )
    return positive


def letter(index: int) -> str:
    """A, B, ..., Z; then 27, 28, ..."""
    return ascii_uppercase[index] if index < len(ascii_uppercase) else str(index + 1)


def texts(row: Mapping[str, Any], count: int) -> list[str]:
    """What the options say, where the log has them; else [].

    They are in the doc, or in the arguments of the requests: a context and an option in each.
    """
    doc = row.get("doc")
    doc = doc if isinstance(doc, Mapping) else {}
    for name in CHOICES:
        if isinstance(doc.get(name), list) and len(doc[name]) == count:
            return [str(choice) for choice in doc[name]]
    arguments = row.get("arguments")
    if not isinstance(arguments, list) or not arguments or len(arguments) % count:
        return []
    requests = arguments  # [[context, option, ...], ...], or all of them in one list
    if not isinstance(arguments[0], list):
        size = len(arguments) // count
        requests = [arguments[start : start + size] for start in range(0, len(arguments), size)]
    if len(requests) != count or any(len(request) < 2 for request in requests):
        return []
    found = [[str(request[place]).strip() for request in requests] for place in (1, 0)]
    return next((own for own in found if len(set(own)) == count), [])  # of cloze tasks the contexts differ
