"""Which label-free signal finds the best alpha, what the recommended search is worth, and what it costs.

    python tests/benchmarks/signals.py [--regimes near,distant] [--seeds 0,1,2,3,4] [--plots FOLDER]
    python tests/benchmarks/signals.py --regimes long --seeds 0,1 --ask parents,tokens

On the pairs of `suite`, those that answer in one word and those that answer in sentences: for every signal
mean and worst regret in points, failures (more than 5 points), the rank correlation of its score with
accuracy along the grid, and how many answers and tokens a search with it generates; regret by regime; whether
a search that spares answers makes the same choice; and how often the stated probability of a good choice
holds. Labels are read for that alone. Development seeds, on which things were decided, test seeds and others
apart. `--ask` leaves out signals that need more. Parts may run one after the other, or at once by several
processes, or as

    python run.py -m experiment=suite search=trusted model=suite_near,suite_distant model.prepare.seed=0,1

What is in the cache is not made again.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from racing import Race
from scipy.stats import spearmanr
from signal_plots import plot
from suite import DEVELOPMENT, NEEDS, TEST, Pair, group_of, observe_all, regimes_of, strategy

from adamms.engines.answer import Answer
from adamms.errors import check_choice
from adamms.merge.candidate import Candidate
from adamms.resampling import Array
from adamms.search.choice import Choice
from adamms.search.difference import Difference, ExactMatch
from adamms.search.evidence import CONTROL, DISTURBED, DONORS, PARENTS, SURENESS, Evidence
from adamms.search.signals.consistency import Consistency, NeighbourDivergence
from adamms.search.signals.signal import Signal
from adamms.search.strategy import Strategy

FAILURE = 5.0  # points of regret
PAPER, RECOMMENDED = "consistency, sum (paper)", "search=trusted"
# Row of the table -> overrides that choose the signal.
SIGNALS: Mapping[str, tuple[str, ...]] = {
    PAPER: ("search/signal=consistency",),
    "consistency, either": ("search/signal=consistency", "search.signal.rule=either"),
    "consistency, previous": ("search/signal=consistency", "search.signal.rule=previous"),
    "basin": ("search/signal=basin",),
    "neighbours' divergence": ("search/signal=neighbour_divergence",),
    "log-probability": ("search/signal=log_probability",),
    "probability": ("search/signal=probability",),
    "entropy": ("search/signal=entropy",),
    "stability": ("search/signal=stability",),
    "vote": ("search/signal=vote", "search.signal.weighted=false"),
    "vote, weighted": ("search/signal=vote",),
    "disagreement": ("search/signal=disagreement",),
    "surest parent": ("search/signal=surest_parent",),
    "parents' divergence": ("search/signal=parents_divergence",),
    "beyond the control": ("search/signal=beyond_control", "evaluate.control=true"),
}
# Those that compare neighbours say nothing of the ends, as in the paper.
INTERIOR = (Consistency, NeighbourDivergence)
# Signals that are raced, by the row of the table.
RACED = {"probability": "probability", "consistency": PAPER}
BINS = (0.0, 0.5, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True)
class Smoothed(Consistency):
    """The mean over a candidate and its neighbours, cut at the ends, which count although they cannot win."""

    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        found = super().differences(evidence, examples, difference)
        return np.stack([found[max(0, place - 1) : place + 2].mean(axis=0) for place in range(len(found))])


def signals(asked: Sequence[str]) -> dict[str, Signal]:
    """All that are compared, but for the recommended one.

    Args:
        asked: what is there beside the candidates' answers; signals that need more are left out.
    """
    found = {name: strategy(*overrides).signal for name, overrides in SIGNALS.items()}
    found["consistency, smoothed"] = Smoothed("sum")
    return {name: signal for name, signal in found.items() if set(signal.needs) <= {*asked, DONORS, SURENESS}}


@dataclass(frozen=True)
class Finding:
    """A signal on a pair: regret in points, rank correlation with accuracy, what a search has to generate."""

    regret: float
    correlation: float
    answers: int
    tokens: int


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


def choose(selector: Strategy, pair: Pair) -> tuple[Choice, float]:
    """Its choice over all examples, and the share of the answers of the whole grid that it needed."""
    ask = Recorded(pair.evidence)
    choice = selector.choose(ask, pair.evidence.order, pair.tasks).overall
    return choice, asked_share(ask, pair, PARENTS in selector.needs)


def asked_share(ask: Recorded, pair: Pair, parents: bool) -> float:
    """The share of the answers of the whole grid, and of the donors if they count, that were asked."""
    donors, count = len(pair.evidence.donors) if parents else 0, len(pair.examples)
    return (len(ask.asked) + donors * count) / ((len(pair.evidence.candidates) + donors) * count)


def regret(pair: Pair, candidate: Candidate) -> float:
    """Points below the best of the grid."""
    return float(pair.accuracy.max() - pair.accuracy[pair.evidence.order.index(candidate)])


def judge(signal: Signal, pair: Pair) -> Finding:
    """What the signal's choice, the lowest of the best candidates, loses."""
    held = signal.differences(pair.evidence, pair.examples, ExactMatch()).sum(axis=1)
    allowed = np.ones(len(held), dtype=bool)
    if isinstance(signal, INTERIOR):
        allowed[[0, -1]] = False
    choice = int(np.where(allowed, held, np.inf).argmin())
    found = spearmanr(-held[allowed], pair.accuracy[allowed]).statistic if held[allowed].std() else 0.0
    generated = _generated(signal, pair.evidence)
    return Finding(
        float(pair.accuracy.max() - pair.accuracy[choice]),
        float(found),
        len(generated),
        sum(len(answer.tokens) for answer in generated),
    )


