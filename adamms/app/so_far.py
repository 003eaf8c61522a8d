"""What a search knows before its end, for trackers; nothing of it goes back to the search.

D of a candidate is known as soon as those beside it on the grid have answered, where the signal compares it
with those alone, and compares answers by same or not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile

from adamms.app.asker import Answers
from adamms.app.settings import Run
from adamms.merge.candidate import axes_of
from adamms.report.result import Result
from adamms.search.choice import Choice, Selection
from adamms.search.evidence import recorded
from adamms.search.strategy import Strategy

LEAST = 3  # candidates of which one can be compared with both beside it


def so_far(run: Run, answers: Answers, tasks: Mapping[str, Sequence[str]]) -> Result:
    """D of the grid's first candidates, as far as it will not change any more; else an empty result.

    Args:
        answers: of the candidates that have answered, the last of them just now.
        tasks: task -> ids of the examples that the search looks at.
    """
    strategy, grid = run.strategy, sorted(run.grid)
    examples = {example for ids in tasks.values() for example in ids}
    done = list(takewhile(lambda candidate: examples <= answers.get(candidate, {}).keys(), grid))
    neighbours = strategy.signal.neighbours
    beside_alone = neighbours and not strategy.needs and strategy.bisection is None
    # A graded difference, or one yet to be taken, is fitted to the answers of the last candidate, too.
    fitted = strategy.difference.graded
    if len(axes_of(grid)) > 1 or not beside_alone or fitted or len(done) < LEAST:
        return Result("")
    waiting = max(0, *neighbours) + strategy.smoothing
    known = done if len(done) == len(grid) or not waiting else done[:-waiting]
    # How sure it is can be told at the end only.
    quick = replace(strategy, resamples=1, tolerance=None)
    found = Strategy.choose(quick, recorded({each: answers[each] for each in done}), done, tasks)

    def settled(choice: Choice) -> Choice:
        differences = {c: value for c, value in choice.differences.items() if c in known}
        return replace(choice, differences=differences, wins={})

    choices = {task: settled(choice) for task, choice in found.tasks.items()}
    return Result("", selection=Selection(choices, settled(found.overall)))
