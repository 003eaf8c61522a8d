"""Scores whole models, and single answers, with a scorer. Knows no engines: the answers are given."""

from collections.abc import Mapping, Sequence

from adamms.data.example import Example
from adamms.evaluate.evaluation import Scores
from adamms.evaluate.scorers import Scorer
from adamms.merge.candidate import Candidate

HALF = 50.0  # percent


def score_tasks(
    scorer: Scorer, labels: Mapping[str, str], examples: Sequence[Example], texts: Mapping[str, str]
) -> Scores:
    """The score of one model on every task.

    Args:
        labels: example id -> the right answer.
        examples: those that are scored; all of them have a label.
        texts: example id -> the model's answer.
    """
    truths: dict[str, dict[str, str]] = {}
    for example in examples:
        truths.setdefault(example.task, {})[example.id] = labels[example.id]
    return Scores({task: scorer(texts, truth) for task, truth in truths.items()})


def judge(texts: Mapping[Candidate, str], label: str, scorer: Scorer) -> dict[Candidate, bool]:
    """Whether each answer to one example is right: scored alone, it gets more than half of the points.

    Args:
        texts: candidate -> its answer.
        label: the right answer.
    """
    right = {text: scorer({"": text}, {"": label}) > HALF for text in set(texts.values())}
    return {candidate: right[text] for candidate, text in texts.items()}
