"""A made-up run of 8 tasks and 11 alphas, with the numbers that a real one could have."""

from dataclasses import replace
from pathlib import Path

import pytest

from adamms.data.example import Example
from adamms.evaluate.evaluation import Evaluation, Scores
from adamms.mapping.checks.distance import Distances, TensorDistance
from adamms.mapping.expression import Read
from adamms.mapping.plan import Plan, Slot
from adamms.merge.candidate import Candidate
from adamms.report.answered import Answered
from adamms.report.result import Result, StageTiming
from adamms.search.choice import Choice, Selection, Trust

TARGET_TASKS = ("read", "spell", "presence", "largest")
DONOR_TASKS = ("successor", "double", "parity", "remainder")
TASKS = TARGET_TASKS + DONOR_TASKS
GRID = tuple(Candidate(step / 10) for step in range(11))
INTERIOR = GRID[1:-1]


def accuracy(task: str, alpha: float) -> float:
    """Percent: the target's skills fall towards 1, the donor's towards 0; both are good in between."""
    position = TASKS.index(task)
    away = alpha if task in TARGET_TASKS else 1 - alpha
    return round(95 - position / 2 - 75 * max(0.0, away - 0.35 - position / 50) ** 1.3, 1)


def differences(task: str) -> dict[Candidate, float]:
    """Changed answers out of 50 per neighbour: few where the accuracy is flat."""
    at = {c: accuracy(task, c.alpha) for c in GRID}
    return {
        GRID[i]: float(round((abs(at[GRID[i]] - at[GRID[i - 1]]) + abs(at[GRID[i + 1]] - at[GRID[i]])) / 2))
        for i in range(1, len(GRID) - 1)
    }


