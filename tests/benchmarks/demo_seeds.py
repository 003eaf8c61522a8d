"""What the demo is worth over several seeds: the table behind the README's claim.

    python tests/benchmarks/demo_seeds.py --seeds 5 [--sweep FOLDER] [-- OVERRIDE ...]

Trains (or finds in the cache) one pair per seed, runs the whole search on each as one multirun, and
prints for every seed: both parents, the model at the alpha chosen without labels, the best alpha of
the grid by labels, and the best of the control (target and ancestor, no donor).
"""

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import astuple, dataclass, fields
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Row:
    """Mean accuracy over all skills in percent; alphas as shares of the donor; regret in points."""

    seed: int
    target: float
    donor: float
    alpha: float
    chosen: float
    best_alpha: float
    best: float
    control: float
    gain: float
    over_control: float
    regret: float


def row(seed: int, folder: Path) -> Row:
    selection = json.loads((folder / "selection.json").read_text())
    evaluation = json.loads((folder / "evaluation.json").read_text())
    scores = {float(alpha): value["mean"] for alpha, value in evaluation["candidates"].items()}
    control = max(value["mean"] for value in evaluation["control"].values())
    (donor,) = (scores["mean"] for scores in evaluation["donors"].values())
    alpha, best = selection["overall"]["alpha"], evaluation["oracle"]
    return Row(
        seed=seed,
        target=scores[0.0],
        donor=donor,
        alpha=alpha,
        chosen=scores[alpha],
        best_alpha=best,
        best=scores[best],
        control=control,
        gain=scores[alpha] - max(scores[0.0], donor),
        over_control=scores[alpha] - control,
        regret=scores[best] - scores[alpha],
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sweep", type=Path, default=Path("multirun/demo_seeds"))
    parser.add_argument("overrides", nargs="*", help="further overrides of run.py")
    arguments = parser.parse_args()
    seeds = ",".join(map(str, range(arguments.seeds)))
    sweep = arguments.sweep.resolve()
    subprocess.run(
        [
            *(sys.executable, str(ROOT / "run.py"), "-m", f"model.prepare.seed={seeds}"),
            *(f"hydra.sweep.dir={sweep}", *arguments.overrides),
        ],
        check=True,
    )
    rows = [row(seed, sweep / str(seed)) for seed in range(arguments.seeds)]
    print("".join(f"{field.name:>13}" for field in fields(Row)))
    for one in rows:
        print(
            "".join(f"{value:13g}" if isinstance(value, int) else f"{value:13.2f}" for value in astuple(one))
        )
    means = [statistics.mean(values) for values in zip(*map(astuple, rows), strict=True)]
    print(f"{'mean':>13}" + "".join(f"{value:13.2f}" for value in means[1:]))


if __name__ == "__main__":
    main()
