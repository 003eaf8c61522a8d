"""Why search at all? What coefficients are worth that need no answers, or other signals than the recommended.

    python tests/benchmarks/rivals.py --layers
    python tests/benchmarks/rivals.py --regimes near,distant --seeds 0,1

On the pairs of `suite`: fixed alphas, NAN, MetaGPT and LiNeS, which ask nothing; entropy as AdaMerging
minimises it, and Expert Merging's alignment on ten inputs of each task, both without gradients, on the grid
and, with --layers, with a coefficient for each layer; the paper's rule and search=trusted. For each the mean
regret in points against the best alpha of the grid (below 0 where none is as good), its standard error over
the pairs, the worst, failures (more than 5 points), and what was asked to choose. Labels are read for the
regret alone. What is in the cache is not made again: where `signals.py` was run, a pair takes 20 to 25 s of
one core, and 45 to 60 s with --layers.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import StringIO

from suite import (
    COSTS,
    GROUPS,
    LOSSES,
    arguments,
    configured,
    group_of,
    losses,
    mean_costs,
    observe,
    of_all,
)

from adamms.app.asker import Asker
from adamms.app.donors import ask_donors
from adamms.app.live import live
from adamms.app.modes.common import map_models
from adamms.app.questions import Questions, load_questions
from adamms.app.settings import Run
from adamms.demo.models import LAYERS
from adamms.engines.answer import texts
from adamms.evaluate.score import score_tasks
from adamms.merge.candidate import Candidate
from adamms.report.console import Console
from adamms.report.cost import Cost

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
    """What rivals are worth on a pair.

    Args:
        lost: row of the table -> points below the best alpha of the grid, on all labelled examples by the
            regime's scorer.
        costs: row -> what was asked to choose.
    """

    regime: str
    lost: Mapping[str, float]
    costs: Mapping[str, Cost]


def outcome(rows: Mapping[str, Sequence[str]], regime: str, seed: int) -> Outcome:
    """Have all of them choose, in silence, and look at the labels then."""
    best = observe(None, (), regime, seed).accuracy.max()
    found = {name: _chosen(overrides, name not in FIXED, regime, seed) for name, overrides in rows.items()}
    lost = {name: float(best - accuracy) for name, (accuracy, _) in found.items()}
    return Outcome(regime, lost, {name: cost for name, (_, cost) in found.items()})


def _chosen(overrides: Sequence[str], searches: bool, regime: str, seed: int) -> tuple[float, Cost]:
    """The accuracy of what is chosen, in percent, and what was asked for the choice."""
    donors = len(configured(regime, seed).models.donors)
    run = configured(regime, seed, *(text.replace(EQUAL, repr(donors / (donors + 1))) for text in overrides))
    questions = load_questions(run, Console(file=StringIO()))
    with _asker(run, questions, searches) as asker:
        winner, cost = Candidate(run.merge.alpha), Cost(0, 0)
        if searches:
            winner = run.strategy.choose(asker, run.grid, questions.searched).overall.candidate
            cost = asker.cost
        asker.fill("labelled", asker.answers, [winner], asker.merges.at, questions.labelled)
    assert run.scorer is not None
    said = texts(asker.answers[winner])
    return score_tasks(run.scorer, questions.data.answers, questions.data.examples, said).mean, cost


@contextmanager
def _asker(run: Run, questions: Questions, searches: bool) -> Iterator[Asker]:
    """All that can be asked; the donors were already, if the search looks at their answers."""
    console, inputs = Console(file=StringIO()), questions.inputs
    merges = map_models(run, console).measured(run.grid if searches else [], console.stage)
    donors = ask_donors(run, console, merges, inputs) if searches else {}
    with live(run, console, merges.models.target) as engine:
        by_id = {example.id: example for example in inputs}
        yield Asker(console, merges, engine, by_id, run.strategy.needs, donors, run.cache / "disturbed")


def show(found: Sequence[Outcome]) -> None:
    print(f"{'':22}{LOSSES}{COSTS}")
    for name in found[0].lost:
        lost, costs = [one.lost[name] for one in found], [one.costs[name] for one in found]
        print(f"{name:22}{losses(lost)}{mean_costs(costs)}")
    print(f"{'oracle (labels)':22}{losses([0.0 for _ in found])}")


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--layers", action="store_true", help="also search a coefficient for each layer")
    chosen = parser.parse_args()
    rows = {**FIXED, **SEARCHES, **(SEARCHES_PER_LAYER if chosen.layers else {})}
    found = of_all(partial(outcome, rows), chosen.regimes, chosen.seeds, chosen.jobs)
    for group in GROUPS:
        if part := [one for one in found if group_of(one.regime) == group]:
            print(f"\n{group}: {len(part)} pairs\n")
            show(part)


if __name__ == "__main__":
    main()
