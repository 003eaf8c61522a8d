"""Which label-free signal finds the best alpha, what the recommended search is worth, and what it costs.

    python tests/benchmarks/signals.py [--regimes near,distant] [--seeds 0,1,2,3,4] [--plots FOLDER]

On the pairs of `suite`: for every signal mean and worst regret in points, failures (more than 5 points), the
rank correlation of its score with accuracy along the grid, and how many answers a search with it generates;
regret by regime; whether a search that spares answers makes the same choice; and how often the stated
probability of a good choice holds. Labels are read for that alone. Development seeds, on which things were
decided, and test seeds apart. Parts may run one after the other, or at once by several processes, or as

    python run.py -m experiment=suite search=trusted model=suite_near,suite_distant model.prepare.seed=0,1

What is in the cache is not made again.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr
from signal_plots import plot
from suite import DEVELOPMENT, REGIMES, TEST, WHOLE, Pair, configured, observe_all

from adamms.app.merges import build
from adamms.errors import check_choice
from adamms.merge.candidate import Candidate
from adamms.search.choice import Choice
from adamms.search.evidence import CONTROL, DISTURBED, PARENTS, Evidence, Signal
from adamms.search.racing import Race
from adamms.search.signals.agreement import Disagreement, ParentsDivergence, SurestParent, Vote
from adamms.search.signals.confidence import Doubt, Entropy, Surprisal
from adamms.search.signals.consistency import Basin, Consistency, NeighbourDivergence
from adamms.search.signals.stability import Instability
from adamms.search.signals.transfer import LikeControl
from adamms.search.trusted import TrustedSelector

FAILURE = 5.0  # points of regret
PAPER, RECOMMENDED = "consistency, sum (paper)", "search=trusted"
SIGNALS: Mapping[str, Signal] = {
    PAPER: Consistency("sum"),
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
BINS = (0.0, 0.5, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True)
class Finding:
    """A signal on a pair: regret in points, rank correlation with accuracy, answers that a search needs."""

    regret: float
    correlation: float
    answers: int


@dataclass
class Recorded:
    """An `Ask` over what a pair has answered; counts each answer once."""

    evidence: Evidence
    asked: set[tuple[Candidate, str]] = field(default_factory=set)

    def __call__(self, candidates: Sequence[Candidate], examples: Sequence[str]) -> Evidence:
        evidence, target = self.evidence, self.evidence.order[0]
        self.asked |= {(candidate, example) for candidate in [target, *candidates] for example in examples}
        return Evidence(
            {c: {e: evidence.candidates[c][e] for e in examples} for c in candidates},
            {e: evidence.target[e] for e in examples},
            {name: {e: given[e] for e in examples} for name, given in evidence.donors.items()},
        )


def recommended(pairs: Sequence[Pair]) -> TrustedSelector:
    """That of conf/search/trusted.yaml."""
    selector = build(configured(pairs[0].regime, pairs[0].seed, "search=trusted").search.selector)
    assert isinstance(selector, TrustedSelector)
    return selector


@cache
def choose(selector: TrustedSelector, pair: Pair) -> tuple[Choice, float]:
    """Its choice over all examples, and the share of the answers of the whole grid that it needed."""
    ask = Recorded(pair.evidence)
    choice = selector.search(ask, pair.evidence.order, pair.tasks).overall
    donors = len(pair.evidence.donors) if PARENTS in selector.needs else 0
    count = len(pair.examples)
    whole = (len(pair.evidence.candidates) + donors) * count
    return choice, (len(ask.asked) + donors * count) / whole


def regret(pair: Pair, candidate: Candidate) -> float:
    """Points below the best of the grid."""
    return float(pair.accuracy.max() - pair.accuracy[pair.evidence.order.index(candidate)])


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


def show_signals(pairs: Sequence[Pair], selector: TrustedSelector) -> None:
    print(f"{'signal':26} {'mean':>6} {'worst':>6} {'failures':>9} {'spearman':>9} {'answers':>8}")
    for name, signal in (SIGNALS | {RECOMMENDED: selector.signal}).items():
        found = [judge(signal, pair) for pair in pairs]
        answers = np.mean([one.answers for one in found])
        regrets, rank = [one.regret for one in found], np.mean([one.correlation for one in found])
        if name == RECOMMENDED:
            chosen = [choose(selector, pair) for pair in pairs]
            regrets = [regret(p, choice.candidate) for p, (choice, _) in zip(pairs, chosen, strict=True)]
            answers *= np.mean([share for _, share in chosen])
        failures = sum(value > FAILURE for value in regrets)
        print(
            f"{name:26} {np.mean(regrets):6.2f} {max(regrets):6.1f} {failures:5d}/{len(pairs):3d} "
            f"{rank:9.2f} {answers:8.0f}"
        )


def show_regimes(pairs: Sequence[Pair], selector: TrustedSelector) -> None:
    print(f"\n{'mean and worst regret':22}{'paper':>14}{'search=trusted':>17}")
    for regime in dict.fromkeys(pair.regime for pair in pairs):
        part = [pair for pair in pairs if pair.regime == regime]
        paper = [judge(SIGNALS[PAPER], pair).regret for pair in part]
        own = [regret(pair, choose(selector, pair)[0].candidate) for pair in part]
        print(f"{regime:22}{np.mean(paper):8.1f}{max(paper):6.1f}{np.mean(own):11.1f}{max(own):6.1f}")


def show_spared(pairs: Sequence[Pair], selector: TrustedSelector) -> None:
    """Over three seeds of what is drawn at random."""
    print(f"\n{'the same choice':36}{'runs':>9}{'answers':>9}{'at most':>9}")
    plain = replace(selector, bisection=None, race=None)
    ways = {
        "search=trusted": (plain, selector),
        "race, signal: probability": _raced(plain, Doubt()),
        "race, signal: consistency": _raced(plain, Consistency("sum")),
    }
    for name, (whole, sparing) in ways.items():
        same, shares = [], []
        for pair in pairs:
            wanted = choose(replace(whole, resamples=1), pair)[0].candidate
            for seed in range(3):
                choice, share = choose(replace(_seeded(sparing, seed), resamples=1), pair)
                same.append(choice.candidate == wanted)
                shares.append(share)
        print(f"{name:36}{sum(same):5d}/{len(same):3d}{np.mean(shares):9.3f}{max(shares):9.3f}")


def _raced(plain: TrustedSelector, signal: Signal) -> tuple[TrustedSelector, TrustedSelector]:
    whole = replace(plain, signal=signal)
    return whole, replace(whole, race=Race())


def _seeded(selector: TrustedSelector, seed: int) -> TrustedSelector:
    bisection = None if selector.bisection is None else replace(selector.bisection, seed=seed)
    return replace(
        selector,
        bisection=bisection,
        race=None if selector.race is None else replace(selector.race, seed=seed),
    )


def reliability(pairs: Sequence[Pair], selector: TrustedSelector) -> list[tuple[float, bool]]:
    """(stated probability, whether it came true) of every choice: over all examples, and per task.

    A task's accuracy is not in a `Pair`, so only the choice over all counts.
    """
    found = []
    for pair in pairs:
        choice, _ = choose(selector, pair)
        assert choice.trust is not None
        found.append((choice.trust.probability, regret(pair, choice.candidate) <= choice.trust.tolerance))
    return found


def show_reliability(pairs: Sequence[Pair], selector: TrustedSelector) -> None:
    found = reliability(pairs, selector)
    print(f"\n{'stated probability':22}{'choices':>9}{'stated':>9}{'right':>9}")
    for low, high in zip(BINS, (*BINS[1:-1], 1.01), strict=False):
        inside = [(stated, right) for stated, right in found if low <= stated < high]
        if inside:
            stated, right = np.mean(inside, axis=0)
            print(f"{low:.1f} to {min(high, 1.0):.1f}{'':12}{len(inside):9d}{stated:9.2f}{right:9.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--regimes", default=",".join(REGIMES))
    parser.add_argument("--seeds", default=",".join(map(str, WHOLE)))
    parser.add_argument("--samples", type=int, default=50, help="unlabelled examples per task")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--plots", type=Path, help="a folder for pictures")
    arguments = parser.parse_args()
    regimes = arguments.regimes.split(",")
    for regime in regimes:
        check_choice("--regimes", regime, REGIMES)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    pairs = list(observe_all(regimes, seeds, arguments.samples, arguments.jobs))
    for title, chosen in (("development seeds", DEVELOPMENT), ("test seeds", TEST)):
        part = [pair for pair in pairs if pair.seed in chosen]
        if not part:
            continue
        selector = recommended(part)
        print(f"\n{title}: {len(part)} pairs\n")
        for table in (show_signals, show_regimes, show_spared, show_reliability):
            table(part, selector)
        if arguments.plots is not None:
            choices = [choose(selector, pair)[0].candidate for pair in part]
            papers = [_paper(pair) for pair in part]
            plot(
                arguments.plots / title.replace(" ", "_"), part, papers, choices, reliability(part, selector)
            )


def _paper(pair: Pair) -> Candidate:
    held = SIGNALS[PAPER].differences(pair.evidence, pair.examples).sum(axis=1)
    return pair.evidence.order[1 + int(held[1:-1].argmin())]


if __name__ == "__main__":
    main()
