"""The training stages on Lightning Fabric: language, vision, alignment, fine-tuning.

Each stage trains a given model in place. What the stages feed on is in `batches`, how long and how
hard they train is `Regime`'s; nothing here reads or writes files.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from adamms.data.digits import COLOURS, DONOR_SKILLS, SKILLS, TARGET_SKILLS, Glyphs, Skill
from adamms.demo import batches, language
from adamms.demo.anatomy import Anatomy
from adamms.demo.batches import Batch, CellBatch
from adamms.errors import check_choice

if TYPE_CHECKING:
    from lightning.fabric import Fabric

# Shows one stage's progress, as `Console.stage` does: title, steps, "steps" -> context of advance(1).
Stages = Callable[[str, int, str], AbstractContextManager[Callable[[int], None]]]
Group = tuple[Sequence[nn.Parameter], float]  # parameters and their peak learning rate


@dataclass(frozen=True)
class Regime:
    """How the models are trained: steps are optimiser updates, batches scenes, rates peak rates.

    What the defaults balance: the donor must be needed, and the answers must settle where the merge
    is good. If the ancestor knew all skills, merging the target with the *ancestor* would restore
    what fine-tuning made it forget, and no donor were needed; what the ancestor has never seen comes
    in only near the donor's end, and no alpha is stable. So the ancestor meets the donor's skills on
    the three highest digits rarely. A fine-tuning rate of 1e-3 leaves nothing to gain from a merge, a
    target tuned for more than about 200 steps answers alike (and wrongly) at alpha 0, 0.1 and 0.2.

    Args:
        known_digits: the ancestor is asked the donor's skills about digits below this ...
        rare_share: ... but in this share of the questions about any digit.
        ancestor_turns: questions per scene in text.
        turns: questions per image in fine-tuning.
        target_skills, donor_skills: names of the skills that fine-tuning teaches.
        second_skills: those of a second donor, which is another fine-tuning of the first; () for none.
        target_noise, donor_noise: the share of fine-tuning's answers that are another scene's.
    """

    ancestor_steps: int = 250
    ancestor_rate: float = 4e-3
    ancestor_turns: int = 12
    known_digits: int = 7
    rare_share: float = 0.02
    target_vision_steps: int = 500
    donor_vision_steps: int = 800
    vision_rate: float = 2e-3
    vision_batch: int = 64
    target_alignment_steps: int = 400
    target_alignment_rate: float = 3e-3
    donor_alignment_steps: int = 300
    donor_alignment_rate: float = 2e-3
    target_tuning_steps: int = 150
    donor_tuning_steps: int = 150
    tuning_rate: float = 2e-3
    tuning_vision_rate: float = 5e-4
    batch: int = 32
    turns: int = 6
    target_skills: tuple[str, ...] = tuple(skill.name for skill in TARGET_SKILLS)
    donor_skills: tuple[str, ...] = tuple(skill.name for skill in DONOR_SKILLS)
    second_skills: tuple[str, ...] = ()
    target_noise: float = 0.0
    donor_noise: float = 0.0

    def __post_init__(self) -> None:
        for field in ("target_skills", "donor_skills", "second_skills"):
            for name in getattr(self, field):
                check_choice(f"regime.{field}", name, [skill.name for skill in SKILLS])
            object.__setattr__(self, field, tuple(getattr(self, field)))


@dataclass(frozen=True)
class Lessons:
    """One model's part of a `Regime`.

    Args:
        name: for progress, and of its streams of scenes.
        skills: what fine-tuning teaches.
        noise: the share of its answers that are another scene's.
    """

    name: str
    skills: tuple[Skill, ...]
    noise: float
    vision_steps: int
    alignment_steps: int
    alignment_rate: float
    tuning_steps: int


@dataclass(frozen=True)
class Pupil:
    """A multimodal model as the stages see it: the whole of it, its parts, what it is to learn."""

    model: nn.Module
    anatomy: Anatomy
    lessons: Lessons

    def beside_language(self) -> list[nn.Parameter]:
        """Vision tower, projector and the like."""
        frozen = {id(parameter) for parameter in self.anatomy.language}
        return [p for p in self.model.parameters() if id(p) not in frozen]


def target_lessons(regime: Regime) -> Lessons:
    return Lessons(
        name="target",
        skills=_skills(regime.target_skills),
        noise=regime.target_noise,
        vision_steps=regime.target_vision_steps,
        alignment_steps=regime.target_alignment_steps,
        alignment_rate=regime.target_alignment_rate,
        tuning_steps=regime.target_tuning_steps,
    )


def donor_lessons(regime: Regime) -> Lessons:
    return Lessons(
        name="donor",
        skills=_skills(regime.donor_skills),
        noise=regime.donor_noise,
        vision_steps=regime.donor_vision_steps,
        alignment_steps=regime.donor_alignment_steps,
        alignment_rate=regime.donor_alignment_rate,
        tuning_steps=regime.donor_tuning_steps,
    )


def second_lessons(regime: Regime) -> Lessons:
    """The donor once more, fine-tuned on other skills; until then it is the same."""
    return replace(donor_lessons(regime), skills=_skills(regime.second_skills))


def _skills(names: Sequence[str]) -> tuple[Skill, ...]:
    return tuple(skill for skill in SKILLS if skill.name in names)


class DialogueObjective(nn.Module):
    """Mean cross-entropy of the answers' tokens."""

    def __init__(self, model: nn.Module, inputs: Callable[[Tensor, Tensor], dict[str, Tensor]] | None):
        super().__init__()
        self.model = model
        self.inputs = inputs

    def forward(self, batch: Batch) -> Tensor:
        if self.inputs is None or batch.pixels is None:
            arguments = {"input_ids": batch.ids}
        else:
            arguments = self.inputs(batch.ids, batch.pixels)
        logits: Tensor = self.model(**arguments, use_cache=False).logits
        return functional.cross_entropy(
            logits[:, :-1].flatten(0, 1),
            batch.labels[:, 1:].flatten(),
            ignore_index=language.IGNORE,
        )