def _generated(signal: Signal, evidence: Evidence) -> list[Answer]:
    """What a search with this signal generates; the target is the candidate of alpha 0."""
    models = [*evidence.candidates.values()]
    models += evidence.donors.values() if PARENTS in signal.needs else ()
    models += evidence.control.values() if CONTROL in signal.needs else ()
    models += evidence.disturbed.values() if DISTURBED in signal.needs else ()
    return [answer for answers in models for answer in answers.values()]


def show_signals(pairs: Sequence[Pair], selector: Strategy, asked: Sequence[str]) -> None:
    header = (
        f"{'signal':26} {'mean':>6} {'worst':>6} {'failures':>9} {'spearman':>9} {'answers':>8} {'tokens':>8}"
    )
    print(header)
    for name, signal in (signals(asked) | {RECOMMENDED: selector.signal}).items():
        found = [judge(signal, pair) for pair in pairs]
        answers = np.mean([(one.answers, one.tokens) for one in found], axis=0)
        regrets, rank = [one.regret for one in found], np.mean([one.correlation for one in found])
        if name == RECOMMENDED:
            chosen = [choose(selector, pair) for pair in pairs]
            regrets = [regret(p, choice.candidate) for p, (choice, _) in zip(pairs, chosen, strict=True)]
            answers *= np.mean([share for _, share in chosen])
        failures = sum(value > FAILURE for value in regrets)
        print(
            f"{name:26} {np.mean(regrets):6.2f} {max(regrets):6.1f} {failures:5d}/{len(pairs):3d} "
            f"{rank:9.2f} {answers[0]:8.0f} {answers[1]:8.0f}"
        )


def show_regimes(pairs: Sequence[Pair], selector: Strategy) -> None:
    print(f"\n{'mean and worst regret':22}{'paper':>14}{'search=trusted':>17}")
    for regime in dict.fromkeys(pair.regime for pair in pairs):
        part = [pair for pair in pairs if pair.regime == regime]
        paper = [judge(Consistency("sum"), pair).regret for pair in part]
        own = [regret(pair, choose(selector, pair)[0].candidate) for pair in part]
        print(f"{regime:22}{np.mean(paper):8.1f}{max(paper):6.1f}{np.mean(own):11.1f}{max(own):6.1f}")


