"""The tiny languages of the demo's models: vocabulary, tokenizer, scenes as text, chat format.

All models of a pair share one. The ancestor reads a scene as text where the multimodal models see an image.
Knows the skills of `adamms.data`, nothing of models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from adamms.data import digits, sentences
from adamms.data.digits import COLOURS, NUMERALS, Scene, Skill

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD = "<|endoftext|>"
END = "<|im_end|>"  # ends every answer
VISION_START = "<|vision_start|>"
VISION_END = "<|vision_end|>"
TARGET_IMAGE = "<|image_pad|>"  # Qwen2-VL's placeholders
TARGET_VIDEO = "<|video_pad|>"
DONOR_IMAGE = "<image>"  # LLaVA-OneVision's
DONOR_VIDEO = "<video>"
SPECIAL = (
    PAD, END, VISION_START, VISION_END, TARGET_IMAGE, TARGET_VIDEO, DONOR_IMAGE, DONOR_VIDEO,
)  # fmt: skip

FILLER = "."  # an empty place in a text scene
CAPTION = "describe everything"  # answered by the scene's items, in the order of COLOURS
IGNORE = -100  # label of tokens that the loss ignores


@dataclass(frozen=True)
class Language:
    """What a pair's models are asked and answer.

    Args:
        target_skills, donor_skills: between which fine-tuning chooses.
        answers: the words of answers, beside colours and numerals.
    """

    target_skills: tuple[Skill, ...]
    donor_skills: tuple[Skill, ...]
    answers: tuple[str, ...]

    @property
    def skills(self) -> tuple[Skill, ...]:
        return self.target_skills + self.donor_skills


WORDS = Language(
    digits.TARGET_SKILLS,
    digits.DONOR_SKILLS,
    answers=(*(str(number) for number in range(19)), "yes", "no", "even", "odd"),
)
SENTENCES = Language(
    sentences.TARGET_SKILLS, sentences.DONOR_SKILLS, answers=(*sentences.NUMBERS, *sentences.WORDS)
)


def vocabulary(spoken: Language = WORDS) -> list[str]:
    """All words, special tokens first. A word's position is its token id."""
    words: dict[str, None] = dict.fromkeys(SPECIAL)
    words.update(dict.fromkeys((FILLER, *COLOURS, *NUMERALS)))
    words.update(dict.fromkeys(spoken.answers))
    for template in (CAPTION, *(skill.question for skill in spoken.skills)):
        words.update(dict.fromkeys(w for w in template.split() if w != "{colour}"))
    words.update(dict.fromkeys(f"{colour}{digit}" for colour in COLOURS for digit in range(10)))
    return list(words)


def word_ids(spoken: Language = WORDS) -> dict[str, int]:
    """Word -> token id, the same as `tokenizer` assigns."""
    return {word: index for index, word in enumerate(vocabulary(spoken))}


def tokenizer(spoken: Language = WORDS) -> "PreTrainedTokenizerFast":
    """A word-level tokenizer over `vocabulary()`: words are split at white space."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel(word_ids(spoken), unk_token=PAD))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(SPECIAL[2:]),
        padding_side="left",
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )


def chat_template(image_token: str) -> str:
    """A Jinja template: images as `image_token` between vision markers, then the text; no roles."""
    return (
        "{% for message in messages %}"
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
        "{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}" + VISION_START + image_token + VISION_END + "{% else %}"
        "{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
        "{% if message['role'] == 'assistant' %}" + END + "{% endif %}"
        "{% endfor %}"
    )


def text_scene(scene: Scene, rng: np.random.Generator) -> list[str]:
    """Compound words such as `green5`, each one to three times, among fillers, shuffled."""
    words: list[str] = []
    for item in scene.items:
        words += [f"{item.colour}{item.digit}"] * int(rng.integers(1, 4))
    words += [FILLER] * int(rng.integers(1, 5))
    return [words[i] for i in rng.permutation(len(words))]


def caption(scene: Scene) -> str:
    """The scene's compound words in the fixed order of the colours."""
    items = sorted(scene.items, key=lambda item: list(COLOURS).index(item.colour))
    return " ".join(f"{item.colour}{item.digit}" for item in items)


def dialogue(
    context: Sequence[str], turns: Sequence[tuple[str, str]], ids: dict[str, int]
) -> tuple[list[int], list[int]]:
    """Token ids and labels of `<start> context <end> question answer <eos> question answer ...`.

    Both lists have one entry per token. Only answers and their ends have labels, at the token's own
    position (the loss shifts them).
    """
    tokens = [ids[word] for word in (VISION_START, *context, VISION_END)]
    labels = [IGNORE] * len(tokens)
    for question, answer in turns:
        asked = [ids[word] for word in question.split()]
        said = [ids[word] for word in (*answer.split(), END)]
        tokens += asked + said
        labels += [IGNORE] * len(asked) + said
    return tokens, labels
