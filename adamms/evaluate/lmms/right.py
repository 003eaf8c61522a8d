"""How right one answer is, by what lmms-eval's tasks log of it in place of a number.

MMMU, SEED-Bench, OCRBench and MME log a mapping per sample, in the words of their own scripts.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any


def right(logged: Any) -> float | None:
    """What a sample adds to its metric; None if that cannot be told from what is logged.

    >>> right(0.6), right({"score": 1}), right({"pred": "a", "answer": "A"}), right("N/A")
    (0.6, 1.0, 1.0, None)
    """
    if not isinstance(logged, Mapping):
        return number(logged)
    if "score" in logged:
        return number(logged["score"])
    answer = logged.get("answer")
    if isinstance(answer, str) and isinstance(said := logged.get("pred"), str):
        return float(said.strip().lower() == answer.strip().lower())
    if "parsed_pred" not in logged or answer is None:
        return None
    answers = answer if isinstance(answer, list) else [answer]
    said = _listed(logged["parsed_pred"])
    if logged.get("question_type") == "multiple-choice":
        return float(any(letter in answers for letter in said))
    return float(any(_mmmu_open(_listed(candidates), answers) for candidates in said))


def number(value: Any) -> float | None:
    """The value as a number; None if it is not a finite one, such as "N/A"."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def of_pairs(logged: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """MME's points, one per picture; their mean is MME's score as a share of what a perfect model has.

    MME adds, for each category, the share of right answers and that of pictures whose two questions are both
    answered rightly. So a picture counts the mean of the two, times the share that its category has of the
    whole over the share that it has of the pictures: above 1 in small categories.

    Returns:
        Nothing if these are no such pairs.
    """
    pictures: dict[tuple[str, str], list[float]] = {}
    for each in logged:
        score = number(each.get("score"))
        if score is None or "category" not in each or "question_id" not in each:
            return {}
        pictures.setdefault((str(each["category"]), str(each["question_id"])), []).append(score)
    sizes: dict[str, int] = {}
    for category, _ in pictures:
        sizes[category] = sizes.get(category, 0) + 1
    return {
        f"{category} {picture}": (sum(scores) / len(scores) + all(scores))
        / 2
        * (len(pictures) / len(sizes) / sizes[category])
        for (category, picture), scores in pictures.items()
    }


def _listed(value: Any) -> list[Any]:
    """lmms-eval's logs may have a list of one as what is in it."""
    return value if isinstance(value, list) else [value]


def _mmmu_open(said: Sequence[Any], answers: Sequence[Any]) -> bool:
    """Whether an open question of MMMU is answered rightly, by MMMU's own evaluation.

    Args:
        said: texts and numbers that were found in the answer, as MMMU writes them.
        answers: what is right, as the data has it.
    """
    known: list[str | float] = []
    for answer in map(str, answers):
        try:
            known.append(round(float(answer.strip().replace(",", "")), 2))
        except ValueError:
            text = answer.strip().lower()
            known += [f" {text}", f"{text} "] if len(text) == 1 else [text]
    texts = [text for text in known if isinstance(text, str)]
    return any(
        any(text in each for text in texts) if isinstance(each, str) else each in known for each in said
    )
