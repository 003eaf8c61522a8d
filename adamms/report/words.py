"""Numbers and findings in words: formats, and sentences that say how sure a choice is.

Pure text from plain data, the same in the console and in the report. A little over 300 lines: every
sentence that people read about a choice.
"""

from collections.abc import Iterable, Sequence

from adamms.merge.candidate import ALPHA, Candidate, axes_of, short
from adamms.report.result import Result
from adamms.search.choice import Choice, Several, Trust

SURE, LIKELY = 0.9, 0.5  # bootstrap confidence from which a choice is called so
TRUSTED = 0.8  # stated probability below which a choice wants a second look
NO_RIVALS = "no rivals"  # how sure a choice is that nothing else could win
ALL_TASKS = "ALL TASKS"  # the name of the choice over all of them
SCALES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def printable(text: str) -> str:
    """On one line and without control characters, whatever a data file had in its names."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))


def score(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def metric(value: float | None) -> str:
    """A number in a unit of somebody else's: four digits, and all of those before the point."""
    return "-" if value is None else f"{value:.{max(0, 4 - len(str(int(abs(value)))))}f}"


def fixed(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1f}"


def difference(value: float | None) -> str:
    """D: a whole number of answers, or a sum of fractions."""
    if value is None:
        return "-"
    return str(round(value)) if abs(value - round(value)) < 1e-9 else f"{value:.2f}"


def meaning(choice: Choice, candidates: Iterable[Candidate]) -> str:
    """What D is: the paper's, or that of a signal of another kind."""
    if choice.trust is None:
        return f"answers that change between neighbouring {plural(candidates)}"
    return f"what speaks against each {noun(candidates)}"


def curve(choice: Choice) -> str:
    """The same as the name of a curve, in short."""
    return "D, changed answers" if choice.trust is None else "D, what speaks against it"


def share(value: float) -> str:
    return f"{100 * value:.0f}%"


def scaled(value: float, unit: str = "", among: float | None = None) -> str:
    """Three digits with a decimal prefix: 15.2 GB, 803 M.

    Args:
        value: in the plain unit.
        unit: e.g. "B" for bytes.
        among: a value whose prefix is to be used instead, so that two numbers can be compared.
    """
    for size, prefix in SCALES:
        if abs(value if among is None else among) >= size:
            return f"{value / size:.{_decimals(value / size)}f} {prefix}{unit}"
    return f"{value:g} {unit}".rstrip()


def parameters(count: int) -> str:
    """A number of parameters, in people's prefixes: 7.62 B."""
    return scaled(count).replace("G", "B")


def seconds(value: float) -> str:
    if value < 120:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def quantity(count: float, unit: str, among: float | None = None) -> str:
    """A count with its unit; bytes get a prefix."""
    return scaled(count, "B", among) if unit == "bytes" else f"{count:g} {unit}".rstrip()


def rate(count: float, unit: str, elapsed: float) -> str:
    """Throughput per second: 3.71 GB/s, 89/s; "" when nothing was measured."""
    if count <= 0 or elapsed <= 0:
        return ""
    value = count / elapsed
    return f"{scaled(value, 'B')}/s" if unit == "bytes" else f"{value:.{_decimals(value)}f}/s"


def listing(words: Iterable[object]) -> str:
    """a, b and c."""
    *most, last = [str(word) for word in words] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def noun(candidates: Iterable[Candidate]) -> str:
    """What the candidates are: 'alpha', another parameter's name, or 'candidate' if they set several."""
    keys = list(axes_of(candidates))
    return short(keys[0]) if len(keys) == 1 else "candidate"


def plural(candidates: Iterable[Candidate]) -> str:
    return "alphas" if noun(candidates) == "alpha" else "candidates"


def setting(candidate: Candidate) -> str:
    """A candidate in a sentence: 'alpha = 0.3', 'density=0.2, alpha=0.3'."""
    return f"alpha = {candidate}" if candidate.alpha_alone else str(candidate)


def named(candidate: Candidate) -> str:
    """A candidate in a list: in brackets if it sets several."""
    return f"({candidate})" if len(candidate.settings) > 1 else str(candidate)


