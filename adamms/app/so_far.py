"""What a search knows before its end, for trackers; nothing of it goes back to the search.

D of a candidate is said as soon as everything is there that it depends on; see `Signal.looks_at`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from adamms.app.asker import UNMERGED, Answers, Asker
from adamms.app.questions import Questions
from adamms.app.settings import Run
from adamms.engines.answer import texts
from adamms.evaluate.evaluation import Evaluation
from adamms.evaluate.score import score_tasks
from adamms.merge.candidate import Candidate
from adamms.report.result import Result
from adamms.search.candidates import shape_of
from adamms.search.choice import Choice, Selection
from adamms.search.coefficients import Coefficients
from adamms.search.evidence import CONTROL, DISTURBED, PARENTS, Evidence
from adamms.search.strategy import Strategy, examples_of

Mask = npt.NDArray[np.bool_]
Part = TypeVar("Part")


def tell_so_far(run: Run, asker: Asker, questions: Questions, candidate: Candidate) -> None:
    """What is known now that this candidate has answered, or has scored texts.

    Its score is over those of the questions that have labels: the search sees none of them.
    """
    record, labels = asker.console.record, questions.data.answers
    record.so_far(lambda: so_far(run, asker, questions.searched))
    asked = {example.id for example in questions.inputs}
    labelled = [example for example in questions.labelled if example.id in asked]
    given = asker.answers.get(candidate, {})
    if run.scorer is None or not labelled or not given.keys() >= {example.id for example in labelled}:
        return
    scorer = run.scorer
    record.so_far(
        lambda: Result(
            "", evaluation=Evaluation({candidate: score_tasks(scorer, labels, labelled, texts(given))})
        ),
        part=len(labelled) < len(questions.labelled),
    )


def so_far(run: Run, asker: Asker, tasks: Mapping[str, Sequence[str]]) -> Result:
    """D of those of the grid's candidates of which it will not change any more; else an empty result.

    Where answers are inferred (`Strategy.bisection`) nothing is certain before the end.

    Args:
        asker: what has been asked until now.
        tasks: task -> ids of the examples that the search looks at.
    """
    strategy, grid = run.strategy, sorted(run.grid)
    held = None if strategy.bisection else _held(strategy, asker, grid, examples_of(tasks))
    if held is None:
        return Result("")
    shape, signal = shape_of(grid), strategy.signal
    known = settled(held.answered.reshape(shape), signal.looks_at)
    known &= settled(held.whole.reshape(shape), signal.neighbours)
    for _ in range(strategy.smoothing * len(shape)):
        known = settled(known, (-1, 1))
    if not known.any():
        return Result("")
    # How sure it is can be told at the end only.
    quick = replace(strategy, resamples=1, tolerance=None)
    selection = Strategy.choose(quick, lambda *_: held.evidence, grid, tasks)
    sure = {candidate for candidate, is_known in zip(grid, known.ravel(), strict=True) if is_known}

    def said(choice: Choice) -> Choice:
        differences = {c: value for c, value in choice.differences.items() if c in sure}
        return replace(choice, differences=differences, wins={})

    overall = said(selection.overall)
    if isinstance(strategy, Coefficients):  # which may end in a choice over other examples
        overall = replace(overall, differences={})
    return Result("", selection=Selection({t: said(c) for t, c in selection.tasks.items()}, overall))


@dataclass(frozen=True)
class _Held:
    """Evidence of the whole grid, in which somebody who was asked stands in for whoever was not.

    Args:
        answered: whether each candidate has answered; in the grid's order.
        whole: whether everything that is needed of it is there.
    """

    evidence: Evidence
    answered: Mask
    whole: Mask


def _held(
    strategy: Strategy, asker: Asker, grid: Sequence[Candidate], examples: Sequence[str]
) -> _Held | None:
    """What is there until now; None where nothing can be said yet."""
    needs = strategy.needs
    answered = _whole(asker.answers, grid, examples)
    control = _whole(asker.control, grid, examples)
    changed = _whole(asker.changed, grid, examples)
    target = _whole(asker.targets, [UNMERGED], examples)
    lack = strategy.difference.graded and not {grid[0], grid[-1]} <= answered.keys()
    lack |= any(need in needs and not held for need, held in ((CONTROL, control), (DISTURBED, changed)))
    if lack or not answered or (PARENTS in needs and not target):
        return None
    view = replace(
        asker,
        answers=_filled(answered, grid),
        control=_filled(control, grid),
        changed=_filled(changed, grid),
    )
    evidence = view.evidence(grid, examples)
    whole = set(answered)
    for need, held in ((CONTROL, control), (DISTURBED, changed)):
        whole &= held.keys() if need in needs else whole
    if wanted := asker.to_score(evidence, examples):
        count = sum(map(len, wanted.values()))
        made = {each: asker.scores(each, wanted) for each in grid}
        scored = {each: texts for each, texts in made.items() if sum(map(len, texts.values())) == count}
        if not scored:
            return None
        evidence = replace(evidence, scored=_filled(scored, grid))
        whole &= scored.keys()
    return _Held(evidence, *(np.array([each in some for each in grid]) for some in (answered, whole)))


def _whole(held: Answers, grid: Sequence[Candidate], examples: Sequence[str]) -> Answers:
    """What those answered who have answered all examples."""
    return {each: held[each] for each in grid if held.get(each, {}).keys() >= set(examples)}


def _filled(held: Mapping[Candidate, Part], grid: Sequence[Candidate]) -> dict[Candidate, Part]:
    """What each candidate has, and for one without it another's; empty if none has any."""
    return {each: held.get(each, next(iter(held.values()))) for each in grid} if held else {}


def settled(done: Mask, steps: Sequence[int] | None) -> Mask:
    """Who is done together with all that are so many steps away, along every axis; shape of `done`.

    At an end the one on the other side stands in for who is missing.

    >>> settled(np.array([True, True, True, False]), (-1, 1)).tolist()
    [True, True, False, False]
    >>> settled(np.array([True, True, True, False]), None).tolist()
    [False, False, False, False]
    """
    if steps is None:
        return np.full(done.shape, done.all())
    found = done.copy()
    for axis, count in enumerate(done.shape):
        places = np.arange(count)
        for step in steps:
            beyond = (places + step < 0) | (places + step >= count)
            looked_at = np.clip(np.where(beyond, places - step, places + step), 0, count - 1)
            found &= done.take(looked_at, axis)
    return found
