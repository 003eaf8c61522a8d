"""Logs of lmms-eval with a published table's scores, and answers by which the paper's rule picks its alphas.

Between neighbouring alphas as few answers change as the scores allow, on both sides of the published alpha;
on all other steps every wrong answer turns into another wrong one, too.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MMMU, MME, FEW = 900, 200, 100  # questions that the scores' digits need; MME: pictures of one category
SMALL, CATEGORIES = 4, [f"category {n}" for n in range(14)]  # pictures of MME's others
COGNITION = CATEGORIES[-4:]
METRICS = {"seedbench": "seed_image", "ocrbench": "ocrbench_accuracy"}  # and of the others exact_match
Said = Sequence[tuple[str, float]]  # an answer and its points, by question


def read_table(file: Path) -> dict[str, dict[str, float]]:
    """Model -> task -> number."""
    with file.open() as lines:
        return {
            row.pop("model"): {task: float(value) for task, value in row.items()}
            for row in csv.DictReader(lines)
        }


def write_logs(
    folder: Path, published: Mapping[str, Mapping[str, float]], chosen: Mapping[str, float]
) -> None:
    """A folder for each model in `folder`, as lmms-eval leaves it.

    Args:
        published: model -> task -> score; those that numbers name are alphas.
        chosen: task -> the alpha that the paper's rule is to choose.
    """
    alphas = sorted(name for name in published if name[0].isdigit())
    others = [name for name in published if name not in alphas]
    for task in chosen:
        points = {name: _points(task, own[task]) for name, own in published.items()}
        held = alphas.index(str(chosen[task]))
        said = [_answers(points[alpha], 0) for alpha in alphas]
        for number in range(1, len(alphas)):
            calm = number in (held, held + 1)
            said[number] = _answers(points[alphas[number]], 0, said[number - 1], calm)
        for name, own in [*zip(alphas, said, strict=True), *((o, _answers(points[o], 9)) for o in others)]:
            _write(folder / name / "lmms_eval/org__model", task, own, published[name][task])


def _points(task: str, score: float) -> list[float]:
    """Points of every question, with this score."""
    if task == "mme":
        return _of_pairs(score)
    count = MMMU if task == "mmmu_val" else FEW
    full = round(score * count / 100, 4)
    whole = round(full) if task == "mmmu_val" else int(full)
    rest = [round(full - whole, 4)] if whole < full and task != "mmmu_val" else []
    return [*[1.0] * whole, *rest, *[0.0] * (count - whole - len(rest))]


def _of_pairs(score: float) -> list[float]:
    """The same for MME: two questions of each picture, of small categories and last of a large one.

    A picture with one right answer counts 50 over its category's pictures, one with two four times that.
    """
    small, total = SMALL * (len(CATEGORIES) - 1), 28 * score
    units = max(0, min(4 * small, round((total - 150) * SMALL / 50)))
    units = 4 * small - 37 if total > 2200 else units  # so that neighbours differ in the large category alone
    rest = round((total - units * 50 / SMALL) * MME / 50)
    return [*_units(units, small), *_units(rest, MME)]


def _units(count: int, pictures: int) -> list[float]:
    two, one = divmod(count, 4)
    halves = [1.0, 0.0] * one
    assert 2 * (two + one) <= 2 * pictures
    return [*[1.0, 1.0] * two, *halves, *[0.0] * (2 * (pictures - two - one))]


def _answers(
    points: Sequence[float], variant: int, before: Said = (), calm: bool = True
) -> list[tuple[str, float]]:
    """What is said, with its points; a wrong answer stays, if it may, what it was before."""
    said = []
    for number, own in enumerate(points):
        last = before[number] if before else None
        stays = own == 0 and last is not None and last[1] == 0
        kind = int(last[0]) + (not calm) if stays and last else variant
        said.append((str(kind) if own == 0 else f"right {own:g}", own))
    return said


def _write(folder: Path, task: str, said: Said, score: float) -> None:
    """The task's samples, and its metrics beside those of the tasks before."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"doc_id": number, "target": "secret", "filtered_resps": text, "input": f"question {number}"}
        | {"doc_hash": f"{task} {number}"}
        | _logged(task, number, text, points)
        for number, (text, points) in enumerate(said)
    ]
    (folder / f"20250301_101500_samples_{task}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    file = folder / "20250301_101500_results.json"
    content = json.loads(file.read_text()) if file.is_file() else {"results": {}, "config": {"model": "vllm"}}
    content["results"][task] = {"alias": task} | _metrics(task, rows, said)
    file.write_text(json.dumps(content))


def _category(number: int) -> tuple[str, int]:
    """Of a question of MME's: its category and its picture."""
    picture = number // 2
    small = SMALL * (len(CATEGORIES) - 1)
    order = [*CATEGORIES[1:], CATEGORIES[0]]  # the large one is of perception
    return (order[picture // SMALL], picture) if picture < small else (CATEGORIES[0], picture)


def _logged(task: str, number: int, text: str, points: float) -> dict[str, Any]:
    """What the task logs of a sample, beside what all do."""
    if task == "mmmu_val":
        own = {"question_type": "multiple-choice", "answer": "A", "parsed_pred": ["A" if points else text]}
        return {"mmmu_acc": own, "submission": {f"validation_Art_{number}": text}}
    if task == "mme":
        category, picture = _category(number)
        name = "mme_cognition_score" if category in COGNITION else "mme_perception_score"
        return {name: {"question_id": str(picture), "category": category, "score": points}}
    if task == "ocrbench":
        return {
            "ocrbench_accuracy": {"question_type": "Doc-oriented VQA", "score": points, "prediction": text}
        }
    return {METRICS.get(task, "exact_match"): points}


def _metrics(task: str, rows: Sequence[Mapping[str, Any]], said: Said) -> dict[str, Any]:
    """As lmms-eval aggregates them."""
    mean = sum(points for _, points in said) / len(said)
    if task == "mmmu_val":
        return {"mmmu_acc,none": round(mean, 5), "mmmu_acc_stderr,none": "N/A"}
    if task == "mme":
        return {
            f"{name},none": _mme([row[name] for row in rows if name in row])
            for name in ("mme_perception_score", "mme_cognition_score")
        }
    extra = {"seed_all,none": mean} if task == "seedbench" else {}
    return {f"{METRICS.get(task, 'exact_match')},none": mean, **extra}


def _mme(logged: Sequence[Mapping[str, Any]]) -> float:
    """MME's own sum over categories, of the share of right answers and of wholly right pictures."""
    total = 0.0
    for category in {each["category"] for each in logged}:
        own = [each for each in logged if each["category"] == category]
        pictures = {each["question_id"] for each in own}
        right = [[each["score"] for each in own if each["question_id"] == picture] for picture in pictures]
        total += 100 * sum(map(sum, right)) / len(own) + 100 * sum(sum(pair) == 2 for pair in right) / len(
            right
        )
    return total
