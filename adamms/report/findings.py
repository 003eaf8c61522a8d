"""Sentences about a result: what was chosen, how good that probably is, and what it is worth by labels.

The console, the page and the model card say the same. They are honest about ties, luck and better parents.
"""

from collections.abc import Sequence

from adamms.engines.thought import split_thought
from adamms.evaluate.estimate import LEAST, Estimate
from adamms.evaluate.evaluation import Scores
from adamms.merge.candidate import Candidate, axes_of, short
from adamms.report.result import Result
from adamms.report.words import (
    difference,
    error,
    estimate,
    gap,
    good,
    is_low,
    listing,
    named,
    noun,
    printable,
    setting,
    share,
    spans,
)
from adamms.search.choice import EXACT, Choice, Several, Trust, about, where

# Shares of the resamples: from SURE on the rivals are not named, below UNSURE all that seldom lose are.
SURE, UNSURE = 0.9, 0.5


def paragraphs(result: Result, doubts: bool = True) -> list[str]:
    """All there is to say of the choice: how good it probably is, what it is worth, what the donor is for.

    Args:
        doubts: whether to say what makes it doubtful; not where that is said already.
    """
    choice = result.choice(None)
    said = (
        "" if choice is None else how_good(choice, doubts),
        cost(result),
        *(verdict(result), control_finding(result), thoughts(result)),
    )
    return [text for text in said if text]


def how_good(choice: Choice, doubts: bool = True) -> str:
    """What was chosen, what makes it doubtful, how probably it is good, and if several are better.

    Args:
        doubts: whether to say what makes it doubtful.
    """
    grid, own = list(choice.differences), choice.candidate
    others = [candidate for candidate in choice.tied if candidate != own]
    ties = f", as {spans(others, grid)} {'has' if len(others) == 1 else 'have'}" if others else ""
    said = [
        f"{setting(own)} was chosen: {choice.because}, D = {difference(choice.differences[own])}{ties}, over "
        f"{choice.examples} example{'s' if choice.examples != 1 else ''}.",
        f"Answers are compared by {choice.compared}." if choice.compared not in ("", EXACT) else "",
        _asked(choice),
        *(choice.doubts if doubts else ()),
        "" if choice.trust is None else trusted(choice.trust, bool(choice.doubts)),
        _wins(choice),
        _edge(own, grid) if choice.counts_changes else "",
        "" if choice.several is None else several(choice.several),
    ]
    return " ".join(text for text in said if text)


def _asked(choice: Choice) -> str:
    """Which answers stand in for some that were not asked for."""
    if not choice.inferred + choice.guessed:
        return ""
    asked, inferred, guessed = (
        share(part) for part in (1 - choice.inferred - choice.guessed, choice.inferred, choice.guessed)
    )
    return (
        f"Of the grid's answers {asked} were asked for, {inferred} inferred from those beside them that are "
        f"alike, and {guessed} guessed from those beside them, which are not."
    )


def trusted(trust: Trust, doubtful: bool) -> str:
    """How probably the choice is a good one, and what to do if that is little.

    Args:
        doubtful: whether doubts have been told; what to do about them is said there.
    """
    said = f"With a probability of {share(trust.probability)} it is {good(trust)}."
    if not is_low(trust):
        return said
    other = "" if trust.slope or doubtful else "ask search=trusted, which knows more of what D is worth, "
    return f"{said} That is LOW: {other}keep the target, or compare the answers before using the merge."


def several(found: Several) -> str:
    """Whether several coefficients are better than the choice on the grid."""
    single, (before, after) = setting(found.single), map(difference, found.differences)
    if found.best == found.single:
        return (
            f"Several coefficients are no better than {single}: over the {found.seen} examples that the "
            f"optimiser saw, none of {found.tried} candidates has a smaller D."
        )
    where = f"over {found.examples} examples that the optimiser did not see"
    if found.better:
        return (
            f"Several coefficients are better than {single}: {where}, D is {after} instead of {before}, and "
            f"smaller in {share(found.confidence)} of the resamples."
        )
    return (
        f"Several coefficients are no better than {single}: {where}, the best of {found.tried} candidates, "
        f"{setting(found.best)}, has D = {after} instead of {before}, and a smaller one in only "
        f"{share(found.confidence)} of the resamples; {share(found.level)} are asked for."
    )


