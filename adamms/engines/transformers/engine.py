"""The transformers engine: one model on one device, driven through Lightning Fabric.

Candidates are copied into the live parameters; images and prompts are processed once for all of
them. Knows nothing of search or scores.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, get_args

import torch
from pydantic import NonNegativeInt, PositiveInt

from adamms.checkpoint.fingerprint import fingerprint_side_files
from adamms.data.example import Example
from adamms.engines.answer import Answer
from adamms.engines.base import PromptFiles
from adamms.engines.stop import checked_stop
from adamms.errors import AdammsError, check_choice
from adamms.merge.recipe import Recipe

if TYPE_CHECKING:
    from adamms.engines.transformers.live_model import LiveModel

Accelerator = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "32-true", "bf16-true", "16-true"]


class TransformersEngine:
    """Batched greedy generation with `AutoModelForImageTextToText`, which knows the native families too.

    Args:
        folder: a checkpoint folder with model, tokenizer, processor and chat template; of a native family
            (`adamms.models`) as it was published.
        batch_size: examples generated together, left-padded.
        max_new_tokens: where an answer is cut off at the latest.
        accelerator: `auto`, `cpu` or `cuda` (Lightning Fabric's word for the kind of device).
        precision: `auto` for the checkpoint's own dtype, or Fabric's 32-true, bf16-true, 16-true.
        stop: texts before which an answer ends.
        logprobs: how many likeliest tokens are kept, with their log-probabilities, at every place of an
            answer; 0 for none.
        prompt_files: tokenizer and chat template to take instead of the folder's own; None: neither.

    Raises:
        AdammsError: bad settings at once; when it starts, a folder that transformers cannot load as an
            image-text-to-text model, or whose files lack some of its weights.
    """

    name: ClassVar[str] = "transformers"

    def __init__(
        self,
        folder: Path,
        batch_size: PositiveInt = 32,
        max_new_tokens: PositiveInt = 32,
        accelerator: Accelerator = "auto",
        precision: Precision = "auto",
        stop: Sequence[str] = (),
        logprobs: NonNegativeInt = 0,
        prompt_files: PromptFiles | None = None,
    ) -> None:
        check_choice("engine.precision", precision, get_args(Precision))
        check_choice("engine.accelerator", accelerator, get_args(Accelerator))
        if batch_size < 1 or max_new_tokens < 1:
            raise AdammsError("engine.batch_size and engine.max_new_tokens must be at least 1")
        if logprobs < 0:
            raise AdammsError(f"engine.logprobs is {logprobs}; it must be at least 0")
        self.folder = folder
        self.batch_size = batch_size
        self.max_new_tokens = max_new_tokens
        self.accelerator = accelerator
        self.precision = precision
        self.stop = checked_stop(stop)
        self.logprobs = logprobs
        self.prompt_files = prompt_files or PromptFiles()
        self._prepared: tuple[tuple[Example, ...], list[Any]] = ((), [])

    @property
    def identity(self) -> str:
        automatic = self.accelerator == "auto" and torch.cuda.is_available()
        return (
            f"transformers {version('transformers')} torch {version('torch')} "
            f"{'cuda' if automatic else self.accelerator} "
            f"{self.precision} max_new_tokens={self.max_new_tokens} batch_size={self.batch_size} "
            f"stop={list(self.stop)}"
            f"{_prompt_identity(self.prompt_files)}"
            f"{f' logprobs={self.logprobs}' if self.logprobs else ''}"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._prepared = ((), [])
        if "live" in self.__dict__:
            del self.live
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    @cached_property
    def live(self) -> "LiveModel":
        """The model, started when first asked for."""
        from adamms.engines.transformers.live_model import LiveModel  # here, for it takes seconds to import

        return LiveModel(
            self.folder,
            self.accelerator,
            self.precision,
            self.max_new_tokens,
            self.stop,
            self.logprobs,
            self.prompt_files,
        )

    @torch.no_grad()
    def load(self, recipe: Recipe) -> None:
        parameters = self.live.parameters
        for name, tensor in recipe.tensors(only_mapped=True):
            if name not in parameters:
                raise AdammsError(
                    f"{self.folder}: transformers has no parameter that is stored as {name!r}; it cannot be "
                    f"replaced in place"
                )
            if parameters[name].shape != tensor.shape:
                raise AdammsError(
                    f"{self.folder}: {name} has shape {list(parameters[name].shape)}, its replacement "
                    f"{list(tensor.shape)}"
                )
            parameters[name].copy_(tensor)

    def generate(self, examples: Sequence[Example]) -> Iterator[tuple[str, Answer]]:
        for batch, inputs in self._batches(tuple(examples)):
            answers = self.live.respond(inputs)
            yield from zip((example.id for example in batch), answers, strict=True)

    def _batches(self, examples: tuple[Example, ...]) -> list[tuple[tuple[Example, ...], Any]]:
        """The model's inputs for these examples, kept for the next candidate."""
        if self._prepared[0] != examples:
            starts = range(0, len(examples), self.batch_size)
            batches = [examples[start : start + self.batch_size] for start in starts]
            self._prepared = (examples, [(batch, self.live.inputs(batch)) for batch in batches])
        return self._prepared[1]


def _prompt_identity(files: PromptFiles) -> str:
    """What other tokenizer and chat template change about the answers; nothing if there are none."""
    tokenizer = "" if files.tokenizer is None else f" tokenizer={fingerprint_side_files(files.tokenizer)}"
    if files.chat_template is None:
        return tokenizer
    file = Path(files.chat_template).expanduser()
    template = file.read_text(encoding="utf-8") if file.is_file() else files.chat_template
    return f"{tokenizer} chat_template={template}"
