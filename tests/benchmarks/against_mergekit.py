"""Every method that mergekit and adamms both have: seconds, processor time and memory, in turns.

    python tests/benchmarks/against_mergekit.py --gb 3.3 --rounds 2 [--method linear,ties]

Merges Qwen2 models of one architecture, since mergekit can do no other: target and donor, and an ancestor
where the formula has one. mergekit has an environment of its own, which `make bench` makes, and runs on the
processor with its tensors read when needed. Both compute the same formula with mergekit's numbers, but each
draws its own random numbers. A run is a whole process, with the files in the page cache; see merge.py.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from merge import Contender, Measurement, adamms, run_all
from merge_models import Models, of_one_architecture

# `make bench` puts it there.
MERGEKIT = Path(sys.prefix) / "mergekit/bin/python"
SHARES = {"target": 0.7, "donor": 0.3}


@dataclass(frozen=True)
class Pair:
    """One method in both tools.

    Args:
        ours: of conf/merge.
        overrides: of ours, where its defaults are not mergekit's.
        parameters: mergekit's, of the merge.
        weighted: mergekit's method has a weight for each model.
        base: mergekit's base model; None for a method without.
    """

    ours: str
    overrides: Sequence[str] = ()
    parameters: Mapping[str, object] = field(default_factory=dict)
    weighted: bool = True
    base: str | None = "ancestor"


# mergekit's name -> both.
PAIRS = {
    "linear": Pair("linear", base=None),
    "slerp": Pair("slerp", (), {"t": 0.3}, weighted=False, base="target"),
    "karcher": Pair("karcher", ("merge.alpha=0.5",), weighted=False, base=None),
    "task_arithmetic": Pair("task_arithmetic"),
    "ties": Pair("ties_mergekit", (), {"density": 0.5}),
    "dare_linear": Pair("dare_linear", (), {"density": 0.5}),
    "dare_ties": Pair("dare_ties", ("merge.scaling=1", "merge.election=weighted"), {"density": 0.5}),
    "della": Pair("della", (), {"density": 0.7, "epsilon": 0.15}),
    "della_linear": Pair("della", ("merge.elect=false",), {"density": 0.7, "epsilon": 0.15}),
    "breadcrumbs": Pair("breadcrumbs", (), {"density": 0.85, "gamma": 0.01}),
    "breadcrumbs_ties": Pair("breadcrumbs", ("merge.elect=true",), {"density": 0.85, "gamma": 0.01}),
    "sce": Pair("sce", ("merge.alpha=0.5", "merge.density=0.5"), {"select_topk": 0.5}, weighted=False),
    "ram": Pair("ram", ("merge.alpha=0.5",), weighted=False),
    "ramplus_tl": Pair("ram", ("merge.alpha=0.5", "merge.boost=0.1", "merge.scope=tensor"), weighted=False),
    "model_stock": Pair("model_stock", ("merge.alpha=0.5", "merge.limit=false"), weighted=False),
    "nuslerp": Pair("nuslerp_task"),
    "multislerp": Pair("multislerp_task"),
    "arcee_fusion": Pair("arcee_fusion", ("merge.alpha=1",), weighted=False, base="target"),
}


def theirs(python: Path, name: str, models: Models, output: Path) -> Contender:
    """`mergekit-yaml` on the processor."""
    pair = PAIRS[name]
    folders = {"target": models.target, "donor": models.donor, "ancestor": models.ancestor}
    config: dict[str, object] = {
        "merge_method": name,
        "models": [
            {"model": str(folders[model])} | ({"parameters": {"weight": share}} if pair.weighted else {})
            for model, share in SHARES.items()
        ],
        "parameters": dict(pair.parameters),
        "dtype": "bfloat16",
    }
    if pair.base:
        config["base_model"] = str(folders[pair.base])
    file = output.with_name(f"{name}.yaml")
    file.write_text(json.dumps(config))
    options = ["--no-cuda", "--lazy-unpickle", "--no-copy-tokenizer", "--no-write-model-card", "--quiet"]
    command = [str(python), "-m", "mergekit.scripts.run_yaml", str(file), str(output), *options]
    reads = [folders[model] for model in dict.fromkeys([*SHARES, pair.base]) if model]
    return Contender(command, reads, models.target_gb, output)


def row(name: str, them: Sequence[Measurement], us: Sequence[Measurement]) -> str:
    """The quickest run of each, of which other work on the machine has taken the least."""
    ours, pair = PAIRS[name], (them, us)
    wall, cpu = ([min(getattr(run, what) for run in runs) for runs in pair] for what in ("wall", "cpu"))
    memory = [statistics.median(run.anonymous_gb for run in runs) for runs in pair]
    said = " ".join([ours.ours, *(override.removeprefix("merge.") for override in ours.overrides)])
    return (
        f"| `{name}` | `{said}` | {wall[0] / wall[1]:.1f} ({wall[0]:.1f} s to {wall[1]:.1f} s) "
        f"| {cpu[0] / cpu[1]:.1f} | {memory[0]:.2f} | {memory[1]:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gb", type=float, default=3.3, help="size of each model in GB")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the checkpoints go and stay; by default temporary")
    parser.add_argument("--method", default=",".join(PAIRS), help="mergekit's names; several with commas")
    parser.add_argument("--mergekit", type=Path, default=MERGEKIT, help="the python that has mergekit")
    arguments = parser.parse_args()
    if not arguments.mergekit.exists():
        parser.error(f"--mergekit: there is no {arguments.mergekit}; `make bench` makes {MERGEKIT}")
    rows = [
        "| mergekit | adamms | wall, times as fast | processor, times less | GB, mergekit | GB, adamms |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.folder or Path(temporary)).resolve()
        models, output = of_one_architecture(folder / "same", arguments.gb, ancestor=True), folder / "output"
        for name in arguments.method.split(","):
            contenders = {
                f"{name}, mergekit": theirs(arguments.mergekit.absolute(), name, models, output),
                f"{name}, adamms": adamms(models, PAIRS[name].ours, output, overrides=PAIRS[name].overrides),
            }
            rows.append(row(name, *run_all(contenders, arguments.rounds, folder).values()))
    print("\n".join(rows))


if __name__ == "__main__":
    main()
