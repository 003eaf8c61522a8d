"""Scores models with a scorer. Knows no engines: the answers are given.

A question with options is answered rightly by naming an option that the label accepts, whatever the scorer.
"""

from collections.abc import Iterable, Mapping, Sequence

from adamms.data.example import Example, Label
from adamms.engines.thought import without_thought
from adamms.errors import AdammsError
from adamms.evaluate.evaluation import Scores
from adamms.evaluate.named_option import named, right_letters
from adamms.evaluate.scorers import ACCURACY, Scorer

SHOWN = 5  # labels of those that are wrong


def check_labels(scorer: Scorer, labels: Mapping[str, Label]) -> None:
    """Raise AdammsError if a label names no option, or is of a kind that the scorer cannot use."""
    problems = []
    for label in labels.values():
        try:
            right_letters(label) if label.options else scorer.check(label)
        except AdammsError as error:
            problems.append(f"{label.place}: {error}" if label.place else str(error))
    if problems:
        more = f"\n  and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise AdammsError("bad labels:\n  " + "\n  ".join(problems[:SHOWN]) + more)


def measure(scorer: Scorer, labels: Iterable[Label]) -> str:
    """What the scores of `score_tasks` are: the scorer's measure, but for questions with options.

    >>> from adamms.evaluate.scorers import TokenF1
    >>> measure(TokenF1(), [Label(("red",)), Label(("B",), {"A": "red", "B": "blue"})])
    'token F1, of options accuracy'
    """
    found = dict.fromkeys(ACCURACY if label.options else scorer.measure for label in labels)
    return ", of options ".join(sorted(found, key=lambda name: name == ACCURACY))


def score_tasks(
    scorer: Scorer, labels: Mapping[str, Label], examples: Sequence[Example], texts: Mapping[str, str]
) -> Scores:
    """The score of one model on every task: the mean over its examples, in percent.

    Args:
        labels: example id -> what is right.
        examples: those that are scored; all of them have a label.
        texts: example id -> the model's answer.
    """
    points: dict[str, dict[str, float]] = {}
    for example in examples:
        answer, label = texts[example.id], labels[example.id]
        points.setdefault(example.task, {})[example.id] = right(scorer, answer, label)
    return Scores.of(points)


def right(scorer: Scorer, answer: str, label: Label) -> float:
    """How right one answer is, in [0, 1]; a thought that it begins with does not count."""
    answer = without_thought(answer)
    if label.options:
        return float(named(answer, label.options) in right_letters(label))
    return scorer(answer, label)
