"""The prompt: what a model is shown of an example, built by its own processor; the same for every engine."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count, cycle
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers import AutoProcessor

from adamms.checkpoint.reader import read_json
from adamms.data.example import Example, Medium, Video
from adamms.engines.base import PromptFiles
from adamms.engines.template import TemplateFailure, TemplateRenderer
from adamms.engines.thought import opened_thought
from adamms.errors import AdammsError, nearest
from adamms.models.registration import native_family, native_processor

_PROBE = "a key that no template knows"
# What a processor is made of; each holds a JSON object.
_FILES = (
    *("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json"),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.json"),
    *("chat_template.json",),
)


def load_processor(folder: Path, files: PromptFiles | None = None, trust_remote_code: bool = False) -> Any:
    """The processor (tokenizer, image processor, chat template) in a checkpoint folder.

    For models that vLLM processes images for, it may be a tokenizer alone.

    Args:
        files: what to take instead of the folder's own; None for nothing.
        trust_remote_code: whether Python files in the folder may run.

    Raises:
        AdammsError: transformers cannot load it, it has no chat template, or `files` do not exist or do not
            go with the model, or the template fails or takes too much.
    """
    files = files or PromptFiles()
    family = native_family(folder)
    for name in _FILES:
        if (folder / name).is_file():
            read_json(folder / name)
    try:
        if family is not None:
            processor = native_processor(family, folder, files.tokenizer)
        else:
            processor = AutoProcessor.from_pretrained(
                folder, local_files_only=True, trust_remote_code=trust_remote_code
            )
    except AdammsError:
        raise
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise AdammsError(
                f"{folder}: it needs Python files of its own to be run, which only vLLM's engine does: "
                f"engine=vllm engine.trust_remote_code=true, if you trust them"
            ) from error
        raise AdammsError(
            f"{folder}: transformers cannot load its processor ({type(error).__name__}: {str(error)[:300]})"
        ) from error
    if family is None and files.tokenizer is not None:
        raise AdammsError(
            f"{folder}: it has a processor with a tokenizer of its own, which "
            f"model.*.tokenizer={files.tokenizer} cannot replace"
        )
    if files.chat_template is not None:
        processor.chat_template = _chat_template(processor, files.chat_template)
    elif getattr(processor, "chat_template", None) is None and hasattr(processor, "tokenizer"):
        processor.chat_template = processor.tokenizer.chat_template
    tokens = getattr(processor, "tokenizer", processor).special_tokens_map
    processor.template_renderer = TemplateRenderer(tokens, str(folder))
    if not reads_parts(processor):
        _rendered(processor, "a question")  # a template that fails does so before the model is loaded
    return processor


def _source(processor: Any) -> str:
    """The chat template in Jinja; of several the one named `default`."""
    folder = processor.template_renderer.where
    found = getattr(processor, "chat_template", None)
    if isinstance(found, dict):
        found = found.get("default")
    if found is None:
        raise AdammsError(f"{folder}: the processor has no chat template to build prompts with")
    if not isinstance(found, str):
        raise AdammsError(f"{folder}: its chat template is {str(found)[:80]!r}; expected a text")
    return found


def _chat_template(processor: Any, wanted: str) -> str:
    """The template in the file `wanted`, or the model's own of that name."""
    named: dict[str, str] = getattr(processor, "templates", {})
    if wanted in named:
        return named[wanted]
    file = Path(wanted).expanduser()
    if not file.is_file():
        names = f" or one of: {', '.join(named)}" if named else ""
        raise AdammsError(
            f"model.*.chat_template is {wanted!r}; expected the path of a Jinja file{names}."
            + nearest(wanted, named)
        )
    return file.read_text(encoding="utf-8")


def prompt(processor: Any, example: Example, image_mark: str | None = None) -> str:
    """The question in the model's chat template, with a placeholder where each image and video goes.

    Args:
        image_mark: that placeholder of images, for templates that do not put one themselves (see
            `reads_parts`); such have none for videos.
    """
    if image_mark is None:
        return _rendered(processor, [_part(part) for part in example.parts])
    numbers = count(1)  # of the images, which some marks name: "<|image_1|>"
    parts = [part for part in example.parts if not isinstance(part, Video)]
    marked = [p if isinstance(p, str) else image_mark.replace("1", str(next(numbers))) for p in parts]
    return _rendered(processor, ("" if example.has_places else "\n").join(marked))


def shows_video(processor: Any, example: Example, image_mark: str | None = None) -> bool:
    """Whether the video of an example is in its prompt; arguments as of `prompt`."""
    if image_mark is not None:
        return False
    others = [part for part in example.parts if not isinstance(part, Video)] or [""]
    return prompt(processor, example) != _rendered(processor, [_part(part) for part in others])


def _part(part: str | Medium) -> dict[str, str]:
    """A part of a message as chat templates take it."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "video" if isinstance(part, Video) else "image"}


@dataclass(frozen=True)
class Following:
    """How a text follows a prompt, as if the model had answered it.

    Between the two stands the white space that the chat template writes there: the space of "ASSISTANT: Yes",
    which is a part of the answer's first token; or a space, where the prompt's last word and the text would
    run together. The text's tokens are those that the whole has beyond the tokens of the prompt.

    Args:
        processor: as `load_processor` gives it.
        image_mark: as in `prompt`.
    """

    processor: Any
    image_mark: str | None

    def __call__(self, asked: str, text: str) -> tuple[str, int]:
        """Prompt and text together, and how many tokens of that are the text's.

        Args:
            asked: the prompt.
            text: an answer's; the thought that the prompt opens may be opened in it again.
        """
        said, before = text.removeprefix(opened_thought(asked)).strip(), self._ids(asked)
        if not said:
            return asked, 0
        whole = asked + self._between + said
        same = _alike(before, together := self._ids(whole))
        if same < len(before) and not asked[-1:].isspace():
            whole = f"{asked} {said}"
            same = _alike(before, together := self._ids(whole))
        return whole, len(together) - same

    def _ids(self, text: str) -> list[int]:
        tokenizer = getattr(self.processor, "tokenizer", self.processor)
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    @cached_property
    def _between(self) -> str:
        """The white space between a prompt and its answer; "" where the template tells of none."""
        parts = self.image_mark is None
        asked, told = ([{"type": "text", "text": text}] if parts else text for text in ("?", _PROBE))
        try:
            before, together = (_rendered(self.processor, asked, *answer) for answer in ((), (told,)))
        except (TemplateFailure, TypeError, TemplateError):
            return ""
        between = together.removeprefix(before).partition(_PROBE)[0]
        return between if together.startswith(before) and between.isspace() else ""


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    """With how many equal entries two lists begin."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def reads_parts(processor: Any) -> bool:
    """Whether the chat template takes a message as a list of parts; otherwise it takes one text."""
    try:
        return _PROBE not in _rendered(processor, [{"type": "text", "text": "", _PROBE: ""}])
    except (TemplateFailure, TypeError, TemplateError):  # a list is not joined to a text
        return False


def _rendered(processor: Any, *contents: str | list[dict[str, str]]) -> str:
    """A conversation of the user and the model by turns, up to where the model answers."""
    pairs = zip(cycle(("user", "assistant")), contents, strict=False)
    messages = [{"role": role, "content": content} for role, content in pairs]
    if type(processor).__module__.startswith("transformers_modules."):  # trusted code, with ways of its own
        return str(processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))
    renderer: TemplateRenderer = processor.template_renderer
    return renderer.render(_source(processor), messages)
