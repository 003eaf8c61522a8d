"""What the models of `real_models` learn: to see, to speak of it in the language model's words, and skills.

1. `see`: the vision tower learns, as a classifier with a throw-away head, the 16 words of a picture's
   caption.
2. `align`: the projector learns the language model's own input embeddings of those words, without a pass
   through it.
3. `learn`: the upper layers of the language model learn to answer one model's questions in sentences. What is
   below them is frozen, so its output is computed once for every question.

Every stage is kept; one that was interrupted starts again from its beginning.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from real_models import END, Multimodal
from real_pictures import Picture, Pictures, Question, generator, questions, vocabulary
from torch import Tensor, nn
from torch.nn import functional

from adamms.demo.stages import Key, StageCache

SEEING, ALIGNING = 8, 9  # parts of a generator's path, after those of the tasks


@dataclass(frozen=True)
class Lessons:
    """How much is learned.

    Args:
        see: steps.
        align: steps.
        learn: steps of `batch` questions.
        each: questions of each task that `learn` goes through, again and again.
        batch: questions a step.
        below: layers of the language model that stay frozen.
        rates: the three learning rates.
        pictures: a step, of the first two.
        apart: weight in alignment of being nearer to the right word's embedding than to others, beside the
            distance: one linear layer alone mixes the digits up.
    """

    see: int = 900
    align: int = 300
    learn: int = 140
    each: int = 270
    batch: int = 12
    below: int = 18
    rates: tuple[float, float, float] = (2e-3, 2e-3, 2e-4)
    pictures: int = 64
    apart: float = 0.0


# Runs one stage of this name.
Timed = Callable[[str, Callable[[], None]], None]


def train(
    model: Multimodal, name: str, tasks: Sequence[str], lessons: Lessons, stages: StageCache, timed: Timed
) -> None:
    """Bring the model through all three stages, or load those that are kept."""
    pictures = Pictures("train")
    model.model.to("cuda" if torch.cuda.is_available() else "cpu")
    for parameter in model.model.parameters():
        parameter.requires_grad_(False)

    def stage(title: str, part: nn.Module, key: Key, run: Callable[[], None]) -> Key:
        return stages.train(part, key, lambda: timed(f"{name}: {title}", run))

    key: Key = {"model": name, "see": lessons.see, "pictures": lessons.pictures, "rate": lessons.rates[0]}
    key = stage("see", model.tower, key, lambda: see(model, pictures, lessons))
    key = {"after": key, "align": lessons.align, "rate": lessons.rates[1]}
    key |= {"apart": lessons.apart} if lessons.apart else {}
    key = stage("align", model.projector, key, lambda: align(model, pictures, lessons))
    key = {"after": key, "learn": lessons.learn, "each": lessons.each, "batch": lessons.batch}
    key |= {"below": lessons.below, "rate": lessons.rates[2], "tasks": list(tasks)}
    upper = model.language.layers[lessons.below :]
    stage("learn", upper, key, lambda: learn(model, pictures, tasks, lessons))


def see(model: Multimodal, pictures: Pictures, lessons: Lessons) -> None:
    words = {word: index for index, word in enumerate(vocabulary())}
    head = nn.Linear(model.width, len(words)).to(model.device)
    parameters = [*model.tower.parameters(), *head.parameters()]

    def loss(step: int) -> Tensor:
        batch = _draw(pictures, SEEING, step, lessons.pictures)
        labels = torch.tensor([[words[word] for word in one.words] for one in batch])
        guessed = head(model.features(pixels(batch).to(model.device))).flatten(0, 1)
        return functional.cross_entropy(guessed, labels.flatten().to(model.device))

    optimise("see", parameters, loss, lessons.see, lessons.rates[0])


def align(model: Multimodal, pictures: Pictures, lessons: Lessons) -> None:
    tokenizer, embeddings = model.processor.tokenizer, model.language.embed_tokens.weight
    ids = {word: _only(tokenizer.encode(f" {word}", add_special_tokens=False)) for word in vocabulary()}
    known = embeddings[list(ids.values())]
    numbers = {word: number for number, word in enumerate(ids)}

    def loss(step: int) -> Tensor:
        batch = _draw(pictures, ALIGNING, step, lessons.pictures)
        words = torch.tensor([[numbers[word] for word in one.words] for one in batch], device=model.device)
        with torch.no_grad():
            seen = model.features(pixels(batch).to(model.device))
        said = model.projector(seen)
        error = functional.mse_loss(said, known[words]) / known.var()
        if not lessons.apart:
            return error
        nearness = -torch.cdist(said.flatten(0, 1), known).square()
        return error + lessons.apart * functional.cross_entropy(nearness, words.flatten())

    optimise("align", model.projector.parameters(), loss, lessons.align, lessons.rates[1])


def learn(model: Multimodal, pictures: Pictures, tasks: Sequence[str], lessons: Lessons) -> None:
    asked = list(questions(pictures, "train", tasks, lessons.each))
    rows = [_row(model, question) for question in asked]
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([row + [END] * (longest - len(row)) for row, _ in rows])
    labels = torch.full_like(ids, -100)
    for index, (row, start) in enumerate(rows):
        labels[index, start - 1 : len(row) - 1] = ids[index, start : len(row)]  # of the next token
    ids, labels, decoder = ids.to(model.device), labels.to(model.device), model.language
    positions = torch.arange(longest, device=model.device)[None]
    rotary = decoder.rotary_emb(positions.float(), positions)
    cached = torch.cat(
        [_below(model, asked[i : i + 32], ids[i : i + 32], rotary, lessons) for i in range(0, len(asked), 32)]
    )
    upper = decoder.layers[lessons.below :]
    order = np.random.default_rng(0)
    chosen = np.concatenate(
        [order.permutation(len(asked)) for _ in range(1 + lessons.learn * lessons.batch // len(asked))]
    )

    def loss(step: int) -> Tensor:
        some = torch.from_numpy(chosen[step * lessons.batch : (step + 1) * lessons.batch])
        hidden, wanted = through(upper, cached[some], rotary), labels[some]
        said = decoder.norm(hidden[wanted != -100])
        return functional.cross_entropy(model.model.lm_head(said), wanted[wanted != -100])

    optimise("learn", upper.parameters(), loss, lessons.learn, lessons.rates[2])


def through(layers: nn.ModuleList, hidden: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Hidden states (B, L, width) through decoder layers; padding is on the right, so causality masks it."""
    for layer in layers:
        hidden = layer(hidden, attention_mask=None, position_embeddings=rotary)
    return hidden


