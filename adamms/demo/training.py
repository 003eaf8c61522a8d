"""The training stages on Lightning Fabric: language, vision, alignment, fine-tuning.

Each stage trains a given model in place, on the streams of `batches`, as `Regime` says. Reads and writes no
files.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from adamms.data.digits import COLOURS, Glyphs, Skill, SkillName
from adamms.data.sentences import SentenceName
from adamms.demo import batches, language
from adamms.demo.anatomy import Anatomy
from adamms.demo.batches import Batch, CellBatch
from adamms.demo.language import Language

if TYPE_CHECKING:
    from lightning.fabric import Fabric

# Shows a stage's progress, as `Console.stage` does: title, steps, "steps" -> context of advance(1).
Progress = Callable[[str, int, str], AbstractContextManager[Callable[[int], None]]]
Group = tuple[Sequence[nn.Parameter], float]  # parameters and their peak learning rate


@dataclass(frozen=True)
class Regime:
    """How the models are trained: steps are optimiser updates, batches scenes, rates peak rates.

    The defaults balance two needs: a merge needs the donor, and the answers settle where the merge is good.
    If the ancestor knew all skills, merging the target with the *ancestor* would restore what fine-tuning
    made it forget. If the ancestor had never seen the donor's skills, they would come in only near the
    donor's end of the grid, where no alpha is stable. So the ancestor rarely meets the donor's skills on
    the three highest digits. At a fine-tuning rate of 1e-3 a merge gains nothing; a target tuned for more
    than about 200 steps gives the same wrong answers at alpha 0, 0.1 and 0.2.

    Args:
        known_digits: the ancestor learns the donor's skills on digits below this ...
        rare_share: ... and on any digit in this share of the questions.
        ancestor_turns: questions per scene in text.
        turns: questions per image in fine-tuning.
        target_skills, donor_skills: names of the skills that fine-tuning teaches.
        second_skills: those of a second donor, which is the first fine-tuned on other skills; () for none.
        target_noise, donor_noise: the share of fine-tuning's answers that belong to another scene.
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
    target_skills: tuple[SkillName | SentenceName, ...] = ("read", "spell", "presence", "largest")
    donor_skills: tuple[SkillName | SentenceName, ...] = ("successor", "double", "parity", "remainder")
    second_skills: tuple[SkillName | SentenceName, ...] = ()
    target_noise: float = 0.0
    donor_noise: float = 0.0


@dataclass(frozen=True)
class Pupil:
    """A multimodal model as the stages see it.

    Args:
        name: `target` or `donor`: which part of the regime is its own. It also names its streams.
        model: the whole of it.
        anatomy: its parts.
        skills: names of those that fine-tuning teaches.
    """

    name: str
    model: nn.Module
    anatomy: Anatomy
    skills: Sequence[str]

    def beside_language(self) -> list[nn.Parameter]:
        """Vision tower, projector and the like."""
        frozen = {id(parameter) for parameter in self.anatomy.language}
        return [p for p in self.model.parameters() if id(p) not in frozen]


class DialogueObjective(nn.Module):
    """Mean cross-entropy of the answers' tokens."""

    def __init__(self, model: nn.Module, inputs: Callable[[Tensor, Any], dict[str, Tensor]]):
        super().__init__()
        self.model = model
        self.inputs = inputs

    def forward(self, batch: Batch) -> Tensor:
        logits: Tensor = self.model(**self.inputs(batch.ids, batch.pixels), use_cache=False).logits
        return functional.cross_entropy(
            logits[:, :-1].flatten(0, 1),
            batch.labels[:, 1:].flatten(),
            ignore_index=language.IGNORE,
        )


class CellObjective(nn.Module):
    """Cross-entropy of each cell's digit and colour; the two heads are not kept."""

    def __init__(self, anatomy: Anatomy):
        super().__init__()
        self.tower = anatomy.tower
        self.cells = anatomy.cells
        self.digit_head = nn.Linear(anatomy.width, 11)
        self.colour_head = nn.Linear(anatomy.width, len(COLOURS) + 1)

    def forward(self, batch: CellBatch) -> Tensor:
        features = functional.layer_norm(self.cells(batch.pixels), (self.digit_head.in_features,))
        digits = self.digit_head(features).flatten(0, 1)
        colours = self.colour_head(features).flatten(0, 1)
        return functional.cross_entropy(digits, batch.digits.flatten()) + functional.cross_entropy(
            colours, batch.colours.flatten()
        )


