"""What the search tries, and on which examples: the grid of alphas and the seeded subset."""

import random
from collections.abc import Sequence
from itertools import pairwise

from adamms.engines.responses import Candidate
from adamms.errors import AdammsError


def grid(alphas: Sequence[float]) -> list[Candidate]:
    """The candidates in increasing order.

    Raises:
        AdammsError: no alphas, an alpha twice, out of order, or outside [0, 1].
    """
    candidates = [Candidate(alpha) for alpha in alphas]
    if not candidates or any(a >= b for a, b in pairwise(candidates)):
        raise AdammsError(f"search.grid is {list(alphas)}; expected increasing alphas in [0, 1]")
    return candidates


def subset(examples: Sequence[tuple[str, str]], per_task: int | None, seed: int) -> dict[str, list[str]]:
    """Task -> ids of the examples that the search looks at, in the order of the data.

    Args:
        examples: (id, task) of each example.
        per_task: at most this many of each task, drawn at random; None for all. The paper draws 100.
        seed: of the draw. A task's draw depends on the seed and on that task's examples alone.
    """
    tasks: dict[str, list[str]] = {}
    for example, task in examples:
        tasks.setdefault(task, []).append(example)
    if per_task is None:
        return tasks
    if per_task < 1:
        raise AdammsError(f"search.samples is {per_task}; expected at least 1, or null for all")
    drawn = {}
    for task, ids in tasks.items():
        chosen = set(random.Random(f"{seed} {task}").sample(ids, min(per_task, len(ids))))
        drawn[task] = [example for example in ids if example in chosen]
    return drawn
