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
from pathlib import Path

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from scipy.stats import spearmanr

from adamms.answering import Answers, ask, collect, open_engine, searched_and_labelled
from adamms.compose import build, compose_case
from adamms.data.disturbance import disturbed
from adamms.data.example import Dataset
from adamms.engines.answer import texts
from adamms.evaluate.scorers import ExactAccuracy
from adamms.grids import candidates_of
from adamms.search.candidates import subset
from adamms.search.evidence import Evidence, Signal
from adamms.search.signals.agreement import Agreement, SurestParent, Vote
from adamms.search.signals.confidence import LogProbability, NegativeEntropy, Probability
from adamms.search.signals.consistency import Consistency, NeighbourDivergence
from adamms.search.signals.stability import Stability
from adamms.search.signals.transfer import BeyondControl
from adamms.track.console import Console

CONF = Path(__file__).resolve().parents[2] / "conf"
REGIMES = tuple(sorted(file.stem.removeprefix("suite_") for file in (CONF / "model").glob("suite_*.yaml")))
FAILURE = 5.0  # points of regret
SIGNALS: Mapping[str, Signal] = {
    "consistency, sum (paper)": Consistency("sum"),
    "consistency, either": Consistency("either"),
    "consistency, previous": Consistency("previous"),
    "neighbours' divergence": NeighbourDivergence(),
    "log-probability": LogProbability(),
    "probability": Probability(),
    "entropy": NegativeEntropy(),
    "stability": Stability(),
    "vote": Vote(weighted=False),
    "vote, weighted": Vote(),
    "agreement": Agreement(),
    "surest parent": SurestParent(),
    "beyond the control": BeyondControl(),
}
# Those that compare neighbours say nothing of the ends, as in the paper.
INTERIOR = (Consistency, NeighbourDivergence)


@dataclass(frozen=True)
class Pair:
    """One regime, one seed: what the search saw, and what labels say.

    Args:
        evidence: over the examples of the search.
        examples: their ids.
        accuracy: of every candidate on all labelled examples, in percent; in the grid's order.
    """

    regime: str
    seed: int
    evidence: Evidence
    examples: Sequence[str]
    accuracy: np.ndarray


@dataclass(frozen=True)
class Finding:
    """A signal on a pair: regret in points, rank correlation with accuracy, answers that a search needs."""

    regret: float
    correlation: float
    answers: int


def configured(regime: str, seed: int) -> DictConfig:
    overrides = [
        f"model=suite_{regime}",
        "experiment=demo",
        f"model.prepare.seed={seed}",
        f"data.seed={seed}",
    ]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=[*overrides, "output=unused", "search.logprobs=10"])


def observe(regime: str, seed: int, samples: int, console: Console) -> Pair:
    config = configured(regime, seed)
    case, data = compose_case(config, console), build(config.data).load()
    searched = subset([(e.id, e.task) for e in data.examples], samples, seed)
    examples, _ = searched_and_labelled(data, searched)
    changed = [disturbed(example, Path(config.cache) / "disturbed") for example in examples]
    candidates = candidates_of(config)
    recipes = {candidate: case.at(candidate).recipe() for candidate in candidates}
    control = {candidate: case.at(candidate).control_recipe() for candidate in candidates}
    with open_engine(config, config.model.target, case.target.checkpoint) as engine:
        answers = ask(console, f"{regime} {seed}", engine, recipes, data.examples)
        harmless = ask(console, f"{regime} {seed} disturbed", engine, recipes, changed)
        without = ask(console, f"{regime} {seed} control", engine, control, examples)
    donors = {}
    for name, donor in case.donors.items():
        with open_engine(config, config.model.donors[name], donor.checkpoint) as engine:
            donors[name] = collect(engine, examples, lambda _: None)
    seen = [example.id for example in examples]
    evidence = Evidence(_only(answers, seen), donors, without, harmless)
    return Pair(regime, seed, evidence, seen, _accuracy(answers, data))


def _only(answers: Answers, examples: Sequence[str]) -> Answers:
    return {c: {example: given[example] for example in examples} for c, given in answers.items()}


def _accuracy(answers: Answers, data: Dataset) -> np.ndarray:
    score = ExactAccuracy()
    return np.array([score(texts(answers[candidate]), data.answers) for candidate in sorted(answers)])


def judge(signal: Signal, pair: Pair) -> Finding:
    """What the signal's choice, the lowest of the best candidates, loses."""
    scores = signal.contributions(pair.evidence, pair.examples).mean(axis=1)
    allowed = np.ones(len(scores), dtype=bool)
    if isinstance(signal, INTERIOR):
        allowed[[0, -1]] = False
    choice = int(np.where(allowed, scores, -np.inf).argmax())
    found = spearmanr(scores[allowed], pair.accuracy[allowed]).statistic if scores[allowed].std() else 0.0
    return Finding(
        float(pair.accuracy.max() - pair.accuracy[choice]), float(found), _answers(signal, pair.evidence)
    )


def _answers(signal: Signal, evidence: Evidence) -> int:
    """How many a search with this signal generates."""
    each = len(next(iter(evidence.candidates.values())))
    models = len(evidence.candidates)
    models += len(evidence.donors) if "donors" in signal.needs else 0
    models += sum(len(getattr(evidence, name)) for name in ("control", "disturbed") if name in signal.needs)
    return models * each


def show(pairs: Sequence[Pair]) -> None:
    for pair in pairs:
        along = " ".join(f"{value:5.1f}" for value in pair.accuracy)
        print(f"{pair.regime:>14} {pair.seed}  {along}")
    print(f"\n{'signal':26} {'mean':>6} {'worst':>6} {'failures':>9} {'spearman':>9} {'answers':>8}")
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
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--samples", type=int, default=50, help="unlabelled examples per task")
    arguments = parser.parse_args()
    unknown = set(arguments.regimes.split(",")) - set(REGIMES)
    if unknown:
        parser.error(f"unknown regimes {', '.join(sorted(unknown))}; there are {', '.join(REGIMES)}")
    console = Console()
    show(
        [
            observe(regime, int(seed), arguments.samples, console)
            for seed in arguments.seeds.split(",")
            for regime in arguments.regimes.split(",")
        ]
    )


if __name__ == "__main__":
    main()
