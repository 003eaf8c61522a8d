"""The page of a run, whatever its mode: what it says, in the order of the template `report.html`.

Arranges what `tables`, `words` and the other modules of this folder make of a `Result`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from adamms.evaluate.estimate import Estimate
from adamms.report import findings, plan_tables, tables, words
from adamms.report.page import curves, heat
from adamms.report.page.answers import answers
from adamms.report.page.render import Fact, render
from adamms.report.plan_tree import plan_tree
from adamms.report.result import Result
from adamms.system.sizes import scaled

SCRIPTS = ("page.js", "answers.js")


@dataclass(frozen=True)
class Share:
    """A part of a bar, in percent; `kind` is its class in the style sheet."""

    name: str
    percent: float
    words: str
    kind: str


def page(result: Result) -> str:
    """The page of a run: one HTML file. What the result does not have is left out."""
    choice, plan, checks, overall = result.choice(None), result.plan, result.checks, curves.overall(result)
    shown = (tables.summary, tables.scores, tables.own_scores, tables.differences, tables.extracted)
    context = {
        "result": result,
        "title": words.printable(result.title),
        "about": _about(result),
        "facts": _facts(result),
        "findings": findings.paragraphs(result, doubts=False),
        "exactness": findings.exactness(result),
        "overall": overall,
        "legend": _legend(result, overall),
        "tasks": curves.per_task(result),
        "surfaces": heat.surfaces(result),
        "confidence": heat.confidence(result),
        "doubts": [*(choice.doubts if choice else ()), *findings.doubts(result)],
        "choices": tables.choices(result),
        "tables": [
            *(table for make in shown if (table := make(result)) is not None),
            *map(tables.of_tool, result.tools.values()),
        ],
        "meaning": words.meaning(choice, result.candidates) if choice else "",
        "answers": answers(result),
        "coverage": _coverage(result),
        "mapping": [] if plan is None else plan_tables.plan_tables(plan),
        "tree": None if plan is None else plan_tree(plan),
        "distances": [] if checks is None else heat.distances(checks),
        "problems": [] if checks is None else checks.problems,
        "roles": None if checks is None else plan_tables.distances(checks),
        "timings": tables.timings(result),
        "stages": _stages(result),
        "merged": "" if result.merged is None else words.setting(result.merged),
        "commands": findings.merge_commands(result),
    }
    return render("report.html", context, SCRIPTS)


def _about(result: Result) -> list[tuple[str, str, str]]:
    """What was merged: term, text, path."""
    target, donors = (result.plan.target, result.plan.donors) if result.plan else ("", {})
    rows = [("Target, whose architecture is kept", result.target, target)] if result.target else []
    rows += [(f"Donor {name}", said, donors.get(name, "")) for name, said in result.donors.items()]
    if result.method:
        rows.append(("Method", result.method, ""))
    if result.search and result.selection:
        rows.append(("Search, without labels", result.search, ""))
    if result.labelled and result.evaluation:
        rows.append(("Evaluation, afterwards", f"{result.labelled} labelled answers of every model", ""))
    return rows


def _facts(result: Result) -> list[Fact]:
    """Of a search what it chose; of a plan or a merge how much of the target it merges."""
    choice = result.choice(None)
    if choice is None:
        merged = [share for share in _coverage(result) if share.kind == "merged"]
        return [Fact("Merged", f"{share.percent:.0f}%", f"of the target: {share.words}") for share in merged]
    noun, trust = words.noun(result.candidates), choice.trust
    chosen = result.label(choice.candidate)
    facts = [Fact("Chosen without labels", chosen, f"{noun}, one model for all tasks", lead=trust is None)]
    if trust is not None:
        said, mood = f"how probably {chosen} is {words.good(trust)}", "bad" if words.is_low(trust) else "good"
        facts.insert(0, Fact("A good choice?", words.probability(trust), said, mood, lead=True))
    if not choice.doubts:
        facts.append(Fact("Wins", words.wins(choice), "of the bootstrap resamples"))
    own, regret = result.chosen.estimate(), result.regret(None)
    if own is None or regret is None:
        return facts
    best = f"{words.estimate(regret)} below the oracle, {result.oracle(None)}"
    if regret.value <= 1e-9:
        best = "the best of the grid"
    name = f"Mean {result.measure or 'score'}, by labels"
    facts.append(Fact(name, f"{own.value:.1f}%", best, error=words.error(own)))
    if better := result.better_parent:
        name, parent, gain = better
        said = f"{name} alone has {words.estimate(parent.estimate())}"
        facts.append(_gain("Against the better parent", gain, said))
    if result.best_control is not None:
        candidate, found = result.best_control
        said = f"its best, at {result.label(candidate)}, has {words.estimate(found.estimate())}"
        beyond = result.chosen.estimate(less=found)
        if beyond is not None:
            facts.append(_gain("Against the control, no donor", beyond, said))
    return facts


def _gain(name: str, gain: Estimate, said: str) -> Fact:
    mood = ("good" if gain.value > 0 else "bad") if gain.told_apart else "fair"
    apart = "" if gain.told_apart or gain.interval is None else "; not told apart"
    few = ", few examples" if gain.of_few else ""
    return Fact(name, f"{gain.value:+.1f}", said + apart + few, mood, words.error(gain))


def _legend(result: Result, overall: curves.Chart | None) -> list[tuple[str, str]]:
    """(class, name) of every curve and mark."""
    oracle = [("oracle", "oracle: best by labels")] if result.evaluation else []
    return [] if overall is None else [*overall.legend, ("ring", "chosen without labels"), *oracle]


def _coverage(result: Result) -> list[Share]:
    """What becomes of the target's bytes: merged, and kept for each reason."""
    groups = result.plan.coverage() if result.plan else []
    total = sum(group.bytes for group in groups) or 1
    return [
        Share(
            "merged" if group.action == "merge" else f"kept: {group.reason}",
            100 * group.bytes / total,
            f"{group.tensors} tensor{'' if group.tensors == 1 else 's'}, {scaled(group.bytes, 'B')}",
            "merged" if group.action == "merge" else f"kept{index % 4}",
        )
        for index, group in enumerate(groups)
    ]


def _stages(result: Result) -> Sequence[Share]:
    total = sum(stage.seconds for stage in result.timings) or 1.0
    return [
        Share(stage.title, 100 * stage.seconds / total, words.seconds(stage.seconds), f"stage{index % 6}")
        for index, stage in enumerate(result.timings)
    ]