@torch.no_grad()
def _below(
    model: Multimodal, asked: Sequence[Question], ids: Tensor, rotary: tuple[Tensor, Tensor], lessons: Lessons
) -> Tensor:
    """What the frozen layers make of some questions: (B, L, width)."""
    embedded = model.language.embed_tokens(ids)
    seen = model.features(pixels([question.picture for question in asked]).to(model.device))
    image = model.projector(seen)
    embedded[ids == _image_id(model)] = image.flatten(0, 1)
    return through(model.language.layers[: lessons.below], embedded, rotary)


def _row(model: Multimodal, question: Question) -> tuple[list[int], int]:
    """Token ids of prompt, answer and its end, and where the answer begins."""
    prompt = model.prompt(question.text)
    answer = model.processor.tokenizer.encode(question.answer, add_special_tokens=False)
    return [*prompt, *answer, END], len(prompt)


def _image_id(model: Multimodal) -> int:
    return model.processor.tokenizer.convert_tokens_to_ids("<image>")


def _draw(pictures: Pictures, part: int, step: int, count: int) -> list[Picture]:
    """Scenes and crops by turns."""
    drawn = (generator("train", part, step, index) for index in range(count))
    return [(pictures.crop if index % 2 else pictures.scene)(rng) for index, rng in enumerate(drawn)]


def pixels(batch: Sequence[Picture]) -> Tensor:
    """(B, 3, 64, 64), normalised as both processors do."""
    stacked = torch.from_numpy(np.stack([one.pixels for one in batch]))
    return stacked.permute(0, 3, 1, 2).float() / 127.5 - 1


def optimise(
    name: str, learning: Iterable[nn.Parameter], loss: Callable[[int], Tensor], steps: int, rate: float
) -> None:
    """AdamW with warm-up and a cosine; says now and then how it goes."""
    parameters = list(learning)
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, rate, total_steps=steps + 1, pct_start=0.1, cycle_momentum=False
    )
    begin, shown = time.perf_counter(), max(1, steps // 8)
    for step in range(steps):
        value = loss(step)
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        if step % shown == shown - 1 or step == steps - 1:
            rest = time.perf_counter() - begin
            print(f"  {name}: step {step + 1}/{steps}, loss {value.item():.3f}, {rest:.0f} s", flush=True)
    for parameter in parameters:
        parameter.requires_grad_(False)


def _only(values: list[int]) -> int:
    (value,) = values
    return value
