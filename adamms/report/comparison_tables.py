"""The tables and sentences of a comparison: what is shown of a multirun's searches, and what is marked.

The console and comparison.md draw the same cells; a page can, too. Knows no files.
"""

from collections.abc import Sequence

from adamms.merge.candidate import short
from adamms.report import words
from adamms.report.comparison import Comparison, Found, Job
from adamms.report.tables import Cell, Table

# More keys than these are one column, 'a=1, b=2'.
MOST_KEYS = 2
ADAMMS = "linear"


def overview(comparison: Comparison) -> Table | None:
    """A row per search: what it varies, what it chose, what that was worth; None if there is no search."""
    if not comparison.jobs:
        return None
    labels, texts = _labels(comparison)
    labelled = any(found.overall.score is not None for found in _all(comparison))
    apart = labelled and _references(comparison) is None
    rows = []
    for job in comparison.jobs:
        cells = [Cell(str(job.number)), *(Cell(text) for text in texts[job.number])]
        found = job.found
        cells.append(Cell(found.overall.candidate if found else _state(job)))
        cells += _numbers(found, labelled, best=job.number in comparison.best)
        if apart:
            donor = found.best_donor if found else None
            cells.append(Cell(words.score(found.target if found else None)))
            cells.append(Cell(words.score(donor.score if donor else None)))
        rows.append(tuple(cells))
    columns = ["job", *labels, "chosen"]
    texts_wide = len(columns)
    columns += ["mean", "per task", "oracle", "regret"] if labelled else []
    columns += ["D", "sure"]
    columns += ["target", "best donor"] if apart else []
    return Table(
        "The searches of this multirun" + (" (%, by labels that they never saw)" if labelled else ""),
        tuple(columns),
        tuple(rows),
        texts=texts_wide,
        strong=frozenset(i for i, job in enumerate(comparison.jobs) if job.number in comparison.best),
    )


def _numbers(found: Found | None, labelled: bool, best: bool) -> list[Cell]:
    cells = []
    if labelled:
        cells = [
            Cell(words.score(found.overall.score if found else None), best=best),
            Cell(words.score(found.per_task if found else None)),
            Cell(words.score(found.oracle.score if found and found.oracle else None)),
            Cell(words.score(found.regret if found else None)),
        ]
    cells.append(Cell(words.difference(found.overall.difference if found else None)))
    cells.append(Cell(words.share(found.overall.confidence) if found else "-"))
    return cells


def legend(comparison: Comparison) -> list[str]:
    """What the columns mean, and the models that every search is compared with, a line each."""
    found = _all(comparison)
    lines = ["D: what the answers hold against it; sure: resamples that the choice wins"]
    if any(each.overall.score is not None for each in found):
        lines = [
            "mean: of the one model chosen for all tasks, ^ the best; per task: one for each",
            "oracle: the best mean of all that was tried; regret: what the choice lacks",
            *lines,
        ]
    if references := _references(comparison):
        lines.append(references)
    if len({each.method for each in found}) > 1 and any(each.method == ADAMMS for each in found):
        lines.append(f"{ADAMMS} is AdaMMS' merge")
    return lines


def failures(comparison: Comparison) -> list[str]:
    """A sentence for each search without a result."""
    return [f"job {job.number}: {_failure(job)}" for job in comparison.jobs if job.found is None]


def hyperparameters(comparison: Comparison) -> Table | None:
    """All that the chosen models were merged with; None if nothing was merged."""
    rows = []
    for job in comparison.jobs:
        if job.found is not None and job.found.method:
            parameters = ", ".join(f"{key}={_text(value)}" for key, value in job.found.parameters.items())
            shares = ", ".join(f"{name}={share:g}" for name, share in job.found.coefficients.items())
            rows.append(tuple(map(Cell, (str(job.number), job.found.method, shares, parameters or "-"))))
    if not rows:
        return None
    columns = ("job", "method", "the donors' shares", "parameters")
    return Table("Hyper-parameters of the chosen models", columns, tuple(rows), texts=4)


def choices(comparison: Comparison) -> Table | None:
    """The choice for every task, with its score where there are labels; None if no search has ended."""
    tasks = list(dict.fromkeys(task for found in _all(comparison) for task in found.tasks))
    if not tasks:
        return None
    labels, texts = _labels(comparison)
    rows = []
    for job in comparison.jobs:
        if job.found is None:
            continue
        cells = [Cell(str(job.number)), *(Cell(text) for text in texts[job.number])]
        for task in tasks:
            chosen = job.found.tasks.get(task)
            score = None if chosen is None else chosen.score
            known = "" if score is None else f": {words.score(score)}"
            cells.append(Cell("-" if chosen is None else chosen.candidate + known))
        rows.append(tuple(cells))
    columns = ("job", *labels, *tasks)
    return Table("The choice for each task", columns, tuple(rows), texts=1 + len(labels))


def _labels(comparison: Comparison) -> tuple[list[str], dict[int, list[str]]]:
    """Headings, and job number -> texts, that tell the jobs apart."""
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
    methods = {job.number: job.found.method for job in comparison.jobs if job.found is not None}
    named = all(any(method in text for text in texts[number]) for number, method in methods.items())
    if len(set(methods.values())) > 1 and not named:
        headings.append("method")
        texts = {number: [*text, methods.get(number, "-")] for number, text in texts.items()}
    return headings, texts


def _references(comparison: Comparison) -> str | None:
    """The parents' and the control's scores in a line, if they are the same for all; None if they differ."""
    lines = {_reference(found) for found in _all(comparison) if found.overall.score is not None}
    return lines.pop() if len(lines) == 1 else None


def _reference(found: Found) -> str:
    said = [] if found.target is None else [f"target alone {words.score(found.target)}"]
    said += [f"donor {donor.name} alone {words.score(donor.score)}" for donor in found.donors]
    return "; ".join(said)


def _state(job: Job) -> str:
    return "no result" if job.state == "done" else job.state


def _failure(job: Job) -> str:
    return f"{_state(job)}: {job.error or 'it still runs, or was killed'}"


def _text(value: object) -> str:
    return "null" if value is None else str(value)


def _all(comparison: Comparison) -> Sequence[Found]:
    return [job.found for job in comparison.jobs if job.found is not None]
