"""Numbers, candidates and lists as text, the same in the console, the page and the model card.

Knows no results: the sentences about those are in `findings`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from adamms.evaluate.estimate import Estimate
from adamms.merge.candidate import ALPHA, Candidate, axes_of, short
from adamms.search.choice import Choice, Trust
from adamms.system.sizes import scaled, three_digits

ALL_TASKS = "ALL TASKS"  # the name of the choice over all of them
TRUSTED = 0.8  # stated probability below which a choice is called LOW


def printable(text: str) -> str:
    """On one line and without control characters, whatever a data file had in its names."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))


def unrounded(text: str) -> str:
    """A text whose numbers have no digits that come from rounding.

    >>> unrounded("alpha=0.30000000000000004")
    'alpha=0.3'
    """
    return re.sub(r"\d+\.\d{7,}", lambda found: f"{float(found[0]):.6g}", text)


def fixed(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def score(value: float | None) -> str:
    return fixed(value, 1)


def error(found: Estimate | None) -> str:
    """A standard error; "" where it is not known."""
    return "" if found is None or found.error is None else f"{found.error:.1f}"


def estimate(found: Estimate | None) -> str:
    """A score with its standard error, '95.5 ± 0.8'; the score alone where that is not known."""
    if found is None:
        return "-"
    return score(found.value) + ("" if found.error is None else f" ± {error(found)}")


def gap(found: Estimate) -> str:
    """A difference with its interval: '1.2 points, 95 % interval -0.8 to 3.1'."""
    if found.interval is None:
        return f"{found.value:.1f} points; how exact that is, is not known"
    few = f"; few examples: only {found.differing} differ" if found.of_few else ""
    return f"{found.value:.1f} points, 95 % interval {ends(found)}{few}"


def ends(found: Estimate) -> str:
    """Of its interval: '-0.8 to 3.1'; a question mark where that is not known."""
    return "?" if found.interval is None else "{:.1f} to {:.1f}".format(*found.interval)


def versus(found: Estimate) -> str:
    """A difference with its interval, for tables: '+1.8 (0.3 to 3.2)'."""
    return f"{signed(found.value)} ({ends(found)})"


def metric(value: float | None) -> str:
    """A number in another program's unit: four digits, and all of those before the point."""
    return fixed(value, 0 if value is None else max(0, 4 - len(str(int(abs(value))))))


def signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1f}"


def difference(value: float | None) -> str:
    """D: a whole number of answers, or a sum of fractions."""
    return fixed(value, 2 if value is not None and abs(value - round(value)) >= 1e-9 else 0)


def share(value: float) -> str:
    return f"{100 * value:.0f}%"


def probability(trust: Trust | None) -> str:
    """How probably a choice is good, in a table."""
    return "-" if trust is None else share(trust.probability) + (" LOW" if is_low(trust) else "")


def schedule(record: Mapping[str, Any]) -> str:
    """What adamms_recipe.json says of a schedule: 'lines (first=0, last=1): 0.1 to 0.5 of a'."""
    numbers = {key: value for key, value in record["parameters"].items() if isinstance(value, int | float)}
    given = ", ".join(f"{key}={value:g}" for key, value in numbers.items())
    ends = ((name, f"{low:g}", f"{record['highest'][name]:g}") for name, low in record["lowest"].items())
    shares = (f"{low if low == high else f'{low} to {high}'} of {name}" for name, low, high in ends)
    return f"{record['name']}{f' ({given})' if given else ''}: {', '.join(shares)}"


def wins(choice: Choice) -> str:
    """The share of resamples that a choice wins; a dash where it had no rivals."""
    return "-" if len(choice.wins) == 1 else share(choice.confidence)


def is_low(trust: Trust) -> bool:
    return trust.probability < TRUSTED


def good(trust: Trust) -> str:
    """What the probability is of."""
    return f"within {trust.tolerance:g} point{'' if trust.tolerance == 1 else 's'} of the best on the grid"


def parameters(count: int) -> str:
    """A number of parameters, in people's prefixes: 7.62 B."""
    return scaled(count).replace("G", "B")


def seconds(value: float) -> str:
    if value < 120:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def quantity(count: float, unit: str, among: float | None = None) -> str:
    """A count with its unit, which is a plural: 2 answers, 1 answer; bytes get a prefix."""
    if unit == "bytes":
        return scaled(count, "B", among)
    return f"{count:g} {unit.removesuffix('s') if count == 1 else unit}".rstrip()


def rate(count: float, unit: str, elapsed: float) -> str:
    """Throughput per second: 3.71 GB/s, 89/s; "" when nothing was measured."""
    if count <= 0 or elapsed <= 0:
        return ""
    value = count / elapsed
    return f"{scaled(value, 'B')}/s" if unit == "bytes" else f"{three_digits(value)}/s"


def listing(words: Iterable[object]) -> str:
    """a, b and c."""
    *most, last = [str(word) for word in words] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def endings(keys: Iterable[str]) -> dict[str, str]:
    """Key -> as few of its last parts as no other key ends in.

    >>> endings(["search.signal.rule", "rules.attn.factor", "rules.mlp.factor"])
    {'search.signal.rule': 'rule', 'rules.attn.factor': 'attn.factor', 'rules.mlp.factor': 'mlp.factor'}
    """
    found = {key: [".".join(key.split(".")[n:]) for n in range(key.count("."), -1, -1)] for key in keys}
    counts = Counter(ending for each in found.values() for ending in each)
    return {key: next((e for e in each if counts[e] == 1), key) for key, each in found.items()}


def noun(candidates: Iterable[Candidate]) -> str:
    """What the candidates are: 'alpha', another parameter's name, or 'candidate' if they set several."""
    keys = list(axes_of(candidates))
    return short(keys[0]) if len(keys) == 1 else "candidate"


def axis(key: str) -> str:
    """The name of the axis along which a number varies."""
    return "alpha, the donors' share" if key == ALPHA else short(key)


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


def meaning(choice: Choice, candidates: Iterable[Candidate]) -> str:
    """What D is: the paper's, or that of another signal."""
    if choice.counts_changes:
        return f"answers that change between neighbouring {plural(candidates)}"
    return f"what speaks against each {noun(candidates)}"


def curve(choice: Choice) -> str:
    """The same as the name of a curve, in short."""
    return "D, changed answers" if choice.counts_changes else "D, what speaks against it"
