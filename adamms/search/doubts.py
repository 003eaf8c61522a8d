"""Why the data hardly support a choice, or cannot: a plain sentence for each reason.

Looks at answers, not at how they were made. Knows no labels and no models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from adamms.engines.answer import Answer, normalised
from adamms.search.choice import Choice, Selection, about
from adamms.search.resampling import SAME, Array

FEW = 20  # fewer examples than that leave a choice to chance
SATURATED = 0.8  # of the difference of unrelated answers; from there on neighbours have nothing in common
EMPTY = 0.5  # share of empty answers; from there on it says nothing that they agree
CUT = 0.2  # share of answers cut at max_new_tokens; from there on they are not compared as they are

ALONE = "Nothing else could win: every other candidate lies at an end of the grid."
SOME_TIE = "Other candidates have the same D: only the tie rule prefers this one."
ALL_TIE = "All candidates that could win have the same D: only the tie rule prefers this one."
NO_CHANGE = "No answer changes anywhere on the grid, so the answers do not tell one candidate from another."
ALL_DIFFER = (
    "Nearly every answer differs between neighbours: exact match says nothing here. Compare their words or "
    "what they mean: search/difference=overlap, search/difference=embedding."
)
ALL_FAR = "Nearly every answer is as far from its neighbours' as an unrelated one: D says nothing here."
MOST_EMPTY = (
    "Most of its answers are empty, and that these agree says nothing: look at the prompts and at "
    "engine.max_new_tokens."
)
MANY_THOUGHTS_CUT = (
    "Many of its answers were cut inside a thought, before anything was said, and count as empty: raise "
    "engine.max_new_tokens."
)
MANY_CUT = "Many of its answers were cut at engine.max_new_tokens, so their ends were not compared: raise it."
TOO_FEW = f"There are fewer than {FEW} examples: give the search more (search.samples, or more data)."


def notes(choice: Choice) -> tuple[str, ...]:
    """What takes from the worth of a win, though the probability of a good choice allows for it."""
    if len(choice.differences) == 1:
        return (ALONE,)
    return (SOME_TIE,) if 1 < len(choice.tied) < len(choice.differences) else ()


def doubts(
    choice: Choice, answers: Sequence[Answer], apart: Array, likest: int, unrelated: float, graded: bool
) -> tuple[str, ...]:
    """Why these data cannot support a choice, whatever it is.

    Args:
        answers: the winner's.
        apart: how far the answers of each candidate are from the winner's; shape (candidates, examples).
        likest: the place of the neighbour whose answers are least far away.
        unrelated: how far from each other answers are that have nothing to do with each other.
        graded: whether answers are compared by more than same or not.
    """
    cut = [answer.cut for answer in answers if answer.cut is not None]
    in_thought = np.mean([answer.ends_in_thought for answer in answers]) >= CUT
    changes = apart.max() > SAME
    reasons = {
        ALL_FAR if graded else ALL_DIFFER: (changes and apart[likest].mean() >= SATURATED * unrelated),
        MOST_EMPTY: np.mean([not normalised(answer.text) for answer in answers]) >= EMPTY,
        MANY_THOUGHTS_CUT: in_thought,
        MANY_CUT: not in_thought and bool(cut) and np.mean(cut) >= CUT,
        NO_CHANGE: not changes,
        ALL_TIE: changes and 1 < len(choice.tied) == len(choice.differences),
        TOO_FEW: len(answers) < FEW,
    }
    return tuple(reason for reason, holds in reasons.items() if holds)


def selection(tasks: Mapping[str, Choice], overall: Choice) -> Selection:
    """The choices with a note to the one over all where the data of single tasks cannot support a choice."""
    some = [task for task, choice in tasks.items() if set(choice.doubts) - {ALONE, SOME_TIE}]
    if not some or len(tasks) == 1 or all(choice.doubts == overall.doubts for choice in tasks.values()):
        return Selection(tasks, overall)
    note = about(some, "The data cannot support a choice for the task alone.", len(tasks))
    return Selection(tasks, replace(overall, doubts=(*overall.doubts, note)))
