"""The suite: controlled pairs in different regimes, several seeds of each, and all that searches ask them.

Trains (or finds in the cache) the pairs of `conf/model/suite_*.yaml` and has their questions answered along
the grid, by the parents and, if asked for, by the control without a donor and with disturbed images. Answers
are kept in the store, so parts may run one after the other or at once: what is there is not made again.
Regimes named `long_...` answer in sentences, the others in one word.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import StringIO
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir

from adamms.app.asker import Answers, Asker, live
from adamms.app.donors import ask_donor
from adamms.app.modes.common import map_models
from adamms.app.questions import load_questions
from adamms.app.settings import Run, read
from adamms.data.example import Dataset
from adamms.engines.answer import texts
from adamms.errors import check_choice
from adamms.evaluate.score import score_tasks
from adamms.evaluate.scorers import Scorer
from adamms.report.console import Console
from adamms.search.evidence import CONTROL, DISTURBED, PARENTS, TOKENS, Evidence
from adamms.search.strategy import Strategy

CONF = Path(__file__).resolve().parents[2] / "conf"
REGIMES = tuple(sorted(file.stem.removeprefix("suite_") for file in (CONF / "model").glob("suite_*.yaml")))
GROUPS = {
    "words": tuple(regime for regime in REGIMES if not regime.startswith("long_")),
    "long": tuple(regime for regime in REGIMES if regime.startswith("long_")),
}
# What was decided, was decided on the first; what is reported, is of the others.
DEVELOPMENT = {"words": tuple(range(11)), "long": (0, 1)}
TEST = {"words": (11, 12, 13), "long": (2, 3, 4, 5)}
# What is asked beside the candidates' answers, unless it is named.
NEEDS = (PARENTS, CONTROL, DISTURBED, TOKENS)


def regimes_of(text: str) -> list[str]:
    """The regimes that `--regimes` names, one by one or as groups.

    Raises:
        AdammsError: a name of neither.
    """
    names = text.split(",")
    for name in names:
        check_choice("--regimes", name, [*GROUPS, *REGIMES])
    return [regime for name in names for regime in GROUPS.get(name, (name,))]


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
        needs: what is asked beside the candidates' answers.
    """
    chosen = [] if samples is None else [f"search.samples={samples}"]
    console, run = Console(file=StringIO()), configured(regime, seed, *chosen)
    questions, merges = load_questions(run, console), map_models(run, console)
    inputs, candidates = questions.inputs, list(run.grid)
    donors = {name: ask_donor(run, console, merges, name, "search", inputs) for name in merges.models.donors}
    with live(run, merges.models.target) as engine:
        by_id, folder = {example.id: example for example in inputs}, run.cache / "disturbed"
        asker = Asker(console, merges, engine, by_id, needs, donors, folder)
        evidence = asker(candidates, [example.id for example in inputs])
        asker.fill("labelled", asker.answers, candidates, merges.at, questions.labelled)
    assert run.scorer is not None
    accuracy = _accuracy(run.scorer, asker.answers, questions.data)
    return Pair(regime, seed, evidence, questions.searched, accuracy)


def observe_all(
    regimes: Sequence[str], seeds: Sequence[int], samples: int | None, needs: Sequence[str], jobs: int
) -> Iterator[Pair]:
    """Every regime and seed, in `jobs` processes of one thread each; says when one is done.

    Pairs of one seed have stages in common, so those made at once are of different seeds: none trains a stage
    that another is training.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch starts in them
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        at_once = [seeds[start : start + jobs] for start in range(0, len(seeds), jobs)]
        both = [pair for some in at_once for pair in product(regimes, some)]
        for pair in pool.map(partial(observe, samples, needs), *zip(*both, strict=True)):
            along = " ".join(f"{value:5.1f}" for value in pair.accuracy)
            print(f"{pair.regime:>17} {pair.seed}  {along}", flush=True)
            yield pair


def _accuracy(scorer: Scorer, answers: Answers, data: Dataset) -> np.ndarray:
    """Over all examples, which every task has as many of."""
    given = [texts(answers[candidate]) for candidate in sorted(answers)]
    return np.array([score_tasks(scorer, data.answers, data.examples, one).mean for one in given])
