"""The tables and sentences of a comparison: what is shown of a multirun's searches, and what is marked.

The console and the page draw the same cells. Knows no files.
"""

from adamms.merge.candidate import short
from adamms.report import words
from adamms.report.comparison import Comparison, JobRow
from adamms.report.result import Result
from adamms.report.tables import Cell, Table, rows_of

MOST_KEYS = 2  # more of them are one column, 'a=1, b=2'
ADAMMS = "linear"


def overview(comparison: Comparison) -> Table | None:
    """A row per search: what it varies, what it chose, what that was worth; None if there is no search."""
    if not comparison.jobs:
        return None
    headings, texts = labels(comparison)
    labelled = bool(comparison.best)
    apart = labelled and _references(comparison) is None
    rows = [
        (*map(Cell, (str(job.number), *texts[job.number])), *_found(job, comparison, labelled, apart))
        for job in comparison.jobs
    ]
    columns = ["job", *headings, "chosen"]
    words_wide = len(columns)
    columns += ["mean", "per task", "oracle", "regret"] if labelled else []
    columns += ["D", "sure"]
    columns += ["target", "best donor"] if apart else []
    return Table(
        "The searches of this multirun" + (" (%, by labels that they never saw)" if labelled else ""),
        tuple(columns),
        tuple(rows),
        texts=words_wide,
        strong=frozenset(i for i, job in enumerate(comparison.jobs) if job.number in comparison.best),
    )


def _found(job: JobRow, comparison: Comparison, labelled: bool, apart: bool) -> list[Cell]:
    """What a search chose, its scores if some have labels, and those of its parents if they differ."""
    result = job.result or Result("")
    choice = result.choice(None)
    cells = [Cell(str(choice.candidate) if choice else _state(job))]
    if labelled:
        best = result.score(result.oracle(None), None)
        numbers = (result.per_task_mean(), best, result.regret(None))
        cells += [Cell(words.score(job.score), best=job.number in comparison.best)]
        cells += [Cell(words.score(number)) for number in numbers]
    cells.append(Cell(words.difference(choice.differences[choice.candidate] if choice else None)))
    cells.append(Cell(words.share(choice.confidence) if choice else "-"))
    parents = (result.target_score(None), job.best_donor) if apart else ()
    return cells + [Cell(words.score(number)) for number in parents]


def legend(comparison: Comparison) -> list[str]:
    """What the columns mean, and the models that every search is compared with, a line each."""
    lines = ["D: what the answers hold against it; sure: resamples that the choice wins"]
    if comparison.best:
        lines = [
            "mean: of the one model chosen for all tasks, ^ the best; per task: one for each",
            "oracle: the best mean of all that was tried; regret: what the choice lacks",
            *lines,
        ]
    if references := _references(comparison):
        lines.append(references)
    methods = {_method(result) for result in comparison.results}
    if len(methods) > 1 and ADAMMS in methods:
        lines.append(f"{ADAMMS} is AdaMMS' merge")
    return lines


def failures(comparison: Comparison) -> list[str]:
    """A sentence for each search without a result."""
    return [
        f"job {job.number}: {_state(job)}: {job.error or 'it still runs, or was killed'}"
        for job in comparison.jobs
        if job.result is None
    ]


def hyperparameters(comparison: Comparison) -> Table | None:
    """All that the chosen models were merged with; None if nothing was merged."""
    rows = []
    for job in comparison.jobs:
        merged = job.result.hyperparameters if job.result else None
        if merged is not None:
            values = {key: "null" if value is None else value for key, value in merged.parameters.items()}
            parameters = ", ".join(f"{key}={value}" for key, value in values.items())
            shares = ", ".join(f"{name}={share:g}" for name, share in merged.shares.items())
            rows.append((str(job.number), merged.method, shares, parameters or "-"))
    if not rows:
        return None
    columns = ("job", "method", "the donors' shares", "parameters")
    return Table("Hyper-parameters of the chosen models", columns, rows_of(rows), texts=4)


def choices(comparison: Comparison) -> Table | None:
    """The choice for every task, with its score where there are labels; None if no search has ended."""
    found = [result.selection.tasks for result in comparison.results if result.selection]
    tasks = list(dict.fromkeys(task for choices in found for task in choices))
    headings, texts = labels(comparison)
    rows = []
    for job in comparison.jobs:
        if job.result is not None:
            chosen = [_chosen(job.result, task) for task in tasks]
            rows.append((str(job.number), *texts[job.number], *chosen))
    if not rows:
        return None
    columns = ("job", *headings, *tasks)
    return Table("The choice for each task", columns, rows_of(rows), texts=1 + len(headings))


def _chosen(result: Result, task: str) -> str:
    choice, score = result.choice(task), result.chosen_score(task)
    if choice is None:
        return "-"
    return str(choice.candidate) + ("" if score is None else f": {words.score(score)}")


def labels(comparison: Comparison) -> tuple[list[str], dict[int, list[str]]]:
    """Headings, and job number -> texts below them, that tell the jobs apart."""
    keys = comparison.varying
    if len(keys) > MOST_KEYS:
        headings = ["overrides"]
        texts = {
            job.number: [
                ", ".join(f"{short(key)}={job.overrides[key]}" for key in keys if key in job.overrides)
            ]
            for job in comparison.jobs
        }
    else:
        headings = [key.lstrip("+").rpartition(".")[2] for key in keys]
        texts = {job.number: [job.overrides.get(key, "") for key in keys] for job in comparison.jobs}
    methods = {job.number: _method(job.result) for job in comparison.jobs if job.result is not None}
    named = all(any(method in text for text in texts[number]) for number, method in methods.items())
    if len(set(methods.values())) > 1 and not named:
        headings.append("method")
        texts = {number: [*text, methods.get(number, "-")] for number, text in texts.items()}
    return headings, texts


def _references(comparison: Comparison) -> str | None:
    """The parents' scores in a line, if they are the same for all searches; None if they differ."""
    lines = {_reference(result) for result in comparison.results if result.chosen_score(None) is not None}
    return lines.pop() if len(lines) == 1 else None


def _reference(result: Result) -> str:
    names = {"the target": "target"}
    return "; ".join(f"{names.get(name, name)} alone {words.score(s)}" for name, s in result.parents.items())


def _method(result: Result) -> str:
    """The merge's name; "" of a search in existing logs, which merges nothing."""
    return result.hyperparameters.method if result.hyperparameters else ""


def _state(job: JobRow) -> str:
    return "no result" if job.state == "done" else job.state
