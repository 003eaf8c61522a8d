"""How probably a choice is a good one, by resampling and by how well signals predicted accuracy elsewhere.

Accuracies of two candidates differ at most by the share of examples on which their answers differ. The
signal predicts a part of that. Chance decides the rest, with one draw for each side of the winner:

    A_c = -slope * (D_c - D_winner) + spread * d_c * z      (points; z standard normal)

A_c is how far candidate c is ahead of the winner. D, and the difference d_c between the answers of c and the
winner, are in points, over resampled examples. The probability is the share of resamples in which no A_c
exceeds the tolerance. Spread and slope of the recommended signal were fitted on the development seeds of the
suite (tests/benchmarks/signals.py), which also shows how well the probabilities hold on its test seeds. Where
nobody has fitted a slope it is 0: D chooses, but how many answers differ is all that speaks for it.
"""

import numpy as np

from adamms.search.choice import Trust
from adamms.search.resampling import SAME, Array


def trust(
    gaps: Array, apart: Array, winner: int, tolerance: float, slope: float, spread: float, seed: int
) -> Trust:
    """How probably the choice is a good one.

    Args:
        gaps: D of every candidate minus the winner's, as a share of the examples, in every resample; shape
            (resamples, candidates).
        apart: the difference between its answers and the winner's, as a share of the examples; same shape.
        winner: the place of the chosen candidate.
        tolerance: in points.
        slope: points of accuracy that a point of D predicts.
        spread: points of accuracy, as a standard deviation, that chance makes of a point of difference.
        seed: of z.
    """
    sides = np.random.default_rng(seed).standard_normal((len(gaps), 2))
    chance = sides[:, (np.arange(gaps.shape[1]) > winner).astype(int)]  # (resamples, candidates)
    ahead = -slope * 100 * gaps + spread * 100 * apart * chance
    ahead[:, winner] = 0.0
    return Trust(float((ahead.max(1) <= tolerance + SAME).mean()), tolerance, slope)
