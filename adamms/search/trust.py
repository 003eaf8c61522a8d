"""How probably a choice is a good one, by resampling and by how well signals predicted accuracy elsewhere.

The signal predicts a part of how far candidate c is ahead of the winner in accuracy, A_c. The rest is
chance: it grows with the answers in which the two differ, as the sum of as many small steps, and every task
has its own:

    A_c = -slope * (D_c - D_winner) + chance * W(u_c)                   (points)
    u_c = sum over tasks of (share of the examples)^2 * (mean difference of c's and the winner's answers)

W is a random walk from the winner, W(u) of variance u, one to either side of it along the candidates' order.
A_c is at most the share of the examples to which the answers differ at all. D is in points, over resampled
examples. The probability is the share of resamples in which no A_c exceeds the tolerance. So it is higher
where there are many tasks, whose errors cancel out, than for one of them alone. A task of fewer than `FEW`
examples counts as a part of one: cutting tasks up makes nothing sure.

Slope and chance of the recommended signal were fitted on development seeds of the suite
(tests/benchmarks/signals.py), which also shows how well the probabilities hold on its test seeds. Where
nobody has fitted a slope it is 0: D chooses, but how many answers differ is all that speaks for it.
"""

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from adamms.search.choice import Trust
from adamms.search.doubts import FEW
from adamms.search.resampling import SAME, Array


def trust(
    gaps: Array,
    apart: Array,
    tasks: Sequence[Hashable],
    winner: int,
    tolerance: float,
    slope: float,
    chance: float,
    seed: int,
) -> Trust:
    """How probably the choice is a good one.

    Args:
        gaps: D of every candidate minus the winner's, as a share of the examples, in every resample; shape
            (resamples, candidates).
        apart: the difference between its answers and the winner's; shape (candidates, examples).
        tasks: of each example.
        winner: the place of the chosen candidate.
        tolerance: in points.
        slope: points of accuracy that a point of D predicts.
        chance: points of accuracy, as a standard deviation, that it makes of a task whose answers all differ.
        seed: of the walks.
    """
    paths, most = lengths(apart, tasks), (apart > SAME).mean(1)
    rng, walks = np.random.default_rng(seed), np.zeros(gaps.shape)
    for side in (np.arange(winner), np.arange(winner + 1, gaps.shape[1])):
        order = side[np.argsort(paths[side], kind="stable")]
        steps = np.sqrt(np.diff(paths[order], prepend=0.0))
        walks[:, order] = (rng.standard_normal((len(gaps), len(order))) * steps).cumsum(1)
    ahead = np.minimum(-slope * 100 * gaps + chance * walks, 100 * most)
    ahead[:, winner] = 0.0
    return Trust(float((ahead.max(1) <= tolerance + SAME).mean()), tolerance, slope)


def lengths(apart: Array, tasks: Sequence[Hashable]) -> Array:
    """u of every candidate.

    >>> lengths(np.ones((1, 80)), ["a"] * 80).tolist(), lengths(np.ones((1, 80)), [*"ab"] * 40).tolist()
    ([1.0], [0.5])
    """
    counts = Counter(tasks)
    found: Array = apart @ np.array([max(counts[task], FEW) for task in tasks]) / len(tasks) ** 2
    return found
