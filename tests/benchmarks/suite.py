"""The suite: controlled pairs in different regimes, several seeds of each, and all that searches ask them.

Trains (or finds in the cache) the pairs of `conf/model/suite_*.yaml` and has their questions answered along
the grid, by the parents and, if asked for, by the control without a donor and with disturbed images. Answers
are kept in the store, so parts may run one after the other or at once: what is there is not made again.
Regimes named `long_...` answer in sentences, the others in one word. What all that is measured here has in
common: arguments, and the columns that say what choices lose and cost.
"""

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import StringIO
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import numpy as np
from hydra import compose, initialize_config_dir

from adamms.app.asker import Answers, Asker
from adamms.app.donors import ask_donor
from adamms.app.live import live
from adamms.app.modes.common import map_models
from adamms.app.questions import load_questions
from adamms.app.settings import Run, read
from adamms.data.example import Dataset
from adamms.engines.answer import texts
from adamms.errors import AdammsError, check_choice
from adamms.evaluate.score import score_tasks
from adamms.evaluate.scorers import Scorer
from adamms.report.console import Console
from adamms.report.cost import Cost
from adamms.search.evidence import CONTROL, DISTURBED, PARENTS, SCORES, SCORES_OF_ALL, TOKENS, Evidence
from adamms.search.strategy import Strategy

T = TypeVar("T")

CONF = Path(__file__).resolve().parents[2] / "conf"
REGIMES = tuple(sorted(file.stem.removeprefix("suite_") for file in (CONF / "model").glob("suite_*.yaml")))
GROUPS = {
    "words": tuple(regime for regime in REGIMES if not regime.startswith("long_")),
    "long": tuple(regime for regime in REGIMES if regime.startswith("long_")),
}
# What was decided, was decided on the first; what is reported, is of the others.
DEVELOPMENT = {"words": tuple(range(22)), "long": tuple(range(26))}
TEST = {"words": (22,), "long": (26,)}
# What may be asked beside the candidates' answers.
NEEDS = (PARENTS, CONTROL, DISTURBED, TOKENS, SCORES, SCORES_OF_ALL)
FAILURE = 5.0  # points of regret
LOSSES = f"{'mean':>7}{'se':>6}{'worst':>7}{'failures':>10}"
COSTS = f"{'answers':>9}{'tokens':>9}{'scored':>9}"


