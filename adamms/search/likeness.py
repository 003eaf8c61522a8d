"""How like a model's answers to a task are those to another task.

A model that has not learnt a task answers it like one that it has learnt. Knows no labels and no signals.
"""

from collections import Counter
from collections.abc import Mapping, Sequence, Set

from adamms.engines.words import words
from adamms.search.evidence import Evidence, sayers

Said = Sequence[Sequence[str]]  # of each answer the words


def likeness(evidence: Evidence, tasks: Mapping[str, str], examples: Sequence[str]) -> dict[str, list[float]]:
    """Task -> how like the answers to it are those to the likest other task.

    One number for each candidate, in their order, for each donor, and last for the target; see `likest`.
    0 where there is no other task.

    Args:
        tasks: example id -> its task.
        examples: those whose answers are compared.
    """
    known: dict[str, list[str]] = {}

    def said(text: str) -> list[str]:
        if text not in known:
            known[text] = words(text)
        return known[text]

    parts: dict[str, list[str]] = {}
    for example in examples:
        parts.setdefault(tasks[example], []).append(example)
    models = [*sayers(evidence, "all"), evidence.target]
    given = [
        [[said(answer.said) for e in part if (answer := model.get(e))] for part in parts.values()]
        for model in models
    ]
    common = [most(voters) for voters in zip(*given[:-1], strict=True)]
    rows = [likest(model, common) for model in given]
    return dict(zip(parts, map(list, zip(*rows, strict=True)), strict=True))


def most(voters: Sequence[Said]) -> set[str]:
    """The words that most of those say who were asked.

    >>> sorted(most([[["red"], ["dog"]], [["red"]], [["cat", "red"], ["dog"]], []]))
    ['dog', 'red']
    """
    counts = Counter(word for answers in voters for word in {word for answer in answers for word in answer})
    return {word for word, count in counts.items() if 2 * count > sum(map(bool, voters))}


def likest(given: Sequence[Said], common: Sequence[Set[str]]) -> list[float]:
    """Of a model's answers to each task how many words belong to the likest other task, as a share.

    A word belongs to another task if the model says it there, or if most models do: who says "yes" to all of
    one task and "no" to all of the other says nothing of its own. Nor do answers that are all the same,
    whatever they are: the share of the most frequent one is the least that is found. It is 1 of nothing.

    Args:
        given: of each task the model's answers.
        common: of each task the words that most models say.

    >>> likest([[["red"], ["blue"]], [["3", "dogs"], ["2", "dogs"]]], [{"red", "blue"}, {"2", "3"}])
    [0.5, 0.5]
    >>> likest([[["yes"], ["yes"]], [["no"], ["no"]]], [{"yes", "no"}, {"yes", "no"}])
    [1.0, 1.0]
    """
    counts = [Counter(word for answer in answers for word in answer) for answers in given]
    belong = [own.keys() | words for own, words in zip(counts, common, strict=True)]
    found = []
    for place, (answers, own) in enumerate(zip(given, counts, strict=True)):
        others = [words for other, words in enumerate(belong) if other != place]
        if not own:
            shares = [1.0]
        else:
            same = Counter(map(tuple, answers)).most_common(1)[0][1] / len(answers)
            shares = [same, *(sum(own[w] for w in own.keys() & words) / own.total() for words in others)]
        found.append(max(shares) if others else 0.0)
    return found