@dataclass(frozen=True)
class Trainer:
    """The stages of one seed and regime.

    Args:
        glyphs: handwritten digits of the training images.
        spoken: what is asked and answered.
        progress: shows a stage's progress.
    """

    fabric: "Fabric"
    glyphs: Glyphs
    regime: Regime
    spoken: Language
    seed: int
    progress: Progress

    def setting(self, pupil: Pupil, name: str) -> Any:
        """What the regime says of the pupil, e.g. `vision_steps`."""
        return getattr(self.regime, f"{pupil.name}_{name}")

    def ancestor(self, model: nn.Module) -> None:
        """All skills, over scenes in text."""
        regime = self.regime
        rng = batches.generator(self.seed, "ancestor")
        stream = batches.text_batches(
            rng, self.spoken, regime.batch, regime.ancestor_turns, regime.known_digits, regime.rare_share
        )
        groups = [(list(model.parameters()), regime.ancestor_rate)]
        objective = DialogueObjective(model, lambda ids, _: {"input_ids": ids})
        self.fit("ancestor: language", objective, groups, stream, regime.ancestor_steps)

    def vision(self, pupil: Pupil) -> None:
        """What each cell shows; takes the place of a vision encoder's pretraining."""
        stage = f"{pupil.name}: vision"
        rng = batches.generator(self.seed, stage)
        stream = batches.cell_batches(rng, self.glyphs, self.regime.vision_batch)
        objective = CellObjective(pupil.anatomy)
        groups = [(list(objective.parameters()), self.regime.vision_rate)]
        self.fit(stage, objective, groups, stream, self.setting(pupil, "vision_steps"))

    def align(self, pupil: Pupil) -> None:
        """Captions and reading, with the language model frozen: the vision parts learn its language."""
        groups = [(pupil.beside_language(), self.setting(pupil, "alignment_rate"))]
        reading = self.spoken.target_skills[:1]
        steps = self.setting(pupil, "alignment_steps")
        self._dialogues(pupil, "alignment", groups, steps, turns=2, skills=reading, caption=True)

    def tune(self, pupil: Pupil) -> None:
        """The pupil's own skills on images; all parameters learn."""
        groups: list[Group] = [
            (pupil.anatomy.language, self.regime.tuning_rate),
            (pupil.beside_language(), self.regime.tuning_vision_rate),
        ]
        skills = [skill for skill in self.spoken.skills if skill.name in pupil.skills]
        noise, steps = self.setting(pupil, "noise"), self.setting(pupil, "tuning_steps")
        turns = self.regime.turns
        self._dialogues(pupil, "fine-tuning", groups, steps, turns=turns, skills=skills, noise=noise)

    def _dialogues(
        self,
        pupil: Pupil,
        stage: str,
        groups: Sequence[Group],
        steps: int,
        turns: int,
        skills: Sequence[Skill],
        caption: bool = False,
        noise: float = 0.0,
    ) -> None:
        """A stage over questions about images."""
        stage = f"{pupil.name}: {stage}"
        rng, image = batches.generator(self.seed, stage), pupil.anatomy.image
        wordings = batches.WORDINGS[pupil.name]
        stream = batches.image_batches(
            rng, self.spoken, self.glyphs, image, self.regime.batch, turns, skills, wordings, caption, noise
        )
        objective = DialogueObjective(pupil.model, pupil.anatomy.inputs)
        self.fit(stage, objective, groups, stream, steps)

    def fit(
        self,
        stage: str,
        objective: nn.Module,
        groups: Sequence[Group],
        stream: Iterator[Batch] | Iterator[CellBatch],
        steps: int,
    ) -> None:
        """AdamW (betas 0.9, 0.98), gradient norm at most 1, linear warm-up, cosine decay to 2 %."""
        objective.requires_grad_(False)
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
        module, fabric_optimizer = self.fabric.setup(objective, optimizer)
        module.train()
        with self.progress(stage, steps, "steps") as advance:
            for _ in range(steps):
                loss = module(next(stream))
                fabric_optimizer.zero_grad()
                self.fabric.backward(loss)
                self.fabric.clip_gradients(module, fabric_optimizer, max_norm=1.0)
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
