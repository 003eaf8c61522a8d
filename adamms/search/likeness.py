"""How like a model's answers to a task are those that it gives to another task.

A model that has not learnt a task answers it like one that it has learnt. Knows no labels and no signals.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from adamms.engines.words import words
from adamms.search.evidence import Answers, Evidence, sayers


def likeness(evidence: Evidence, tasks: Mapping[str, str], examples: Sequence[str]) -> dict[str, list[float]]:
    """Task -> how like the answers to the likest other task those to it are.

    One number for each candidate, in their order, for each donor, and last for the target.

    That is the cosine of the counts of their `words`, as documents are compared by (Salton, Wong & Yang 1975,
    Communications of the ACM 18, 613): 1 where it always says the same, 0 where it has no word in common, and
    where there is no other task. Where it says nothing it is 1.

    Args:
        tasks: example id -> its task.
        examples: those whose answers are compared.
    """
    known: dict[str, list[str]] = {}

    def said(text: str) -> list[str]:
        if text not in known:
            known[text] = words(text)
        return known[text]

    parts: dict[str, list[str]] = {}
    for example in examples:
        parts.setdefault(tasks[example], []).append(example)

    def of(model: Answers) -> list[float]:
        given = [[answer.said for e in part if (answer := model.get(e))] for part in parts.values()]
        return likest([Counter(word for text in texts for word in said(text)) for texts in given])

    models = [*sayers(evidence, "all"), evidence.target]
    return dict(zip(parts, map(list, zip(*map(of, models), strict=True)), strict=True))


def likest(counts: Sequence[Mapping[str, int]]) -> list[float]:
    """The cosine of each of these with the likest other one; 1 for one that is empty.

    >>> likest([{"red": 2}, {"red": 1}, {"a": 3, "cat": 4}, {}])
    [1.0, 1.0, 0.0, 1.0]
    """
    names = {name: place for place, name in enumerate(dict.fromkeys(name for one in counts for name in one))}
    table = np.zeros((len(counts), len(names)))
    for row, one in zip(table, counts, strict=True):
        row[[names[name] for name in one]] = list(one.values())
    lengths = np.linalg.norm(table, axis=1)
    empty = lengths == 0
    table /= np.where(empty, 1.0, lengths)[:, None]
    cosines = table @ table.T
    np.fill_diagonal(cosines, empty)
    found: list[float] = np.minimum(1.0, cosines.max(axis=1)).tolist()
    return found
