"""Which label-free signal finds the best alpha: controlled pairs in different regimes, several seeds of each.

    python tests/benchmarks/signals.py [--regimes near,distant] [--seeds 0,1,2,3,4] [--samples 50]

Trains (or finds in the cache) the pairs of `conf/model/suite_*.yaml`, answers the demo's questions along the
grid with log-probabilities (kept in the store), and prints for every signal: mean and worst regret in points,
failures (more than 5 points), the rank correlation of its score with accuracy along the grid, and how many
answers a search with it generates. Labels are read for the regret alone. Parts may run one after the other or
at once: what is in the cache is not made again.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr
from suite import DEVELOPMENT, REGIMES, TEST, Pair, observe_all

from adamms.errors import check_choice
from adamms.search.evidence import CONTROL, DISTURBED, PARENTS, Evidence, Signal
from adamms.search.signals.agreement import Disagreement, ParentsDivergence, SurestParent, Vote
from adamms.search.signals.confidence import Doubt, Entropy, Surprisal
from adamms.search.signals.consistency import Basin, Consistency, NeighbourDivergence
from adamms.search.signals.stability import Instability
from adamms.search.signals.transfer import LikeControl

FAILURE = 5.0  # points of regret
SIGNALS: Mapping[str, Signal] = {
    "consistency, sum (paper)": Consistency("sum"),
    "consistency, either": Consistency("either"),
    "consistency, previous": Consistency("previous"),
    "consistency, smoothed": Consistency("sum", smoothing=1),
    "basin": Basin(),
    "neighbours' divergence": NeighbourDivergence(),
    "log-probability": Surprisal(),
    "probability": Doubt(),
    "entropy": Entropy(),
    "stability": Instability(),
    "vote": Vote(weighted=False),
    "vote, weighted": Vote(),
    "agreement": Disagreement(),
    "surest parent": SurestParent(),
    "parents' mixture": ParentsDivergence(),
    "beyond the control": LikeControl(),
}
# Those that compare neighbours say nothing of the ends, as in the paper.
INTERIOR = (Consistency, NeighbourDivergence)


@dataclass(frozen=True)
class Finding:
    """A signal on a pair: regret in points, rank correlation with accuracy, answers that a search needs."""

    regret: float
    correlation: float
    answers: int


def judge(signal: Signal, pair: Pair) -> Finding:
    """What the signal's choice, the lowest of the best candidates, loses."""
    held = signal.differences(pair.evidence, pair.examples).sum(axis=1)
    allowed = np.ones(len(held), dtype=bool)
    if isinstance(signal, INTERIOR):
        allowed[[0, -1]] = False
    choice = int(np.where(allowed, held, np.inf).argmin())
    found = spearmanr(-held[allowed], pair.accuracy[allowed]).statistic if held[allowed].std() else 0.0
    return Finding(
        float(pair.accuracy.max() - pair.accuracy[choice]), float(found), _answers(signal, pair.evidence)
    )


def _answers(signal: Signal, evidence: Evidence) -> int:
    """How many a search with this signal generates; the target is the candidate of alpha 0."""
    models = len(evidence.candidates)
    models += len(evidence.donors) if PARENTS in signal.needs else 0
    models += len(evidence.control) if CONTROL in signal.needs else 0
    models += len(evidence.disturbed) if DISTURBED in signal.needs else 0
    return models * len(evidence.target)


def show(title: str, pairs: Sequence[Pair]) -> None:
    """The table of the signals over these pairs."""
    print(f"\n{title}: {len(pairs)} pairs")
    print(f"{'signal':26} {'mean':>6} {'worst':>6} {'failures':>9} {'spearman':>9} {'answers':>8}")
    for name, signal in SIGNALS.items():
        found = [judge(signal, pair) for pair in pairs]
        regrets = [one.regret for one in found]
        failures = sum(regret > FAILURE for regret in regrets)
        rank = np.mean([one.correlation for one in found])
        print(
            f"{name:26} {np.mean(regrets):6.1f} {max(regrets):6.1f} {failures:5d}/{len(pairs):3d} "
            f"{rank:9.2f} {np.mean([one.answers for one in found]):8.0f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--regimes", default=",".join(REGIMES))
    parser.add_argument("--seeds", default=",".join(map(str, DEVELOPMENT + TEST)))
    parser.add_argument("--samples", type=int, default=50, help="unlabelled examples per task")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    arguments = parser.parse_args()
    regimes = arguments.regimes.split(",")
    for regime in regimes:
        check_choice("--regimes", regime, REGIMES)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    pairs = list(observe_all(regimes, seeds, arguments.samples, arguments.jobs))
    for title, chosen in (("development seeds", DEVELOPMENT), ("test seeds", TEST)):
        if part := [pair for pair in pairs if pair.seed in chosen]:
            show(title, part)


if __name__ == "__main__":
    main()