def _edge(candidate: Candidate, grid: Sequence[Candidate]) -> str:
    """A warning if nothing beyond the candidate could win; "" otherwise."""
    axes = {key: values for key, values in axes_of(grid).items() if len(values) > 2}
    own = candidate.settings
    keys = [key for key, values in axes.items() if own[key] in (values[0], values[-1])]
    if not keys:
        return ""
    said = f"It is at the edge of what could win along {listing(map(short, keys))}."
    if len(own) == 1:
        side = "lowest" if own[keys[0]] == axes[keys[0]][0] else "highest"
        said = f"It is the {side} {noun(grid)} that could win."
    return (
        f"{said} Answers can also be stable there because hardly anything is merged yet or any more; compare "
        f"it with the parents before trusting it."
    )


def _wins(choice: Choice) -> str:
    """How often the choice wins when the examples are resampled; "" if nothing else could win."""
    if len(choice.wins) == 1:
        return ""
    said = f"It wins in {share(choice.confidence)} of the bootstrap resamples"
    if choice.confidence >= SURE:
        return f"{said}, which draw on the same doubtful answers." if choice.doubts else f"{said}."
    rivals = sorted((c for c in choice.wins if c != choice.candidate), key=lambda c: (-choice.wins[c], c))
    seen = [c for c in rivals[:2] if share(choice.wins[c]) != share(0.0)]
    others = listing(f"{named(c)} in {share(choice.wins[c])}" for c in seen)
    said += f", {others}" if others else ""
    if choice.confidence >= UNSURE:
        return f"{said}."
    group = sorted({choice.candidate, *likely_winners(choice)})
    return (
        f"{said}. Nine of ten resamples choose among {spans(group, list(choice.differences))}: the "
        f"data does not tell these {len(group)} apart."
    )


def likely_winners(choice: Choice, level: float = 0.9) -> list[Candidate]:
    """The fewest candidates that win at least `level` of the resamples together, in order."""
    taken: list[Candidate] = []
    for candidate in sorted(choice.wins, key=lambda c: (-choice.wins[c], c)):
        if sum(choice.wins[c] for c in taken) >= level - 1e-9:
            break
        taken.append(candidate)
    return sorted(taken)


def doubts(result: Result) -> list[str]:
    """What makes the choices of single tasks doubtful, a line for each reason with its tasks.

    Without what the choice over all tasks says already.
    """
    if result.selection is None:
        return []
    tasks, said = result.selection.tasks, result.selection.overall.doubts
    found = where({task: choice.doubts for task, choice in tasks.items()})
    new = {doubt: some for doubt, some in found.items() if doubt not in said or len(some) < len(tasks)}
    return [line for doubt, some in new.items() if (line := about(some, doubt, len(tasks))) not in said]


def cost(result: Result) -> str:
    """How much the search asked for; "" where nothing was asked, as of logs."""
    found = result.cost
    if found is None:
        return ""
    tokens = "" if found.tokens is None else f" of {found.tokens:,} tokens together"
    scores = (
        f", and scored {found.scores:,} given texts of {found.scored_tokens:,} tokens" if found.scores else ""
    )
    return f"The search asked for {found.answers:,} answers{tokens}{scores}."


def merge_commands(result: Result) -> list[str]:
    """Commands that merge the winners of single tasks, one per candidate, and several coefficients first."""
    if result.selection is None or not result.command:
        return []
    groups: dict[Candidate, list[str]] = {}
    if result.several is not None:
        groups[result.several] = ["all tasks"]
    for task, choice in result.selection.tasks.items():
        groups.setdefault(choice.candidate, []).append(task)
    return [
        f"{result.command} {candidate.overrides}  # {printable(', '.join(tasks))}"
        for candidate, tasks in sorted(groups.items())
    ]


