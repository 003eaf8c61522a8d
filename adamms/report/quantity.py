"""What D is of a search, by its settings: D of another signal is another quantity, on an axis of its own."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

PAPERS = "ExactMatch"  # the difference that goes without saying


def key(search: Mapping[str, Any]) -> str:
    """The same of two searches whose D is the same quantity."""
    own = {name: search.get(name) for name in ("signal", "difference", "smoothing")}
    return json.dumps(own, sort_keys=True, default=str)


def in_words(search: Mapping[str, Any], exact: bool = True) -> str:
    """Of the paper's search 'consistency sum'. What has more settings than words ends in a digest of them.

    Args:
        exact: else without what is compared, smoothing and the digest, so that others may share it.

    >>> in_words({"signal": {"_target_": "adamms.search.signals.consistency.Consistency", "rule": "sum"}})
    'consistency sum'
    >>> in_words({"signal": {"_target_": "a.Basin", "width": 3}, "difference": {"_target_": "b.Overlap"}})
    'basin overlap 2a72'
    """
    signal, difference = search.get("signal") or {}, search.get("difference") or {}
    compared = _class(difference)
    settings = {name: value for name, value in signal.items() if name != "_target_"}
    said = [value for value in settings.values() if isinstance(value, str)]
    parts = [_words(_class(signal)), *said]
    if not exact:
        return " ".join(parts)
    parts += [] if compared == PAPERS else [_words(compared)]
    smoothing = search.get("smoothing") or 0
    parts += [f"smoothing {smoothing}"] if smoothing else []
    if len(said) < len(settings) or len(difference) > 1:
        parts.append(hashlib.sha256(key(search).encode()).hexdigest()[:4])
    return " ".join(filter(None, parts))


def _class(settings: Mapping[str, Any]) -> str:
    return str(settings.get("_target_", "")).rpartition(".")[2]


def _words(name: str) -> str:
    """Of NeighbourDivergence 'neighbour divergence'."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
