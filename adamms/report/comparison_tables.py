"""The tables and sentences of a comparison: what is shown of a multirun's searches, and what is marked.

The console and the page draw the same cells. Knows no files.
"""

from collections.abc import Callable, Sequence

from adamms.merge.candidate import short
from adamms.report import words
from adamms.report.comparison import Comparison, JobRow
from adamms.report.result import Result
from adamms.report.tables import ERROR, Cell, Column, Table, rows_of, signed
from adamms.search.choice import Choice, about, where

MOST_KEYS = 2  # more of them are one column, 'a=1, b=2'
ADAMMS = "linear"


def overview(comparison: Comparison) -> Table | None:
    """A row per search: what it varies, what it chose, what that was worth; None if there is no search."""
    if not comparison.jobs:
        return None
    best = comparison.best
    columns: list[Column[JobRow]] = [
        ("job", lambda job: str(job.number)),
        *labels(comparison),
        ("chosen", lambda job: str(job.found.winner(None) or _state(job))),
    ]
    texts = len(columns)
    columns.append(("good", lambda job: _known(job, lambda choice: words.probability(choice.trust))))
    if best:
        columns += [
            ("mean", lambda job: Cell.of(job.found.chosen.estimate(), best=job.number in best)),
            *([("vs best", lambda job: _gap(comparison, job))] if len(comparison.results) > 1 else []),
            ("per task", lambda job: Cell.of(job.found.per_task().estimate())),
            ("regret", lambda job: Cell.of(job.found.regret(None))),
        ]
    columns.append(("D", lambda job: _known(job, lambda c: words.difference(c.differences[c.candidate]))))
    columns.append(("wins", lambda job: _known(job, words.wins)))
    if best and _references(comparison) is None:
        columns.append(("target", lambda job: Cell.of(job.found.target_scores.estimate())))
        columns.append(("best donor", _best_donor))
    measure = f" ({comparison.measure}, %, by labels that they never saw)" if best else ""
    title = f"The searches of this multirun{measure}"
    strong = [place for place, job in enumerate(comparison.jobs) if job.number in best]
    return Table.of(title, comparison.jobs, columns, texts, strong)


def _gap(comparison: Comparison, job: JobRow) -> Cell:
    """What a job's choice is above the best one; nothing for the best."""
    return Cell("") if job.number in comparison.best else signed(comparison.vs_best(job))


def _best_donor(job: JobRow) -> Cell:
    unasked = not job.best_donor.tasks and job.found.unscored
    return Cell("not asked") if unasked else Cell.of(job.best_donor.estimate())


def _known(job: JobRow, text: Callable[[Choice], str]) -> str:
    """What is said of its choice; a dash where there is none."""
    choice = job.found.choice(None)
    return "-" if choice is None else text(choice)


def legend(comparison: Comparison) -> list[str]:
    """What the columns mean, and the models that every search is compared with, a line each."""
    lines = ["D: what the answers hold against it; wins: resamples that the choice wins"]
    if comparison.best:
        lines = [
            "mean: of the one model chosen for all tasks, ^ the best; per task: one for each",
            "regret: what its mean lacks to the best of all that was tried",
            *([ERROR] if words.error(comparison.results[0].chosen.estimate()) else []),
            *lines,
        ]
    if alike := not_told_apart(comparison):
        lines.append(f"not told apart from the best: {alike}")
    choices = [choice for result in comparison.results if (choice := result.choice(None))]
    if trust := next((choice.trust for choice in choices if choice.trust), None):
        lines.insert(
            0, f"good: how probably it is {words.good(trust)}, LOW below {words.share(words.TRUSTED)}"
        )
    if references := _references(comparison):
        lines.append(references)
    methods = {_method(result) for result in comparison.results}
    if len(methods) > 1 and ADAMMS in methods:
        lines.append(f"{ADAMMS} is AdaMMS' merge")
    return lines


def not_told_apart(comparison: Comparison) -> str:
    """The jobs whose choice is not told apart from the best one: 'job 2, 5 (few examples)'; "" for none."""
    gaps = comparison.not_told_apart.items()
    jobs = ", ".join(f"{number}{' (few examples)' * gap.of_few}" for number, gap in gaps)
    return f"job {jobs}" if jobs else ""