def spans(some: Sequence[Candidate], grid: Sequence[Candidate]) -> str:
    """Candidates as ranges, '0.2-0.5, 0.7' or 'density=0.2-0.5'; of a grid of several axes the first few."""
    keys = list(axes_of(grid))
    if len(keys) > 1:
        listed = [named(candidate) for candidate in sorted(some)]
        return ", ".join(listed if len(listed) < 6 else [*listed[:4], f"{len(listed) - 4} others"])
    runs: list[list[Candidate]] = []
    for candidate in sorted(some):
        place = grid.index(candidate)
        if runs and place > 0 and runs[-1][-1] == grid[place - 1]:
            runs[-1].append(candidate)
        else:
            runs.append([candidate])
    texts = [[candidate.value(keys[0]) for candidate in run] for run in runs]
    words = [f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(run) for run in texts]
    return ("" if not words or keys == [ALPHA] else f"{short(keys[0])}=") + ", ".join(words)


def likely_winners(choice: Choice, level: float = 0.9) -> list[Candidate]:
    """The fewest candidates that win at least `level` of the resamples together, in order."""
    taken: list[Candidate] = []
    total = 0.0
    for candidate in sorted(choice.wins, key=lambda c: (-choice.wins[c], c)):
        if total >= level - 1e-9:
            break
        taken.append(candidate)
        total += choice.wins[candidate]
    return sorted(taken)


def how_sure(choice: Choice) -> str:
    """Sentences: what was chosen, with which ties, how sure that is, and if several coefficients do more."""
    said = _how_sure(choice)
    return said if choice.several is None else f"{said} {several(choice.several)}"


def _how_sure(choice: Choice) -> str:
    count = f"{choice.examples} example{'s' if choice.examples != 1 else ''}"
    said = [
        f"{setting(choice.candidate)} was chosen: {choice.because}, "
        f"D = {difference(choice.differences[choice.candidate])} over {count}."
    ]
    grid = list(choice.differences)
    if len(grid) > 1 and max(choice.differences.values()) <= 1e-9:
        return said[0] + (
            f" But no answer changes anywhere on the grid, so the answers do not tell one {noun(grid)} from "
            f"another."
        )
    others = [candidate for candidate in choice.tied if candidate != choice.candidate]
    if others:
        said.append(f"It ties with {spans(others, grid)}; only the tie rule prefers it.")
    said.append(_confidence(choice, grid))
    if choice.trust is not None:
        return " ".join([*said, trusted(choice.trust)])
    if edge := _edge(choice.candidate, grid):
        said.append(
            f"{edge} Answers can also be stable there because hardly "
            f"anything is merged yet or any more; compare it with the parents before trusting it."
        )
    return " ".join(said)


def trusted(trust: Trust) -> str:
    """Sentences: how probably the choice is a good one, and what to do if that is little."""
    points = f"{trust.tolerance:g} point{'' if trust.tolerance == 1 else 's'}"
    said = f"With a probability of {share(trust.probability)} it is within {points} of the best on the grid."
    if trust.probability >= TRUSTED:
        return said
    return said + (
        " That is LOW: keep the target, give the search more examples (search.samples), or compare the "
        "candidates' answers before using the merge."
    )


def several(found: Several) -> str:
    """A sentence: whether several coefficients are better than the choice on the grid."""
    single = setting(found.single)
    if found.best == found.single:
        return (
            f"Several coefficients are no better than {single}: over the {found.seen} examples that the "
            f"optimiser saw, none of {found.tried} candidates has a smaller D."
        )
    before, after = map(difference, found.differences)
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
    """A sentence if nothing beyond the candidate could win; '' otherwise."""
    ends = {key: (values[0], values[-1]) for key, values in axes_of(grid).items() if len(values) > 2}
    own = candidate.settings
    keys = [key for key in ends if own[key] in ends[key]]
    if not keys:
        return ""
    if len(own) == 1:
        side = "lowest" if own[keys[0]] == ends[keys[0]][0] else "highest"
        return f"It is the {side} {noun(grid)} that could win."
    return f"It is at the edge of what could win along {listing(map(short, keys))}."


