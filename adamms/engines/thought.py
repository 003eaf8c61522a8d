"""The thought that an answer of a reasoning model begins with: where it ends, and what is said after it.

Tags are data. Knows no models.
"""

from collections.abc import Sequence
from typing import Any

# Opening and closing, as published chat templates write them.
TAGS = {
    "<think>": "</think>",  # DeepSeek-R1, Qwen3, QwQ, GLM-Z1, GLM-4.1V, Magistral-Small-2506
    "[THINK]": "[/THINK]",  # Magistral-Small from 2507 on
    "◁think▷": "◁/think▷",  # Kimi-VL-Thinking
    "<|begin_of_thought|>": "<|end_of_thought|>",  # Sky-T1, OpenThinker
    "## Thinking": "## Final Response",  # HuatuoGPT-o1
}
# What may stand around the answer after a thought: OpenThinker's solution; GLM-4.1V's answer and box.
MARKS = (
    *("<|begin_of_solution|>", "<|end_of_solution|>"),
    *("<answer>", "</answer>", "<|begin_of_box|>", "<|end_of_box|>"),
)


def split_thought(text: str) -> tuple[str, str | None]:
    """The thought that a text begins with, and what is said after it: None where the thought does not end.

    The opening tag may be missing: where the prompt ends in it, models do not repeat it.

    >>> split_thought("<think>2 + 2</think> 4"), split_thought("2 + 2</think> 4"), split_thought("4")
    (('2 + 2', '4'), ('2 + 2', '4'), ('', '4'))
    >>> split_thought("<think>2 + ")
    ('2 +', None)
    """
    whole = text.lstrip()
    for opening, closing in TAGS.items():
        opened = whole.startswith(opening)
        thought, closed, said = whole.removeprefix(opening).partition(closing)
        if closed and (opened or opening not in thought):
            for mark in MARKS:
                said = said.replace(mark, "")
            return thought.strip(), said.strip()
        if opened:
            return thought.strip(), None
    return "", text


def without_thought(text: str) -> str:
    """What is said after the thought that a text begins with; "" where the thought does not end.

    >>> without_thought("<think>2 + 2</think> 4"), without_thought("<think>2 + ")
    ('4', '')
    """
    return split_thought(text)[1] or ""


def with_thought_in_brief(text: str) -> str:
    """For people: the thought as its length.

    >>> with_thought_in_brief("<think>2 + 2</think> 4"), with_thought_in_brief("<think>2 + ")
    ('[thought of 3 words] 4', '[thought of 2 words, cut off]')
    """
    thought, said = split_thought(text)
    count = len(thought.split())
    length = f"{count} word{'' if count == 1 else 's'}"
    if said is None:
        return f"[thought of {length}, cut off]"
    return f"[thought of {length}] {said}" if thought else said


def thought_tags(template: str) -> str:
    """The opening tag of the thoughts that a chat template knows of; "" where it knows none.

    >>> thought_tags("{% set content = content.split('</think>')[-1] %}")
    '<think>'
    """
    return next(
        (opening for opening, closing in TAGS.items() if opening in template or closing in template), ""
    )


def with_special_tags(tokenizer: Any, ids: Sequence[int], text: str) -> str:
    """An answer with the tags of thoughts that are special tokens to its tokenizer, as Magistral's are.

    Args:
        ids: of its tokens.
        text: the same without special tokens.
    """
    tags = [tag for tag in (*TAGS, *TAGS.values()) if tag in tokenizer.all_special_tokens]
    special = {tokenizer.convert_tokens_to_ids(tag): tag for tag in tags}
    said, start = "", 0
    for place in (place for place, one in enumerate(ids) if one in special):
        part = tokenizer.decode(ids[start:place], skip_special_tokens=True)
        said, text, start = said + part + special[ids[place]], text[len(part) :], place + 1
    return said + text


def opened_thought(prompt: str) -> str:
    """The opening tag that a prompt ends in, which its answer then lacks; "" of other prompts.

    >>> opened_thought("<|Assistant|><think>\\n")
    '<think>'
    """
    return next((tag for tag in TAGS if prompt.rstrip().endswith(tag)), "")