def verdict(result: Result) -> str:
    """How the choice did by labels, against everything that it should be compared with; "" without labels."""
    choice, oracle, regret = result.choice(None), result.oracle(None), result.regret(None)
    own = result.chosen.estimate()
    if choice is None or oracle is None or own is None or regret is None:
        return ""
    best = (
        f"the best of the grid is {setting(oracle)} with {estimate(result.scores_of(oracle).estimate())} "
        f"%, a regret of {estimate(regret)} points"
    )
    if regret.value <= 1e-9:
        best = f"the best of the grid{f' (regret {estimate(regret)})' if regret.error is not None else ''}"
    notes = ", ".join(filter(None, (result.measure, "" if own.error is None else "± one standard error")))
    said = [
        f"By labels, which the search never saw, the model at {setting(choice.candidate)} scores "
        f"{estimate(own)} %{f' ({notes})' if notes else ''}"
        f"{', ' if regret.value <= 1e-9 else '; '}{best}."
    ]
    if better := result.better_parent:
        said.append(against_parent(*better))
    fixed = result.scores_of(result.fixed)
    if fixed.tasks and result.fixed != choice.candidate:
        said.append(f"Without a search, a fixed alpha = 0.1 would score {estimate(fixed.estimate())}.")
    return " ".join(said)


def against_parent(name: str, parent: Scores, gain: Estimate) -> str:
    """Whether the merge is better than the better parent; only where the examples tell the two apart.

    Args:
        name: of the parent.
        gain: what the merge is above it, over the same examples.
    """
    has = f"{name}, has {estimate(parent.estimate())}"
    if gain.interval is None:
        return f"The better parent, {has} (difference {gap(gain)})."
    if not gain.told_apart:
        return f"The better parent, {has}: the merge is not told apart from it (difference {gap(gain)})."
    if gain.value > 0:
        return f"The better parent, {has}: the merge is better by {gap(gain)}."
    return f"The better parent, {has}: the merge is NOT better, but worse by {gap(gain.turned)}."


def exactness(result: Result) -> str:
    """What ± means; "" where no errors are known."""
    shown = result.chosen if result.selection else result.scores_of(result.oracle(None))
    if not error(shown.estimate()):
        return ""
    return (
        f"± is one standard error over the {result.labelled} labelled examples: how much a number changes "
        f"when examples of each task are drawn anew (bootstrap). Two models are compared on the same draws, "
        f"and told apart where the 95 % interval of their difference excludes 0 and they differ on {LEAST} "
        f"examples or more. Bands are 95 % intervals."
    )


def control_finding(result: Result) -> str:
    """What the control is, its best point, and what that says about the donor; "" without a control."""
    if result.best_control is None:
        return ""
    candidate, scores = result.best_control
    said = (
        f"The control is {result.control}, with no donor in it: what it gains needs no donor, so only what "
        f"the merge gains beyond it is the donor's. Its best point is {setting(candidate)} with "
        f"{estimate(scores.estimate())} %"
    )
    gain = result.chosen.estimate(less=scores)
    if gain is None:
        return f"{said}."
    if gain.interval is None:
        return f"{said} (difference to the chosen merge {gap(gain)})."
    if not gain.told_apart:
        return (
            f"{said}, not told apart from the chosen merge (difference {gap(gain)}): nothing shows that the "
            f"donor helps here."
        )
    if gain.value > 0:
        return f"{said}, below the chosen merge by {gap(gain)}."
    return f"{said}, ABOVE the chosen merge by {gap(gain.turned)}: here the donor is not what helps."


def thoughts(result: Result) -> str:
    """How many answers begin with a thought, which is not compared; "" where none does."""
    texts = [text for one in result.answered for text in (*one.texts.values(), one.text) if text is not None]
    found = [said for thought, said in map(split_thought, texts) if thought or said is None]
    if not found:
        return ""
    cut = sum(said is None for said in found)
    return (
        f"{len(found)} of {len(texts)} answers begin with a thought, which was cut out before they were "
        f"compared and scored; {cut} of them end in it and count as empty."
    )