def show_spared(pairs: Sequence[Pair], selector: Strategy) -> None:
    """Over three seeds of what is drawn at random."""
    print(f"\n{'the same choice':36}{'runs':>9}{'answers':>9}{'at most':>9}")
    same: dict[str, list[bool]] = {}
    shares: dict[str, list[float]] = {}

    def count(name: str, alike: bool, share: float) -> None:
        same.setdefault(name, []).append(alike)
        shares.setdefault(name, []).append(share)

    once = replace(selector, resamples=1)
    raced = {f"race, signal: {name}": strategy(*SIGNALS[row]).signal for name, row in RACED.items()}
    for pair in pairs:
        whole = choose(replace(once, bisection=None), pair)[0].candidate
        alone = {
            name: choose(replace(once, signal=signal, bisection=None), pair)[0].candidate
            for name, signal in raced.items()
        }
        for seed in range(3):
            choice, share = choose(replace(once, seed=seed), pair)
            count(RECOMMENDED, choice.candidate == whole, share)
            for name, signal in raced.items():
                ask = Recorded(pair.evidence)
                winner = Race(seed=seed).run(ask, signal, pair.evidence.order, pair.examples)
                count(name, winner == alone[name], asked_share(ask, pair, PARENTS in signal.needs))
    for name, found in same.items():
        row = f"{sum(found):5d}/{len(found):3d}{np.mean(shares[name]):9.3f}{max(shares[name]):9.3f}"
        print(f"{name:36}{row}")


def reliability(pairs: Sequence[Pair], selector: Strategy) -> list[tuple[float, bool]]:
    """(stated probability, whether it came true) of every choice: over all examples, and per task.

    A task's accuracy is not in a `Pair`, so only the choice over all counts.
    """
    found = []
    for pair in pairs:
        choice, _ = choose(selector, pair)
        assert choice.trust is not None
        found.append((choice.trust.probability, regret(pair, choice.candidate) <= choice.trust.tolerance))
    return found


def show_reliability(pairs: Sequence[Pair], selector: Strategy) -> None:
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
    parser.add_argument("--regimes", default="words", help="or the groups: words, long")
    parser.add_argument("--seeds", default="0,1,11,12,13")
    parser.add_argument("--samples", type=int, help="unlabelled examples per task; default: the regime's")
    parser.add_argument("--ask", default=",".join(NEEDS), help="beside the candidates' answers")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--plots", type=Path, help="a folder for pictures")
    arguments = parser.parse_args()
    regimes = regimes_of(arguments.regimes)
    for need in arguments.ask.split(","):
        check_choice("--ask", need, NEEDS)
    selector = strategy("search=trusted")
    asked = sorted({*arguments.ask.split(","), *selector.needs})
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    pairs = list(observe_all(regimes, seeds, arguments.samples, asked, arguments.jobs))
    for title in sorted({_title(pair) for pair in pairs}):
        part = [pair for pair in pairs if _title(pair) == title]
        print(f"\n{title}: {len(part)} pairs\n")
        show_signals(part, selector, asked)
        for table in (show_regimes, show_spared, show_reliability):
            table(part, selector)
        if arguments.plots is not None:
            choices = [choose(selector, pair)[0].candidate for pair in part]
            papers = [_paper(pair) for pair in part]
            plot(
                arguments.plots / title.replace(", ", "_").replace(" ", "_"),
                part,
                papers,
                choices,
                reliability(part, selector),
            )


def _title(pair: Pair) -> str:
    """Of the tables that it belongs to."""
    group = group_of(pair.regime)
    known = {"development": DEVELOPMENT[group], "test": TEST[group]}
    kind = next((name for name, seeds in known.items() if pair.seed in seeds), "other")
    return f"{group}, {kind} seeds"


def _paper(pair: Pair) -> Candidate:
    held = Consistency("sum").differences(pair.evidence, pair.examples, ExactMatch()).sum(axis=1)
    return pair.evidence.order[1 + int(held[1:-1].argmin())]


if __name__ == "__main__":
    main()