def choice(found: dict[Candidate, float], examples: int) -> Choice:
    least = min(found.values())
    tied = tuple(c for c in found if found[c] == least)
    weights = {c: 3.0 ** -(value - least) for c, value in found.items()}
    wins = {c: weight / sum(weights.values()) for c, weight in weights.items()}
    winner = tied[(len(tied) - 1) // 2]
    trust = Trust(round(min(1.0, 0.5 + 0.04 * least), 2), 2.0)
    return Choice(winner, found, tied, wins[winner], wins, examples, trust=trust)


def scores(alpha: float, loss: float = 0.0) -> Scores:
    return Scores({task: round(accuracy(task, alpha) - loss, 1) for task in TASKS})


def a_plan() -> Plan:
    """Merged layers, kept vision tower and norms, one slot that the second donor has no part in."""
    weight = Read("model.layers.0.mlp.up_proj.weight")
    slots = [
        Slot(
            f"model.layers.{i}.mlp.up_proj.weight",
            (384, 128),
            "BF16",
            f"layers.{i}.mlp.up.weight",
            {"a": weight},
        )
        for i in range(4)
    ]
    slots[0] = replace(slots[0], lacking={"b": "b has 3 layers"})
    slots += [
        Slot(f"visual.blocks.{i}.attn.qkv.weight", (288, 96), "BF16", "", reason="vision encoder")
        for i in range(2)
    ]
    slots.append(Slot("model.norm.weight", (128,), "BF16", "final_norm.weight", reason="mapper.exclude=norm"))
    unused = {
        "a": {"vision encoder": ("v.0", "v.1", "v.2"), "no tensor of the target takes it": ("newline",)}
    }
    return Plan(
        "/models/target (qwen2_vl)",
        {"a": "/models/a (llava_onevision)", "b": "/models/b (llava)"},
        tuple(slots),
        unused,
    )


@pytest.fixture(scope="session")
def plan() -> Plan:
    return a_plan()


@pytest.fixture(scope="session")
def result() -> Result:
    found = {task: differences(task) for task in TASKS}
    total = {c: sum(found[task][c] for task in TASKS) for c in INTERIOR}
    choices = {task: choice(found[task], 50) for task in TASKS}
    choices["read"] = replace(choices["read"], doubts=("Few examples.", "Many ties."))
    selection = Selection(choices, choice(total, 50 * len(TASKS)))
    evaluation = Evaluation(
        {c: scores(c.alpha) for c in GRID},
        {"a": scores(1.0, loss=-4.0)},
        {c: scores(c.alpha / 2, loss=9.0) for c in GRID},
    )
    return Result(
        title="demo, seed 0",
        target="tiny Qwen2-VL",
        donors={"a": "tiny LLaVA-OneVision"},
        method="linear: (1 - alpha) * target + alpha * donors",
        plan=a_plan(),
        selection=selection,
        evaluation=evaluation,
        search="rule sum, exact match, interior alphas, 50 examples per task, seed 0",
        measure="accuracy",
        labelled=1600,
        timings=(
            StageTiming("plan", 0.4, 7, "tensors"),
            StageTiming("search", 12.34, 1100, "answers"),
            StageTiming("merge", 4.0, 15_200_000_000, "bytes"),
        ),
        merged=Candidate(0.5),
        folder=Path("/runs/2026-11-22/07-45-00/model"),
        load='AutoModelForImageTextToText.from_pretrained("/runs/2026-11-22/07-45-00/model")',
        command="python run.py mode=merge model=custom model.target.path=/models/target",
    )


@pytest.fixture(scope="session")
def pointed(result: Result) -> Result:
    """The run with points of 50 examples of each task, about the same scores; D has intervals."""

    def model(found: Scores) -> Scores:
        return Scores.of(
            {
                task: {f"{task}{i:02}": float(2 * i < score) for i in range(50)}
                for task, score in found.tasks.items()
            }
        )

    def around(choice: Choice) -> Choice:
        return replace(choice, intervals={c: (d / 2, 2 * d + 1) for c, d in choice.differences.items()})

    evaluation, selection = result.scored, result.selection
    assert selection is not None
    return replace(
        result,
        evaluation=Evaluation(
            {c: model(scores) for c, scores in evaluation.candidates.items()},
            {name: model(scores) for name, scores in evaluation.donors.items()},
            {c: model(scores) for c, scores in evaluation.control.items()},
        ),
        selection=Selection(
            {task: around(choice) for task, choice in selection.tasks.items()}, around(selection.overall)
        ),
        labelled=400,
    )


HOSTILE = "<script>window.hacked = true</script><img src=x onerror='window.hacked = true'>"
LONG = "a long caption of a picture, " * 100


@pytest.fixture(scope="session")
def answered(result: Result, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The run with 60 pictures and answers: short ones, long ones, and what would break a careless page.

    Of each task the example number 0 never changes, 1 is right from 0.5 on, 2 up to 0.4, and so on in turn.
    """
    from PIL import Image

    folder = tmp_path_factory.mktemp("images")
    found = []
    points: dict[Candidate, dict[str, dict[str, float]]] = {candidate: {} for candidate in GRID}
    for number in range(60):
        task, kind = TASKS[number % 4], number // 4 % 3
        file = folder / f"{number}.png"
        Image.new("RGB", (24, 24), (number // 2 * 8, 90, 200)).save(file)  # each colour twice
        texts = {c: ("seven" if kind == 0 or (kind == 1) == (c.alpha >= 0.5) else "two") for c in GRID}
        example = Example(f"example-{number}", task, f"What is number {number}?", file)
        found.append(Answered(example, texts, "seven"))
        for candidate, text in texts.items():
            points[candidate].setdefault(task, {})[example.id] = float(text == "seven")
    Image.effect_noise((900, 600), 40).save(folder / "large.png")
    texts = {c: HOSTILE if c.alpha < 0.5 else LONG for c in GRID}
    hostile = Example("hostile", "read", f"Is this {HOSTILE}?", folder / "large.png")
    lost = Example("lost", "read", "Where is the picture?", folder / "missing.png")
    found += [
        Answered(hostile, texts, HOSTILE, columns={"source": HOSTILE}),
        Answered(lost, dict.fromkeys(GRID, "")),
    ]
    checks = Distances(
        tuple(
            TensorDistance(
                *(f"model.layers.{layer}.{role}", source, role, layer),
                *(0.9, 0.01 * (1 + layer) * (2 if source == "a" else 1)),
            )
            for layer in range(4)
            for role in ("attn.q.weight", "mlp.up.weight")
            for source in ("a", "ancestor")
        )
    )
    config = f"merge:\n  method: linear\nnote: '</script>{HOSTILE}'\n"
    scored = {c: Scores(own.tasks, points[c]) for c, own in result.scored.candidates.items()}
    evaluation = replace(result.scored, candidates=scored)
    told = {"answered": tuple(found), "checks": checks, "config": config, "title": f"demo {HOSTILE}"}
    return replace(result, evaluation=evaluation, **told)
