"""Sentences about a result: what was chosen, how good that probably is, and what it is worth by labels.

The console, the page and the model card say the same. They are honest about ties, luck and better parents.
"""

from collections.abc import Sequence

from adamms.engines.thought import split_thought
from adamms.merge.candidate import Candidate, axes_of, short
from adamms.report.result import Result
from adamms.report.words import (
    difference,
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
from adamms.search.choice import EXACT, NEIGHBOURS, Choice, Several, Trust

# Shares of the resamples: from SURE on the rivals are not named, below UNSURE all that seldom lose are.
SURE, UNSURE = 0.9, 0.5


def paragraphs(result: Result) -> list[str]:
    """All there is to say of the choice: how good it probably is, what it is worth, what the donor is for."""
    choice = result.choice(None)
    said = (how_good(choice) if choice else "", verdict(result), control_finding(result), thoughts(result))
    return [text for text in said if text]


def how_good(choice: Choice) -> str:
    """What was chosen, what makes it doubtful, how probably it is good, and if several are better."""
    grid, own = list(choice.differences), choice.candidate
    others = [candidate for candidate in choice.tied if candidate != own]
    ties = f", as {spans(others, grid)} {'has' if len(others) == 1 else 'have'}" if others else ""
    said = [
        f"{setting(own)} was chosen: {choice.because}, D = {difference(choice.differences[own])}{ties}, over "
        f"{choice.examples} example{'s' if choice.examples != 1 else ''}.",
        f"Answers are compared by {choice.compared}." if choice.compared not in ("", EXACT) else "",
        *choice.doubts,
        "" if choice.trust is None else trusted(choice.trust, bool(choice.doubts)),
        _wins(choice),
        _edge(own, grid) if choice.because == NEIGHBOURS else "",
        "" if choice.several is None else several(choice.several),
    ]
    return " ".join(text for text in said if text)


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
    others = listing(f"{named(c)} in {share(choice.wins[c])}" for c in rivals[:2] if choice.wins[c] > 0)
    if choice.confidence >= UNSURE:
        return f"{said}, {others}."
    group = sorted({choice.candidate, *likely_winners(choice)})
    return (
        f"{said}, {others}. Nine of ten resamples choose among {spans(group, list(choice.differences))}: the "
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
    """What makes the choices of single tasks doubtful, a line for each reason with its tasks."""
    found: dict[str, list[str]] = {}
    for task, choice in (result.selection.tasks if result.selection else {}).items():
        for doubt in choice.doubts:
            found.setdefault(doubt, []).append(task)
    overall = result.choice(None)
    alike = overall is not None and all(choice.doubts == overall.doubts for choice in result.choices.values())
    return [] if alike else [f"{', '.join(tasks)}: {doubt}" for doubt, tasks in found.items()]


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
    choice, oracle = result.choice(None), result.oracle(None)
    own, regret = result.chosen_score(None), result.regret(None)
    if choice is None or oracle is None or own is None or regret is None:
        return ""
    known = result.error(choice.candidate, None)
    best = (
        f"; the best of the grid is {setting(oracle)} with {own + regret:.1f} {result.unit}"
        f"{_error(result.error(oracle, None))}, a regret of {regret:.1f}{_error(result.regret_error(None))} "
        "points"
    )
    said = [
        f"By labels, which the search never saw, the model at {setting(choice.candidate)} scores {own:.1f} "
        f"{result.unit}{_error(known)}{', the best of the grid' if regret <= 1e-9 else best}"
        f"{'' if known is None else ' (± one standard error)'}."
    ]
    if parents := result.parents:
        name, parent = max(parents.items(), key=lambda item: item[1])
        gain = f"The better parent, {name}, has {parent:.1f}: the merge gains {own - parent:.1f} points."
        loss = f"That is NOT better than {name} alone, which has {parent:.1f}."
        said.append(gain if own > parent else loss)
    fixed = result.score(result.fixed, None)
    if fixed is not None and result.fixed != choice.candidate:
        said.append(f"Without a search, a fixed alpha = 0.1 would score {fixed:.1f}.")
    return " ".join(said)


def _error(value: float | None) -> str:
    """A standard error behind its number; "" where it is not known."""
    return "" if value is None else f" ± {value:.1f}"


def noise(result: Result) -> str:
    """How exact the mean scores are, if they are percentages of a known number of answers; else ""."""
    overall = result.choice(None)
    value = result.score(overall.candidate if overall else result.oracle(None), None)
    if value is None or result.unit != "%" or result.labelled < 1 or not 0 < value < 100:
        return ""
    error = 2 * (value * (100 - value) / result.labelled) ** 0.5
    return (
        f"With {result.labelled} labelled answers of every model, a mean score is exact to about "
        f"{error:.1f} points (two standard errors): smaller differences may be luck."
    )


def control_finding(result: Result) -> str:
    """What the control is, its best point, and what that says about the donor; "" without a control."""
    if result.best_control is None:
        return ""
    candidate, scores = result.best_control
    said = (
        f"The control is {result.control}, with no donor in it: what it gains needs no donor, so only what "
        f"the merge gains beyond it is the donor's. Its best point is {setting(candidate)} with "
        f"{scores.mean:.1f} {result.unit}"
    )
    own = result.chosen_score(None)
    if own is None:
        return f"{said}."
    gap = own - scores.mean
    if abs(gap) < 0.05:  # no point where it is written
        return f"{said}, as much as the chosen merge: here the donor is not what helps."
    if gap > 0:
        return f"{said}, {gap:.1f} points below the chosen merge."
    return f"{said}, {-gap:.1f} points ABOVE the chosen merge: here the donor is not what helps."


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
