"""How probably a choice is a good one: from resampling, and from how far signals were right elsewhere.

Two candidates' accuracies cannot be further apart than the share of examples on which their answers differ.
Of that share the signal foretells a part, and chance decides the rest, alike for all candidates on the same
side of the chosen one:

    A_c = -SLOPE * (D_c - D_chosen) + SPREAD * d_c * z      (points; z standard normal, one for either side)

D in points of the examples, d_c the share of examples, in points, on which c and the chosen one differ, both
over resampled examples. The probability is how often no A_c exceeds the tolerance. SLOPE and SPREAD were
fitted on the development seeds of the suite (`tests/benchmarks/signals.py`, which also shows how well the
stated probabilities hold on its test seeds). Knows no labels.
"""

import numpy as np

from adamms.search.choice import Trust
from adamms.search.evidence import Array

SLOPE = 0.4
SPREAD = 0.35


def trust(gaps: Array, apart: Array, winner: int, tolerance: float, seed: int) -> Trust:
    """How far to trust the choice.

    Args:
        gaps: D of every candidate minus the winner's, as shares of the examples, in every resample; shape
            (resamples, candidates).
        apart: share of the examples on which its answer is not the winner's, likewise.
        winner: the place of the chosen candidate.
        tolerance: in points.
        seed: of z.
    """
    sides = np.random.default_rng(seed).standard_normal((len(gaps), 2))
    chance = sides[:, (np.arange(gaps.shape[1]) > winner).astype(int)]  # (resamples, candidates)
    ahead = -SLOPE * 100 * gaps + SPREAD * 100 * apart * chance
    ahead[:, winner] = 0.0
    return Trust(float((ahead.max(1) <= tolerance).mean()), tolerance)
