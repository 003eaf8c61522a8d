"""What searches find on a pair, and what they ask for that: plain data, made where the pair is in memory.

Looks at labels for regrets alone. Knows no table.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from racing import Race
from scipy.stats import spearmanr
from suite import Pair

from adamms.engines.answer import Answer
from adamms.merge.candidate import Candidate
from adamms.report.cost import Cost
from adamms.search.choice import Selection, Trust
from adamms.search.evidence import CONTROL, DISTURBED, PARENTS, POOLS, Evidence, said
from adamms.search.strategy import Strategy
from adamms.search.task_differences import TaskDifferences

DRAWS = 3  # of what is drawn at random, where answers are spared


@dataclass(frozen=True)
class Finding:
    """What a search finds on a pair.

    Args:
        regret: in points.
        correlation: of minus D with accuracy, by rank, over the candidates that may win.
        loads: how often another candidate's weights were loaded.
        trust: how probably the choice is good.
    """

    candidate: Candidate
    regret: float
    correlation: float
    cost: Cost
    loads: int
    trust: Trust


@dataclass(frozen=True)
class Spared:
    """A search that spared answers beside the same one that did not.

    Args:
        same: whether it makes the same choice over all examples.
        lost: points of accuracy by which its choice is worse than that one.
        tasks: of how many tasks it has the same winner; None if it names none.
        share: of the answers of the grid and of the donors, if they count, that were asked.
    """

    same: bool
    lost: float
    tasks: tuple[int, int] | None
    share: float
    loads: int


@dataclass(frozen=True)
class Judged:
    """All that the tables need of a pair.

    Args:
        order: the candidates of the grid.
        accuracy: theirs, in percent.
        findings: row of the table -> what it finds.
        spared: row -> each of its draws.
    """

    regime: str
    seed: int
    order: Sequence[Candidate]
    accuracy: np.ndarray
    findings: Mapping[str, Finding]
    spared: Mapping[str, Sequence[Spared]]


@dataclass
class Recorded:
    """An `Ask` over what a pair has answered; counts each answer once.

    Args:
        needs: what is asked beside the candidates' answers.
    """

    evidence: Evidence
    needs: Sequence[str]
    asked: dict[Candidate, set[str]] = field(default_factory=dict)
    loads: int = 0
    live: Candidate | None = None

    def __call__(self, candidates: Sequence[Candidate], examples: Sequence[str]) -> Evidence:
        whole, parents = self.evidence, PARENTS in self.needs
        for candidate in dict.fromkeys([*candidates, *whole.order[: int(parents)]]):
            known = self.asked.setdefault(candidate, set())
            if not known.issuperset(examples) and candidate != self.live:
                self.loads += 1
                self.live = candidate
            known.update(examples)
        return replace(
            whole,
            candidates={c: {e: whole.candidates[c][e] for e in examples} for c in candidates},
            target=whole.target if parents else {},
            donors=whole.donors if parents else {},
        )

    @property
    def cost(self) -> Cost:
        whole, asked = self.evidence, self.asked.items()
        rows = [{e: whole.candidates[c][e] for e in examples} for c, examples in asked]
        rows += whole.donors.values() if PARENTS in self.needs else ()
        rows += [whole.control[c] for c, _ in asked] if CONTROL in self.needs else ()
        rows += [whole.disturbed[c] for c, _ in asked] if DISTURBED in self.needs else ()
        return Cost.of((answer for row in rows for answer in row.values()), self._scored())

    def _scored(self) -> Iterator[Answer]:
        pools = [pool for need, pool in POOLS.items() if need in self.needs]
        for candidate, examples in self.asked.items():
            for example in examples:
                texts = {answer.text for pool in pools for answer in said(self.evidence, pool, example)}
                yield from (self.evidence.scored[candidate][example][text] for text in texts)


def judge(
    pair: Pair,
    searches: Mapping[str, Strategy],
    sparing: str,
    margins: Sequence[float],
    raced: Sequence[str],
) -> Judged:
    """Have every search choose, and the answers spared by one of them and by races with others' signals.

    Args:
        searches: row of the table -> search.
        sparing: row of the one whose bisection is looked at.
        margins: of that bisection, beside its own.
        raced: rows.
    """
    findings = {name: _finding(search, pair) for name, search in searches.items()}
    spared = {sparing: _bisected(searches[sparing], pair)}
    bisection = searches[sparing].bisection
    assert bisection is not None
    for margin in margins:
        other = replace(searches[sparing], bisection=replace(bisection, margin=margin))
        spared[f"margin {margin:g}"] = _bisected(other, pair)
    spared |= {f"race, {name}": _raced(searches[name], pair) for name in raced if name in searches}
    return Judged(pair.regime, pair.seed, pair.evidence.order, pair.accuracy, findings, spared)


def _choose(search: Strategy, pair: Pair) -> tuple[Selection, Recorded]:
    ask = Recorded(pair.evidence, search.needs)
    return search.choose(ask, pair.evidence.order, pair.tasks), ask


def _finding(search: Strategy, pair: Pair) -> Finding:
    selection, ask = _choose(search, pair)
    choice, accuracy = selection.overall, dict(zip(pair.evidence.order, pair.accuracy, strict=True))
    assert choice.trust is not None
    held = np.array(list(choice.differences.values()))
    able = [accuracy[candidate] for candidate in choice.differences]
    found = spearmanr(-held, able).statistic if np.ptp(held) and np.ptp(able) else 0.0
    regret = float(pair.accuracy.max() - accuracy[choice.candidate])
    return Finding(choice.candidate, regret, float(found), ask.cost, ask.loads, choice.trust)


def _bisected(search: Strategy, pair: Pair) -> list[Spared]:
    once, found = replace(search, resamples=1), []
    accuracy = dict(zip(pair.evidence.order, pair.accuracy.tolist(), strict=True))
    whole, all_asked = _choose(replace(once, bisection=None), pair)
    for seed in range(DRAWS):
        chosen, ask = _choose(replace(once, seed=seed), pair)
        alike = sum(chosen.tasks[task].candidate == whole.tasks[task].candidate for task in pair.tasks)
        same = chosen.overall.candidate == whole.overall.candidate
        share = ask.cost.answers / all_asked.cost.answers
        lost = accuracy[whole.overall.candidate] - accuracy[chosen.overall.candidate]
        found.append(Spared(same, lost, (alike, len(pair.tasks)), share, ask.loads))
    return found


def _raced(search: Strategy, pair: Pair) -> list[Spared]:
    """The race also looks at where the parents disagree, which counts as asked."""
    whole, all_asked = _choose(replace(search, resamples=1), pair)
    differences, found = TaskDifferences.suited(search.difference, pair.evidence, pair.tasks), []
    accuracy = dict(zip(pair.evidence.order, pair.accuracy.tolist(), strict=True))
    for seed in range(DRAWS):
        ask = Recorded(pair.evidence, (*search.needs, PARENTS))
        winner = Race(seed=seed).run(ask, search.signal, differences, pair.evidence.order, pair.examples)
        share = ask.cost.answers / all_asked.cost.answers
        wanted = whole.overall.candidate
        lost = accuracy[wanted] - accuracy[winner]
        found.append(Spared(winner == wanted, lost, None, share, ask.loads))
    return found
