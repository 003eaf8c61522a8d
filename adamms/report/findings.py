"""Sentences about a result: what was chosen, how sure that is, and what it is worth by labels.

The console, the page and the model card say the same. They are honest about ties, luck and better parents.
"""

from collections.abc import Sequence

from adamms.merge.candidate import Candidate, axes_of, short
from adamms.report.result import Result
from adamms.report.words import difference, listing, named, noun, plural, printable, setting, share, spans
from adamms.search.choice import Choice, Several, Trust

SURE, LIKELY = 0.9, 0.5  # bootstrap confidence from which a choice is called so
TRUSTED = 0.8  # stated probability below which a choice wants a second look
NO_RIVALS = "no rivals"  # how sure a choice is if nothing else could win


def paragraphs(result: Result) -> list[str]:
    """All there is to say of the choice: how sure it is, what it is worth, whether the donor is needed."""
    choice = result.choice(None)
    said = (how_sure(choice) if choice else "", verdict(result), control_finding(result))
    return [text for text in said if text]


def sureness(choice: Choice) -> str:
    """How sure a choice is, in a word."""
    if len(choice.wins) == 1:
        return NO_RIVALS
    if choice.confidence >= SURE:
        return "stable"
    return "likely" if choice.confidence >= LIKELY else "uncertain"


def how_sure(choice: Choice) -> str:
    """What was chosen, with which ties, how sure that is, and whether several coefficients do more."""
    grid, own = list(choice.differences), choice.candidate
    said = [
        f"{setting(own)} was chosen: {choice.because}, D = {difference(choice.differences[own])} over "
        f"{choice.examples} example{'s' if choice.examples != 1 else ''}."
    ]
    others = [candidate for candidate in choice.tied if candidate != own]
    if len(grid) > 1 and max(choice.differences.values()) <= 1e-9:
        said.append(
            f"But no answer changes anywhere on the grid, so the answers do not tell one {noun(grid)} from "
            f"another."
        )
    else:
        if others:
            said.append(f"It ties with {spans(others, grid)}; only the tie rule prefers it.")
        said.append(_confidence(choice, grid))
        said.append(trusted(choice.trust) if choice.trust is not None else _edge(own, grid))
    if choice.several is not None:
        said.append(several(choice.several))
    return " ".join(text for text in said if text)


def trusted(trust: Trust) -> str:
    """How probably the choice is a good one, and what to do if that is little."""
    points = f"{trust.tolerance:g} point{'' if trust.tolerance == 1 else 's'}"
    said = f"With a probability of {share(trust.probability)} it is within {points} of the best on the grid."
    if trust.probability >= TRUSTED:
        return said
    return (
        f"{said} That is LOW: keep the target, give the search more examples (search.samples), or compare "
        f"the candidates' answers before using the merge."
    )


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


def _confidence(choice: Choice, grid: list[Candidate]) -> str:
    sure, wins = sureness(choice), f"{share(choice.confidence)} of the bootstrap resamples"
    if sure == NO_RIVALS:
        return "Nothing else could win: every other candidate lies at an end of the grid."
    if sure == "stable":
        return f"The choice is stable: it wins in {wins}."
    rivals = sorted((c for c in choice.wins if c != choice.candidate), key=lambda c: (-choice.wins[c], c))
    others = listing(f"{named(c)} in {share(choice.wins[c])}" for c in rivals[:2] if choice.wins[c] > 0)
    if sure == "likely":
        return f"The choice is likely, not certain: it wins in {wins}, {others}."
    group = sorted({choice.candidate, *likely_winners(choice)})
    return (
        f"The choice is UNCERTAIN: it wins in only {wins}, {others}. Nine of ten resamples choose among "
        f"{spans(group, grid)}: the data does not tell these {len(group)} apart."
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
    """The tasks whose choice is one of several, and those whose choice wins few resamples."""
    tasks = result.selection.tasks if result.selection else {}
    tied = [task for task, choice in tasks.items() if len(choice.tied) > 1]
    unsure = [task for task, choice in tasks.items() if choice.confidence < LIKELY]
    several = f"Several {plural(result.candidates)} have the same smallest D for: {', '.join(tied)}."
    few = f"The choice wins less than half of the resamples for: {', '.join(unsure)}."
    return [said for said, names in ((several, tied), (few, unsure)) if names]


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
    best = f"; the best of the grid is {setting(oracle)} with {own + regret:.1f} {result.unit}, a regret of "
    best = ", the best of the grid." if regret <= 1e-9 else f"{best}{regret:.1f} points."
    said = [
        f"By labels, which the search never saw, the model at {setting(choice.candidate)} scores {own:.1f} "
        f"{result.unit}{best}"
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
    if own > scores.mean:
        return f"{said}, {own - scores.mean:.1f} points below the chosen merge."
    return f"{said}, {scores.mean - own:.1f} points ABOVE the chosen merge: here the donor is not what helps."
