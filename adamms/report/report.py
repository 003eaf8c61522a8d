"""`report.md` and its pictures, with `report.html` beside them: the whole run for a reader who was not there.

Arranges what `tables`, `wording` and `plots` say; matplotlib and jinja2 are imported only when they draw. The
page is `page`'s.
"""

from pathlib import Path

from adamms.errors import AdammsError
from adamms.report import model_tables, tables, words
from adamms.report.markdown import plain as _plain
from adamms.report.markdown import table_text as _table
from adamms.report.result import RunResult
from adamms.search.choice import Choice

CAPTIONS = {
    "overall.png": "Mean score (above) and D (below) against {noun}; lines across are the parents.",
    "grid.png": "D, and the mean score, over every two axes of the grid. Framed: the choice.",
    "tasks.png": "The same for every task; a step up or down is as high in one panel as in another.",
    "confidence.png": "How often every {noun} wins when the examples are resampled.",
}


def write_report(folder: Path, result: RunResult) -> Path:
    """Write `report.md`, `report.html` and `plots/*.png` into `folder`, which is made if need be.

    Returns:
        The path of `report.md`.

    Raises:
        AdammsError: a folder that cannot be written to.
    """
    from adamms.report import grid_map, plots
    from adamms.report.page.report import write_page

    report = folder / "report.md"
    try:
        pictures = plots.draw(folder / "plots", result) + grid_map.draw(folder / "plots", result)
        report.write_text(markdown(result, [p.relative_to(folder) for p in pictures]), encoding="utf-8")
        write_page(folder / "report.html", result)
    except OSError as error:
        raise AdammsError(f"{report}: cannot be written ({error.strerror or error})") from error
    return report


def markdown(result: RunResult, pictures: list[Path]) -> str:
    """The report's text.

    Args:
        result: the run.
        pictures: paths relative to the report.
    """
    choice = result.choice(None)
    sections = [
        [f"# {_plain(result.title)}"],
        _merged(result),
        _choice(result, choice),
        _results(result, {picture.name: picture for picture in pictures}),
        _lmms_eval(result),
        _control(result),
        _confidence(result, {picture.name: picture for picture in pictures}),
        _mapping(result),
        _times(result),
        _model(result),
        _winners(result),
    ]
    return "\n\n".join(block for section in sections for block in section if block) + "\n"


def _merged(result: RunResult) -> list[str]:
    if not result.target:
        lines = [f"- {_plain(note)}" for note in result.notes]
        if result.selection is None:
            return ["## What was evaluated", "\n".join(lines)]
        return [
            "## Where the answers come from",
            "\n".join([*lines, f"- **Search**: {_plain(result.search)}"]),
        ]
    plan = result.plan
    target = _plain(result.target) + (f" (`{plan.target}`)" if plan else "")
    lines = [f"- **Target**, whose architecture is kept: {target}"]
    for name, description in result.donors.items():
        where = f" (`{plan.donors[name]}`)" if plan and name in plan.donors else ""
        lines.append(f"- **Donor {_plain(name)}**: {_plain(description)}{where}")
    lines.append(f"- **Method**: {_plain(result.method)}")
    if result.search and result.selection:
        lines.append(f"- **Search**, without labels: {_plain(result.search)}")
    if result.labelled and result.evaluation:
        lines.append(f"- **Evaluation**: {result.labelled} labelled answers of every model")
    return ["## What was merged", "\n".join(lines)]


def _choice(result: RunResult, choice: Choice | None) -> list[str]:
    if choice is None:
        return []
    return ["## The choice", _plain(words.how_sure(choice)), _plain(words.verdict(result))]


def _results(result: RunResult, pictures: dict[str, Path]) -> list[str]:
    scored = tables.scores(result)
    legend = "**Bold**: chosen without labels."
    overall = result.choice(None)
    if scored is not None:
        legend += " ▲: best by labels (the oracle)."
    if scored is not None and overall is not None:
        legend += f" D: {words.meaning(overall, result.candidates)}, all tasks."
    blocks = [
        _picture(pictures, "overall.png", result),
        _picture(pictures, "grid.png", result),
        _table(tables.summary(result)),
        _table(scored),
        _table(model_tables.own_scores(result)),
        legend if scored else "",
        words.noise(result),
        _picture(pictures, "tasks.png", result),
        _table(tables.choices(result)),
        _table(tables.differences(result)),
        legend if result.selection and not scored else "",
    ]
    return ["## Results", *blocks] if any(blocks) else []


def _lmms_eval(result: RunResult) -> list[str]:
    found = model_tables.lmms_eval(result)
    return ["## lmms-eval", _table(found)] if found else []


def _control(result: RunResult) -> list[str]:
    found = words.control_finding(result)
    return ["## The control: is the donor needed?", _plain(found)] if found else []


def _confidence(result: RunResult, pictures: dict[str, Path]) -> list[str]:
    if result.selection is None:
        return []
    unsure = [task for task, choice in result.selection.tasks.items() if choice.confidence < words.LIKELY]
    tied = [task for task, choice in result.selection.tasks.items() if len(choice.tied) > 1]
    lines = [
        "The search saw a sample of examples. Drawing as many again from that sample, with repetition, and "
        "choosing anew shows how much the choice depends on the luck of the draw; it does not show whether "
        "stable answers are right answers."
    ]
    if tied:
        several = words.plural(result.candidates)
        lines.append(f"Several {several} have the same smallest D for: {_plain(', '.join(tied))}.")
    if unsure:
        lines.append(f"The choice wins less than half of the resamples for: {_plain(', '.join(unsure))}.")
    return ["## How sure is the choice?", " ".join(lines), _picture(pictures, "confidence.png", result)]


def _mapping(result: RunResult) -> list[str]:
    if result.plan is None:
        return []
    plan = result.plan
    kinds = (tables.coverage, tables.parts, tables.aligned, tables.unused, tables.lacking)
    found = [kind(plan) for kind in kinds]
    return ["## Mapping", *(_table(table) for table in found)]


def _times(result: RunResult) -> list[str]:
    return ["## Time", _table(tables.timings(result), titled=False)] if result.timings else []


def _model(result: RunResult) -> list[str]:
    if result.folder is None:
        return []
    merged = "" if result.merged is None else f", merged at {_plain(words.setting(result.merged))}"
    blocks = ["## The model", f"It is in `{result.folder}`{merged}."]
    return [*blocks, f"```python\n{result.load}\n```" if result.load else ""]


def _winners(result: RunResult) -> list[str]:
    lines = words.merge_commands(result)
    if not lines:
        return []
    return [
        "## One model per task",
        "The paper merges one model per task. These commands make the winners:",
        "```sh\n" + "\n".join(lines) + "\n```",
    ]


def _picture(pictures: dict[str, Path], name: str, result: RunResult) -> str:
    if name not in pictures:
        return ""
    caption = CAPTIONS[name].format(noun=_plain(words.noun(result.candidates)))
    return f"![{caption}]({pictures[name].as_posix()})\n\n*{caption}*"
