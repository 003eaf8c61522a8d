"""Why search at all? What coefficients are worth that need no answers, or other signals than the recommended.

    python tests/benchmarks/rivals.py [--regimes near,distant] [--seeds 0,1] [--layers]
    python tests/benchmarks/rivals.py --regimes words,long --seeds 11,12,13 --layers

On the pairs of `suite`: fixed alphas, NAN, MetaGPT and LiNeS, which ask nothing; entropy as AdaMerging
minimises it, and Expert Merging's alignment on ten inputs of each task, both without gradients, on the grid
and, with --layers, with a coefficient for each layer; the paper's rule and search=trusted. For each the mean
regret in points against the best alpha of the grid (below 0 where none is as good), its standard error over
the pairs, the worst, failures (more than 5 points), and what was asked to choose. Labels are read for the
regret alone. What is in the cache is not made again.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import StringIO
from multiprocessing import get_context

import numpy as np
from suite import GROUPS, Pair, configured, group_of

from adamms.app.asker import Asker, live
from adamms.app.donors import ask_donors
from adamms.app.modes.common import map_models
from adamms.app.questions import Questions, load_questions
from adamms.app.settings import Run
from adamms.demo.models import LAYERS
from adamms.engines.answer import texts
from adamms.evaluate.score import score_tasks
from adamms.merge.candidate import Candidate
from adamms.report.console import Console
from adamms.report.cost import Cost

FAILURE = 5.0  # points of regret
# In overrides, the alpha that gives target and donors equal shares.
EQUAL = "EQUAL"
ENTROPY = ("search/signal=entropy", "search.signal.tokens=mean", "search.endpoints=both")
ALIGNMENT = ("search/signal=parents_alignment", "search.samples=10", "search.endpoints=both")
RULES = ", ".join(f"layer{i}: {{layers: [{i}, {i}], factor: 1}}" for i in range(LAYERS))
PER_LAYER = ("search=coefficients", f"merge.rules={{{RULES}}}")
# Row of the table -> overrides.
FIXED: Mapping[str, tuple[str, ...]] = {
    "alpha 0.5": ("merge.alpha=0.5",),
    "alpha 0.1 (paper)": ("merge.alpha=0.1",),
    "NAN": ("merge/schedule=norms", f"merge.alpha={EQUAL}"),
    "MetaGPT": ("merge=metagpt", f"merge.alpha={EQUAL}"),
    "LiNeS": ("merge/schedule=lines", "merge.alpha=1.0"),
}
SEARCHES: Mapping[str, tuple[str, ...]] = {
    "entropy": ENTROPY,
    "alignment, 10 inputs": ALIGNMENT,
    "paper's rule": (),
    "search=trusted": ("search=trusted",),
}
SEARCHES_PER_LAYER: Mapping[str, tuple[str, ...]] = {
    "entropy, per layer": (*PER_LAYER, *ENTROPY),
    "alignment, per layer": (*PER_LAYER, *ALIGNMENT),
}


@dataclass(frozen=True)
class Outcome:
    """What a rival chose is worth, and what it asked for that.

    Args:
        accuracy: on all labelled examples by the regime's scorer, in percent.
    """

    accuracy: float
    cost: Cost


def outcome(name: str, regime: str, seed: int) -> Outcome:
    """Have a row of the table choose on a pair, in silence, and look at the labels then."""
    donors = len(configured(regime, seed).models.donors)
    overrides = (FIXED | SEARCHES | SEARCHES_PER_LAYER)[name]
    run = configured(regime, seed, *(text.replace(EQUAL, repr(donors / (donors + 1))) for text in overrides))
    questions = load_questions(run, Console(file=StringIO()))
    with _asker(run, questions, searches=name not in FIXED) as asker:
        winner, cost = Candidate(run.merge.alpha), Cost(0, 0)
        if name not in FIXED:
            winner = run.strategy.choose(asker, run.grid, questions.searched).overall.candidate
            cost = asker.cost
        asker.fill("labelled", asker.answers, [winner], asker.merges.at, questions.labelled)
    assert run.scorer is not None
    said = texts(asker.answers[winner])
    scores = score_tasks(run.scorer, questions.data.answers, questions.data.examples, said)
    return Outcome(scores.mean, cost)


@contextmanager
def _asker(run: Run, questions: Questions, searches: bool) -> Iterator[Asker]:
    """All that can be asked; the donors were already, if the search looks at their answers."""
    console, inputs = Console(file=StringIO()), questions.inputs
    merges = map_models(run, console).measured(run.grid if searches else [], console.stage)
    donors = ask_donors(run, console, merges, inputs) if searches else {}
    with live(run, merges.models.target) as engine:
        by_id = {example.id: example for example in inputs}
        yield Asker(console, merges, engine, by_id, run.strategy.needs, donors, run.cache / "disturbed")


def show(pairs: Sequence[Pair], names: Sequence[str], jobs: int) -> None:
    """The table. The pairs are made already, so any may be looked at at once."""
    print(
        f"\n{'':22}{'mean':>7}{'se':>6}{'worst':>7}{'failures':>10}{'answers':>9}{'tokens':>9}{'scored':>9}"
    )
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for name in names:
            found = list(pool.map(partial(outcome, name), [p.regime for p in pairs], [p.seed for p in pairs]))
            lost = [pair.accuracy.max() - one.accuracy for pair, one in zip(pairs, found, strict=True)]
            costs = [one.cost for one in found]
            asked = np.mean([(c.answers, c.tokens or 0, c.scored_tokens) for c in costs], axis=0)
            failures = f"{sum(value > FAILURE for value in lost)}/{len(lost)}"
            error = np.std(lost, ddof=1) / np.sqrt(len(lost)) if len(lost) > 1 else np.nan
            row = f"{np.mean(lost):7.2f}{error:6.2f}{max(lost):7.1f}{failures:>10}"
            print(f"{name:22}{row}" + "".join(f"{value:9.0f}" for value in asked), flush=True)
    print(f"{'oracle (labels)':22}{0:7.2f}{0:6.2f}{0:7.1f}{f'0/{len(pairs)}':>10}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--regimes", default="words", help="or the groups: words, long")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--layers", action="store_true", help="also search a coefficient for each layer")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    arguments = parser.parse_args()
    regimes = regimes_of(arguments.regimes)
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    pairs = list(observe_all(regimes, seeds, None, (), arguments.jobs))
    names = [*FIXED, *SEARCHES, *(SEARCHES_PER_LAYER if arguments.layers else ())]
    for group in GROUPS:
        if part := [pair for pair in pairs if group_of(pair.regime) == group]:
            print(f"\n{group}: {len(part)} pairs")
            show(part, names, arguments.jobs)


if __name__ == "__main__":
    main()