def doubts(comparison: Comparison) -> list[str]:
    """What makes choices over all tasks doubtful, a line for each reason with its jobs."""
    chosen = {str(job.number): choice for job in comparison.jobs if (choice := job.found.choice(None))}
    found = where({number: choice.doubts for number, choice in chosen.items()})
    return [f"job {about(jobs, doubt)}" for doubt, jobs in found.items()]


def failures(comparison: Comparison) -> list[str]:
    """A sentence for each search without a result."""
    return [
        f"job {job.number}: {_state(job)}: {job.error or 'it still runs, or was killed'}"
        for job in comparison.jobs
        if job.result is None
    ]


def hyperparameters(comparison: Comparison) -> Table:
    """All that the chosen models were merged with; without rows if nothing was merged."""
    rows = []
    for job in comparison.jobs:
        if merged := job.found.hyperparameters:
            values = {key: "null" if value is None else value for key, value in merged.parameters.items()}
            parameters = ", ".join(f"{key}={value}" for key, value in values.items())
            shares = ", ".join(f"{name}={share:g}" for name, share in merged.shares.items())
            shares += f", by the schedule {words.schedule(merged.schedule)}" if merged.schedule else ""
            rows.append((str(job.number), merged.method, shares, parameters or "-"))
    columns = ("job", "method", "the donors' shares", "parameters")
    return Table("Hyper-parameters of the chosen models", columns, rows_of(rows), texts=4)


def choices(comparison: Comparison) -> Table:
    """The choice for every task, with its score where there are labels; no rows if no search has ended."""
    tasks = dict.fromkeys(task for result in comparison.results for task in result.choices if task)

    def chosen(task: str) -> Callable[[JobRow], Cell]:
        return lambda job: _chosen(job.found, task)

    told = labels(comparison)
    columns: list[Column[JobRow]] = [("job", lambda job: str(job.number)), *told]
    columns += [(task, chosen(task)) for task in tasks]
    ended = [job for job in comparison.jobs if job.result is not None]
    return Table.of("The choice for each task", ended, columns, texts=1 + len(told))


def _chosen(result: Result, task: str) -> Cell:
    winner, score = result.winner(task), result.scores_of(result.winner(task)).estimate(task)
    text = "-" if winner is None else str(winner)
    return Cell(text if score is None else f"{text}: {words.score(score.value)}", estimate=score)


def labels(comparison: Comparison) -> list[tuple[str, Callable[[JobRow], str]]]:
    """The columns that tell the jobs apart: what varies, and the method if that does not say it."""

    def value(key: str) -> Callable[[JobRow], str]:
        return lambda job: job.overrides.get(key, "")

    keys = comparison.varying
    columns = [(key.lstrip("+").rpartition(".")[2], value(key)) for key in keys]
    if len(keys) > MOST_KEYS:
        columns = [("overrides", lambda job: _overrides(job, keys))]
    ended = [job for job in comparison.jobs if job.result is not None]
    named = all(any(_method(job.found) in read(job) for _, read in columns) for job in ended)
    if len({_method(job.found) for job in ended}) > 1 and not named:
        columns.append(("method", lambda job: _method(job.result) if job.result else "-"))
    return columns


def _overrides(job: JobRow, keys: Sequence[str]) -> str:
    return ", ".join(f"{short(key)}={job.overrides[key]}" for key in keys if key in job.overrides)


def _references(comparison: Comparison) -> str | None:
    """The parents' scores in a line, if they are the same for all searches; None if they differ."""
    scored = [result for result in comparison.results if result.chosen_score(None) is not None]
    lines = {
        "; ".join(
            [
                *(
                    f"{name.removeprefix('the ')} alone {words.estimate(scores.estimate())}"
                    for name, scores in result.parents.items()
                ),
                *(f"donor {name} not asked" for name in result.unscored),
            ]
        )
        for result in scored
    }
    return lines.pop() if len(lines) == 1 else None


def _method(result: Result) -> str:
    """The merge's name; "" of a search in existing logs, which merges nothing."""
    return result.hyperparameters.method if result.hyperparameters else ""


def _state(job: JobRow) -> str:
    return "no result" if job.state == "done" else job.state