def _confidence(choice: Choice, grid: list[Candidate]) -> str:
    if len(choice.wins) == 1:
        return "Nothing else could win: every other candidate lies at an end of the grid."
    wins = f"{share(choice.confidence)} of the bootstrap resamples"
    if choice.confidence >= SURE:
        return f"The choice is stable: it wins in {wins}."
    rivals = sorted((c for c in choice.wins if c != choice.candidate), key=lambda c: (-choice.wins[c], c))
    others = listing(f"{named(c)} in {share(choice.wins[c])}" for c in rivals[:2] if choice.wins[c] > 0)
    if choice.confidence >= LIKELY:
        return f"The choice is likely, not certain: it wins in {wins}, {others}."
    group = sorted({choice.candidate, *likely_winners(choice)})
    return (
        f"The choice is UNCERTAIN: it wins in only {wins}, {others}. Nine of ten resamples choose among "
        f"{spans(group, grid)}: the data does not tell these {len(group)} apart."
    )


def sureness(choice: Choice) -> str:
    """How sure it is, in a word."""
    if len(choice.wins) == 1:
        return NO_RIVALS
    if choice.confidence >= SURE:
        return "stable"
    return "likely" if choice.confidence >= LIKELY else "uncertain"


def doubts(result: Result) -> list[str]:
    """Sentences: the tasks whose choice is one of several, or wins few resamples."""
    tasks = result.selection.tasks if result.selection else {}
    tied = [task for task, choice in tasks.items() if len(choice.tied) > 1]
    unsure = [task for task, choice in tasks.items() if choice.confidence < LIKELY]
    said = []
    if tied:
        said.append(f"Several {plural(result.candidates)} have the same smallest D for: {', '.join(tied)}.")
    if unsure:
        said.append(f"The choice wins less than half of the resamples for: {', '.join(unsure)}.")
    return said


def merge_commands(result: Result) -> list[str]:
    """Commands that merge the winners of single tasks, one per candidate, and several coefficients first."""
    if result.selection is None or not result.command:
        return []
    groups: dict[Candidate, list[str]] = {}
    overall = result.selection.overall
    if overall.several is not None and overall.several.better:
        groups[overall.candidate] = ["all tasks"]
    for task, choice in result.selection.tasks.items():
        groups.setdefault(choice.candidate, []).append(task)
    return [
        f"{result.command} {candidate.overrides}  # {printable(', '.join(tasks))}"
        for candidate, tasks in sorted(groups.items())
    ]


def verdict(result: Result) -> str:
    """Sentences: how the choice did by labels, against everything it should be compared with."""
    choice, oracle = result.choice(None), result.oracle(None)
    own = result.score(choice.candidate if choice else None, None)
    regret = result.regret(None)
    if choice is None or result.evaluation is None or own is None or regret is None:
        return ""
    unit, best_setting = result.unit, "" if oracle is None else setting(oracle)
    said = [
        f"By labels, which the search never saw, the model at {setting(choice.candidate)} scores "
        f"{own:.1f} {unit}"
    ]
    said[0] += (
        ", the best of the grid."
        if regret <= 1e-9
        else f"; the best of the grid is {best_setting} with {own + regret:.1f} {unit}, a regret of "
        f"{regret:.1f} points."
    )
    if parents := result.parents:
        name, best = max(parents.items(), key=lambda item: item[1])
        if own > best:
            said.append(
                f"The better parent, {name}, has {best:.1f}: the merge gains {own - best:.1f} points."
            )
        else:
            said.append(f"That is NOT better than {name} alone, which has {best:.1f}.")
    fixed = result.score(result.fixed, None)
    if fixed is not None and result.fixed != choice.candidate:
        said.append(f"Without a search, a fixed alpha = 0.1 would score {fixed:.1f}.")
    return " ".join(said)


def noise(result: Result) -> str:
    """A sentence: how exact the mean scores are, if they are percentages of a known number of answers."""
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
    """Sentences: what the control is, its best point, and what that says about the donor."""
    best = result.best_control
    if best is None:
        return ""
    candidate, scores = best
    said = (
        f"The control is {result.control}, with no donor in it: what it gains needs no donor, so only what "
        f"the merge gains beyond it is the donor's. Its best point is {setting(candidate)} with "
        f"{scores.mean:.1f} {result.unit}"
    )
    choice = result.choice(None)
    own = result.score(choice.candidate if choice else None, None)
    if own is None:
        return said + "."
    if own > scores.mean:
        return said + f", {own - scores.mean:.1f} points below the chosen merge."
    return (
        said + f", {scores.mean - own:.1f} points ABOVE the chosen merge: here the donor is not what helps."
    )


def _decimals(value: float) -> int:
    return 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
