"""What came out of the benchmark on a real language model: accuracies, searches, seconds as text, and a plot.

Reads what the runs left (result.json, plan.json). Knows nothing of how models were made.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from adamms.report.result import Result
from adamms.report.words import estimate

EXACT, F1 = "paper", "trusted"  # whose run has these scores of all models
Runs = Mapping[tuple[str, str], Result]


def table(
    maps: Mapping[str, Path],
    runs: Mapping[tuple[str, str], Path],
    seconds: Mapping[str, float],
    grid: int,
) -> str:
    """The report.

    Args:
        maps: "map" and "discover" -> their output folders.
        runs: (engine, search) -> the output folder of that search.
        seconds: stage -> wall time.
        grid: how many alphas.
    """
    results = read(runs)
    engines = list(dict.fromkeys(engine for engine, _ in results))
    parts = ["\n".join(_plans(maps))]
    for engine in engines:
        parts.append(f"engine={engine}, percent\n" + _text(_scores(results, engine)))
    parts += [_text([_search(results, grid, *key) for key in results]), "\n".join(_alike(results, engines))]
    times = [{"stage": stage, "wall seconds": f"{value:.0f}"} for stage, value in seconds.items()]
    parts.append(_text(times))
    return "\n\n".join(parts) + "\n"


def read(runs: Mapping[tuple[str, str], Path]) -> Runs:
    """The results of finished searches."""
    data = {key: json.loads((folder / "result.json").read_text()) for key, folder in runs.items()}
    return {key: Result.from_json(one) for key, one in data.items()}


def _text(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows under their keys, in columns that are aligned on the right."""
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.rjust, line, widths)) for line in lines)


def _plans(maps: Mapping[str, Path]) -> Iterator[str]:
    """Whether `mapper=discover` reads the same donor tensors as the map by names."""
    plans = {}
    for name, folder in maps.items():
        tensors = json.loads((folder / "plan.json").read_text())["tensors"]
        plans[name] = {one["name"]: json.dumps(_reads(one.get("donors", {}))) for one in tensors}
    merged = {name: sum(reads != "{}" for reads in plan.values()) for name, plan in plans.items()}
    different = [name for name, reads in plans["map"].items() if plans["discover"][name] != reads]
    found = f"{merged['map']} of {len(plans['map'])} by the map, {merged['discover']} by discovery"
    yield f"merged tensors: {found}"
    yield f"other correspondences by discovery: {len(different)}" + "".join(
        f"\n  {name}" for name in different
    )


def _reads(expression: object) -> object:
    """The donor's tensors in an expression, without rows: added tokens have no row in common anyway."""
    if isinstance(expression, dict):
        return {key: _reads(value) for key, value in expression.items() if key != "rows"}
    return expression


def _scores(results: Runs, engine: str) -> list[Mapping[str, str]]:
    """A row for each model: exact matches of each task, their mean, and the mean token F1."""
    exact, f1 = (results[engine, name].scored for name in (EXACT, F1))
    models = {f"alpha {one}": (own, f1.candidates[one]) for one, own in exact.candidates.items()}
    models |= {f"donor {name}": (own, f1.donors[name]) for name, own in exact.donors.items()}
    return [
        {"model": name, **{task: f"{value:.1f}" for task, value in own.tasks.items()}}
        | {"exact": estimate(own.estimate()), "token F1": estimate(partly.estimate())}
        for name, (own, partly) in models.items()
    ]


def _search(results: Runs, grid: int, engine: str, name: str) -> Mapping[str, str]:
    result = results[engine, name]
    choice = result.choices[None]
    return {
        "search": f"{engine}, {name}",
        "alpha": str(choice.candidate),
        "stated": "" if choice.trust is None else f"{choice.trust.probability:.2f}",
        "regret, exact": estimate(results[engine, EXACT].scored.regret(choice.candidate)),
        "regret, F1": estimate(results[engine, F1].scored.regret(choice.candidate)),
        "answers": "" if result.cost is None else str(result.cost.answers),
        "of the grid": str(grid * choice.examples),
        "by task": " ".join(str(own.candidate) for task, own in result.choices.items() if task is not None),
    }


def _alike(results: Runs, engines: Sequence[str]) -> Iterator[str]:
    """Whether two engines choose alike, and how many of their answers are the same."""
    for name in dict.fromkeys(name for _, name in results) if len(engines) == 2 else ():
        one, other = (results[engine, name] for engine in engines)
        pairs = list(zip(_answers(one), _answers(other), strict=True))
        same = sum(first == second for first, second in pairs) / len(pairs)
        chosen = [str(each.choices[None].candidate) for each in (one, other)]
        tasks = sum(one.winner(task) == other.winner(task) for task in one.tasks)
        yield (
            f"{name}: alpha {chosen[0]} with {engines[0]}, {chosen[1]} with {engines[1]}; the same for "
            f"{tasks} of {len(one.tasks)} tasks; {100 * same:.1f} % of {len(pairs)} answers are the same text"
        )


def _answers(result: Result) -> list[str]:
    return [one.texts[candidate] for one in result.answered for candidate in sorted(one.texts)]


def plot(folders: Mapping[tuple[str, str], Path], skills: Mapping[str, Sequence[str]], file: Path) -> None:
    """Accuracy along alpha of each model's skills and of all, with what the searches chose.

    Args:
        folders: (engine, search) -> the output folder of that search.
        skills: curve -> the tasks it is the mean of.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    results = read(folders)
    engines = list(dict.fromkeys(engine for engine, _ in results))
    figure, axes = plt.subplots(1, len(engines), figsize=(5 * len(engines), 3.2), squeeze=False, sharey=True)
    for axis, engine in zip(axes[0], engines, strict=True):
        scores = results[engine, EXACT].scored.candidates
        alphas = sorted(scores)
        for name, tasks in skills.items():
            curve = [sum(scores[one].tasks[task] for task in tasks) / len(tasks) for one in alphas]
            axis.plot([one.alpha for one in alphas], curve, label=name, marker=".")
        for name, style in ((EXACT, ":"), (F1, "--")):
            chosen = results[engine, name].choices[None].candidate
            axis.axvline(chosen.alpha, linestyle=style, color="black", linewidth=1, label=f"search: {name}")
        axis.set(title=f"engine={engine}", xlabel="alpha", ylim=(0, 100))
    axes[0][0].set_ylabel("exact match, %")
    axes[0][0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(file, dpi=110)