def arguments(description: str | None) -> argparse.ArgumentParser:
    """With the arguments that choose pairs."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=form)
    parser.add_argument(
        "--regimes",
        default="words,long",
        type=some_of([*GROUPS, *REGIMES]),
        help="groups of regimes, or regimes",
    )
    parser.add_argument("--seeds", type=numbers, help="e.g. 0,1; default: the test seeds of each group")
    parser.add_argument("--jobs", type=int, default=2, help="processes, each for other seeds")
    return parser


def some_of(known: Sequence[str]) -> Callable[[str], list[str]]:
    """The type of an argument that names some of these, with commas between them."""

    def parsed(text: str) -> list[str]:
        names = text.split(",")
        try:
            for name in names:
                check_choice("one of the names", name, known)
        except AdammsError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        return names

    return parsed


def numbers(text: str) -> list[int]:
    return [int(seed) for seed in text.split(",")]


def group_of(regime: str) -> str:
    """A name in GROUPS."""
    return next(name for name, regimes in GROUPS.items() if regime in regimes)


@dataclass(frozen=True, eq=False)  # one is itself alone, so that what is found of it can be remembered
class Pair:
    """One regime, one seed: what the search saw, and what labels say.

    Args:
        evidence: over the examples of the search.
        tasks: task -> their ids.
        accuracy: of every candidate on all labelled examples by the regime's scorer, in percent; in the
            grid's order.
    """

    regime: str
    seed: int
    evidence: Evidence
    tasks: Mapping[str, Sequence[str]]
    accuracy: np.ndarray

    @property
    def examples(self) -> list[str]:
        return [example for ids in self.tasks.values() for example in ids]


def configured(regime: str, seed: int, *overrides: str) -> Run:
    """The search on that pair."""
    experiment = regime if regime in GROUPS["long"] else "suite"
    own = [f"model=suite_{regime}", f"model.prepare.seed={seed}", f"experiment={experiment}", *overrides]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return read(compose("config", overrides=[*own, "output=unused", "search.logprobs=10"]))


def strategy(*overrides: str) -> Strategy:
    """The search that these overrides choose, e.g. "search=trusted", "search/signal=entropy"."""
    return configured(REGIMES[0], 0, *overrides).strategy


def observe(samples: int | None, needs: Sequence[str], regime: str, seed: int) -> Pair:
    """Have it all answered, in silence.

    Args:
        samples: examples per task that the search looks at; the regime's own number by default.
        needs: what is asked beside the candidates' answers, some of NEEDS.
    """
    chosen = [] if samples is None else [f"search.samples={samples}"]
    console, run = Console(file=StringIO()), configured(regime, seed, *chosen)
    questions, merges = load_questions(run, console), map_models(run, console)
    inputs, candidates = questions.inputs, list(run.grid)
    donors = {name: ask_donor(run, console, merges, name, "search", inputs) for name in merges.models.donors}
    with live(run, console, merges.models.target) as engine:
        by_id, folder = {example.id: example for example in inputs}, run.cache / "disturbed"
        asker = Asker(console, merges, engine, by_id, needs, donors, folder)
        evidence = asker(candidates, [example.id for example in inputs])
        asker.fill("labelled", asker.answers, candidates, merges.at, questions.labelled)
    assert run.scorer is not None
    accuracy = _accuracy(run.scorer, asker.answers, questions.data)
    return Pair(regime, seed, evidence, questions.searched, accuracy)


def of_all(
    observed: Callable[[str, int], T], names: Sequence[str], seeds: Sequence[int] | None, jobs: int
) -> list[T]:
    """What is found of every regime and seed, in `jobs` processes of one thread each; says when one is done.

    Pairs of one seed have stages in common, so one process makes them one after the other: none trains a
    stage that another is training.

    Args:
        observed: regime, seed -> what is found.
        names: of groups or regimes.
        seeds: None for the test seeds of each group.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch starts in them
    named = [regime for name in names for regime in GROUPS.get(name, (name,))]
    parts = [
        (part, seed)
        for name, group in GROUPS.items()
        if (part := [regime for regime in named if regime in group])
        for seed in (seeds or TEST[name])
    ]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        return [
            one for part in pool.map(partial(_of_seed, observed), *zip(*parts, strict=True)) for one in part
        ]


def _of_seed(observed: Callable[[str, int], T], regimes: Sequence[str], seed: int) -> list[T]:
    found = []
    for regime in regimes:
        begun, worked = time.monotonic(), time.process_time()
        found.append(observed(regime, seed))
        took = f"{time.monotonic() - begun:5.0f} s, {time.process_time() - worked:5.0f} s of one core"
        print(f"{regime:>17} {seed:3d}: {took}", flush=True)
    return found


def losses(lost: Sequence[float]) -> str:
    """Regrets of several pairs in points, as LOSSES names them; the standard error is that of the mean."""
    failures = f"{sum(value > FAILURE for value in lost)}/{len(lost)}"
    error = np.std(lost, ddof=1) / np.sqrt(len(lost)) if len(lost) > 1 else np.nan
    return f"{np.mean(lost):7.2f}{error:6.2f}{max(lost):7.1f}{failures:>10}"


def mean_costs(costs: Sequence[Cost]) -> str:
    """What was asked for a choice, as COSTS names it."""
    asked = np.mean([(cost.answers, cost.tokens or 0, cost.scored_tokens) for cost in costs], axis=0)
    return "".join(f"{value:9.0f}" for value in asked)


def _accuracy(scorer: Scorer, answers: Answers, data: Dataset) -> np.ndarray:
    """Over all examples, which every task has as many of."""
    given = [texts(answers[candidate]) for candidate in sorted(answers)]
    return np.array([score_tasks(scorer, data.answers, data.examples, one).mean for one in given])