class CellObjective(nn.Module):
    """Cross-entropy of each cell's digit and colour, from a head that is thrown away."""

    def __init__(self, tower: nn.Module, cells: Callable[[Tensor], Tensor], width: int):
        super().__init__()
        self.tower = tower
        self.cells = cells
        self.digit_head = nn.Linear(width, 11)
        self.colour_head = nn.Linear(width, len(COLOURS) + 1)

    def forward(self, batch: CellBatch) -> Tensor:
        features = functional.layer_norm(self.cells(batch.pixels), (self.digit_head.in_features,))
        digits = self.digit_head(features).flatten(0, 1)
        colours = self.colour_head(features).flatten(0, 1)
        return functional.cross_entropy(digits, batch.digits.flatten()) + functional.cross_entropy(
            colours, batch.colours.flatten()
        )


def train_ancestor(fabric: "Fabric", model: nn.Module, regime: Regime, seed: int, stages: Stages) -> None:
    """All skills, over scenes in text."""
    rng = batches.generator(seed, "ancestor")
    stream = batches.text_batches(
        rng, regime.batch, regime.ancestor_turns, regime.known_digits, regime.rare_share
    )
    groups = [(list(model.parameters()), regime.ancestor_rate)]
    objective = DialogueObjective(model, None)
    fit(fabric, "ancestor: language", objective, groups, stream, regime.ancestor_steps, stages)


def train_vision(
    fabric: "Fabric", pupil: Pupil, glyphs: Glyphs, regime: Regime, seed: int, stages: Stages
) -> None:
    """What each cell shows; stands in for the pretraining of a vision encoder."""
    stage = f"{pupil.lessons.name}: vision"
    stream = batches.cell_batches(batches.generator(seed, stage), glyphs, regime.vision_batch)
    objective = CellObjective(pupil.anatomy.tower, pupil.anatomy.cells, pupil.anatomy.width)
    groups = [(list(objective.parameters()), regime.vision_rate)]
    fit(fabric, stage, objective, groups, stream, pupil.lessons.vision_steps, stages)


def align(fabric: "Fabric", pupil: Pupil, glyphs: Glyphs, regime: Regime, seed: int, stages: Stages) -> None:
    """Captions and reading with the language model frozen: vision learns to speak its language."""
    stage = f"{pupil.lessons.name}: alignment"
    reading = TARGET_SKILLS[:1]
    stream = batches.image_batches(
        batches.generator(seed, stage), glyphs, pupil.anatomy.image, regime.batch, 2, reading, caption=True
    )
    groups = [(pupil.beside_language(), pupil.lessons.alignment_rate)]
    objective = DialogueObjective(pupil.model, pupil.anatomy.inputs)
    fit(fabric, stage, objective, groups, stream, pupil.lessons.alignment_steps, stages)


def tune(fabric: "Fabric", pupil: Pupil, glyphs: Glyphs, regime: Regime, seed: int, stages: Stages) -> None:
    """The pupil's own skills on images, nothing frozen."""
    stage = f"{pupil.lessons.name}: fine-tuning"
    stream = batches.image_batches(
        batches.generator(seed, stage), glyphs, pupil.anatomy.image, regime.batch, regime.turns,
        pupil.lessons.skills, caption=False, noise=pupil.lessons.noise,
    )  # fmt: skip
    groups = [
        (pupil.anatomy.language, regime.tuning_rate),
        (pupil.beside_language(), regime.tuning_vision_rate),
    ]
    objective = DialogueObjective(pupil.model, pupil.anatomy.inputs)
    fit(fabric, stage, objective, groups, stream, pupil.lessons.tuning_steps, stages)


def fit(
    fabric: "Fabric",
    stage: str,
    objective: nn.Module,
    groups: Sequence[Group],
    stream: Iterator[Batch] | Iterator[CellBatch],
    steps: int,
    stages: Stages,
) -> None:
    """AdamW (betas 0.9, 0.98), gradient norm at most 1, linear warm-up, cosine decay to 2 %."""
    for parameter in objective.parameters():
        parameter.requires_grad_(False)
    for parameters, _ in groups:
        for parameter in parameters:
            parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(
        [{"params": list(parameters), "lr": rate} for parameters, rate in groups],
        betas=(0.9, 0.98),
        weight_decay=0.01,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share(step, steps))
    module, fabric_optimizer = fabric.setup(objective, optimizer)
    module.train()
    with stages(stage, steps, "steps") as advance:
        for _ in range(steps):
            loss = module(next(stream))
            fabric_optimizer.zero_grad()
            fabric.backward(loss)
            fabric.clip_gradients(module, fabric_optimizer, max_norm=1.0)
            fabric_optimizer.step()
            schedule.step()
            advance(1)
    objective.requires_grad_(True)


def _share(step: int, steps: int) -> float:
    """Share of the peak learning rate: a tenth of the steps up, then a cosine down."""
    warmup = max(1, min(30, steps // 10))
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
