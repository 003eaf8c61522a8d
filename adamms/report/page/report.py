"""`report.html`: a finished run as one page that explains itself.

Arranges what `tables`, `wording` and the other modules of this folder say; how it looks is the templates'.
"""

from dataclasses import dataclass
from pathlib import Path

from adamms.report import model_tables, resemblance_tables, tables, words
from adamms.report.page import curves, heat
from adamms.report.page.answers import Answers, answers
from adamms.report.page.charts import Chart
from adamms.report.page.heat import Heat
from adamms.report.page.render import render, write
from adamms.report.result import RunResult
from adamms.report.tables import Table

SCRIPTS = ("page.js", "answers.js")
MOODS = {"stable": "good", "likely": "fair", "uncertain": "bad"}


@dataclass(frozen=True)
class Fact:
    """A number that comes first: `mood` is "good", "fair", "bad" or ""."""

    name: str
    value: str
    words: str
    mood: str = ""


@dataclass(frozen=True)
class Share:
    """A part of a bar, in percent."""

    name: str
    percent: float
    words: str
    kind: str


@dataclass(frozen=True)
class ReportView:
    """What the template shows. Empty or None is left out of the page."""

    title: str
    about: tuple[tuple[str, str, str], ...]
    notes: tuple[str, ...]
    facts: tuple[Fact, ...]
    findings: tuple[str, ...]
    noise: str
    overall: Chart | None
    tasks: tuple[Chart, ...]
    surfaces: tuple[Heat, ...]
    confidence: Heat | None
    summary: Table | None
    scores: Table | None
    lmms_eval: Table | None
    choices: Table | None
    differences: Table | None
    answers: Answers | None
    coverage: tuple[Share, ...]
    mapping: tuple[Table, ...]
    distances: tuple[Heat, ...]
    resemblance: Table | None
    timings: Table | None
    stages: tuple[Share, ...]
    config: str
    folder: str
    merged: str
    load: str
    commands: tuple[str, ...]


def write_page(file: Path, result: RunResult) -> Path:
    """Write the page of a run.

    Raises:
        OSError: a file that cannot be written.
    """
    return write(file, render("report.html", view(result), SCRIPTS))


def view(result: RunResult) -> ReportView:
    """All that the page says."""
    choice = result.choice(None)
    said = [
        words.how_sure(choice) if choice else "",
        words.verdict(result),
        words.control_finding(result),
    ]
    plan, checks = result.plan, result.checks
    kinds = (tables.coverage, tables.parts, tables.aligned, tables.unused, tables.lacking)
    mapping = [] if plan is None else [kind(plan) for kind in (resemblance_tables.discovered, *kinds)]
    return ReportView(
        title=words.printable(result.title),
        about=tuple(_about(result)),
        notes=tuple(result.notes),
        facts=tuple(_facts(result)),
        findings=tuple(text for text in said if text),
        noise=words.noise(result),
        overall=curves.overall(result),
        tasks=tuple(curves.per_task(result)),
        surfaces=tuple(heat.surfaces(result)),
        confidence=heat.confidence(result),
        summary=tables.summary(result),
        scores=tables.scores(result),
        lmms_eval=model_tables.lmms_eval(result),
        choices=tables.choices(result),
        differences=tables.differences(result),
        answers=answers(result),
        coverage=tuple(_coverage(result)),
        mapping=tuple(table for table in mapping if table is not None),
        distances=() if checks is None else tuple(heat.distances(checks)),
        resemblance=None if checks is None else resemblance_tables.resemblance(checks),
        timings=tables.timings(result),
        stages=tuple(_stages(result)),
        config=result.config,
        folder="" if result.folder is None else str(result.folder),
        merged="" if result.merged is None else words.setting(result.merged),
        load=result.load,
        commands=tuple(words.merge_commands(result)),
    )


def _about(result: RunResult) -> list[tuple[str, str, str]]:
    """What was merged: term, text, path."""
    plan = result.plan
    rows = []
    if result.target:
        rows.append(("Target, whose architecture is kept", result.target, plan.target if plan else ""))
    for name, description in result.donors.items():
        rows.append((f"Donor {name}", description, plan.donors.get(name, "") if plan else ""))
    if result.method:
        rows.append(("Method", result.method, ""))
    if result.search and result.selection:
        rows.append(("Search, without labels", result.search, ""))
    if result.labelled and result.evaluation:
        rows.append(("Evaluation, afterwards", f"{result.labelled} labelled answers of every model", ""))
    return rows


def _facts(result: RunResult) -> list[Fact]:
    choice = result.choice(None)
    if choice is None:
        return []
    noun = words.noun(result.candidates)
    sure = words.sureness(choice)
    share = "no rivals" if sure == "no rivals" else words.share(choice.confidence)
    said = "nothing else could win" if sure == "no rivals" else f"{sure}: wins that share of the resamples"
    facts = [
        Fact("Chosen without labels", result.label(choice.candidate), f"{noun}, one model for all tasks"),
        Fact("How sure", share, said, MOODS.get(sure, "")),
    ]
    if choice.trust is not None:
        near, low = choice.trust, choice.trust.probability < words.TRUSTED
        said = f"probability that nothing on the grid is {near.tolerance:g} points better"
        facts.append(Fact("How good", words.share(near.probability), said, MOODS["uncertain"] if low else ""))
    own, regret, oracle = result.score(choice.candidate, None), result.regret(None), result.oracle(None)
    if own is None or regret is None or oracle is None or result.evaluation is None:
        return facts
    best = "the best of the grid" if regret <= 1e-9 else f"{regret:.1f} below the oracle, {oracle}"
    facts.append(Fact("Mean score, by labels", f"{own:.1f}{_unit(result)}", best))
    parents = {f"donor {name}": scores.mean for name, scores in result.evaluation.donors.items()}
    base = result.target_score(None)
    parents |= {} if base is None else {"the target": base}
    if parents:
        name, score = max(parents.items(), key=lambda item: item[1])
        facts.append(_gain("Against the better parent", own - score, f"{name} alone has {score:.1f}"))
    if result.best_control is not None:
        candidate, found = result.best_control
        said = f"its best, at {result.label(candidate)}, has {found.mean:.1f}"
        facts.append(_gain("Against the control, no donor", own - found.mean, said))
    return facts


def _gain(name: str, gain: float, words: str) -> Fact:
    return Fact(name, f"{gain:+.1f}", words, "good" if gain > 0 else "bad")


def _unit(result: RunResult) -> str:
    return "%" if result.unit == "%" else f" {result.unit}"


def _coverage(result: RunResult) -> list[Share]:
    """What becomes of the target's bytes: merged, and kept for each reason."""
    if result.plan is None:
        return []
    groups = result.plan.coverage()
    total = sum(group.bytes for group in groups) or 1
    return [
        Share(
            "merged" if group.action == "merge" else f"kept: {group.reason}",
            100 * group.bytes / total,
            f"{group.tensors} tensors, {words.scaled(group.bytes, 'B')}",
            "merged" if group.action == "merge" else f"kept{index % 4}",
        )
        for index, group in enumerate(groups)
    ]


def _stages(result: RunResult) -> list[Share]:
    total = sum(stage.seconds for stage in result.timings) or 1.0
    return [
        Share(stage.title, 100 * stage.seconds / total, words.seconds(stage.seconds), f"stage{index % 6}")
        for index, stage in enumerate(result.timings)
    ]
