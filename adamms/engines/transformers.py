"""The transformers engine: one model on one device, driven through Lightning Fabric.

Candidates are copied into the live parameters; images and prompts are processed once for all of
them. Knows nothing of search or scores.
A little over 300 lines: the engine and the live model that it is.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments import LightningEnvironment
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList
from transformers.core_model_loading import revert_weight_conversion
from transformers.utils.logging import disable_progress_bar

from adamms.bounds import Count, Natural
from adamms.checkpoint.side_files import fingerprint
from adamms.data.example import Example
from adamms.engines.answer import Answer, Token, token
from adamms.engines.base import PromptFiles
from adamms.engines.prompt import load_processor, open_image, prompt
from adamms.engines.stop import before, checked_stop
from adamms.errors import AdammsError, check_choice
from adamms.merge.recipe import Recipe
from adamms.models.registration import load_model

Accelerator = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "32-true", "bf16-true", "16-true"]
PRECISIONS = {torch.float32: "32-true", torch.bfloat16: "bf16-true", torch.float16: "16-true"}


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
        batch_size: Count = 32,
        max_new_tokens: Count = 32,
        accelerator: Accelerator = "auto",
        precision: Precision = "auto",
        stop: Sequence[str] = (),
        logprobs: Natural = 0,
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


class LiveModel:
    """A model on its device with its processor.

    Attributes:
        parameters: the live tensors under the names that they have in the checkpoint.
    """

    def __init__(
        self,
        folder: Path,
        accelerator: str,
        precision: str,
        max_new_tokens: int,
        stop: tuple[str, ...],
        logprobs: int,
        prompt_files: PromptFiles,
    ) -> None:
        self.processor = load_processor(folder, prompt_files)
        model = _load(folder)
        if precision == "auto":
            precision = PRECISIONS[model.dtype]
        # Kept here: Fabric's wrapper says float32 of every model.
        self.dtype = next(dtype for dtype, name in PRECISIONS.items() if name == precision)
        # One process, whatever launched it: where there is srun, Lightning would expect to be run by it.
        alone = LightningEnvironment()
        self.fabric = Fabric(accelerator=accelerator, devices=1, precision=precision, plugins=[alone])
        self.model = self.fabric.setup_module(model.eval())
        self.model.mark_forward_method("generate")
        self.stop = stop
        self.logprobs = logprobs
        self.generation = _greedy(model, self.processor.tokenizer, max_new_tokens, logprobs)
        self.parameters = _by_checkpoint_name(model)

    @torch.inference_mode()
    def respond(self, inputs: Any) -> list[Answer]:
        """One answer per row of the batch."""
        inputs = self.fabric.to_device(inputs)
        prompt_length = inputs["input_ids"].shape[1]
        ends = StoppingCriteriaList(
            [StopText(self.processor.tokenizer, self.stop, prompt_length)] if self.stop else []
        )
        output = self.model.generate(**inputs, generation_config=self.generation, stopping_criteria=ends)
        new = output.sequences[:, prompt_length:]  # (batch, <= max_new_tokens)
        texts: list[str] = self.processor.batch_decode(new, skip_special_tokens=True)
        tokens = self._tokens(new, output.logits) if self.logprobs else [()] * len(texts)
        return [Answer(before(self.stop, text).strip(), row) for text, row in zip(texts, tokens, strict=True)]

    def _tokens(self, new: torch.Tensor, logits: tuple[torch.Tensor, ...]) -> list[tuple[Token, ...]]:
        """The tokens of each row up to its end.

        Args:
            new: generated ids, shape (batch, steps).
            logits: of each step, shape (batch, vocabulary).
        """
        count = self.logprobs
        steps = torch.stack(logits, dim=1).float().log_softmax(-1)  # (batch, steps, vocabulary)
        chosen = steps.gather(-1, new[..., None])[..., 0].tolist()
        top = steps.topk(min(count, steps.shape[-1]), dim=-1)
        values, names = top.values.tolist(), top.indices.tolist()
        rows = []
        for row, ids in enumerate(new.tolist()):
            length = self._length(ids)
            rows.append(
                tuple(
                    token(
                        ids[place],
                        dict(zip(names[row][place], values[row][place], strict=True)),
                        chosen[row][place],
                        count,
                    )
                    for place in range(length)
                )
            )
        return rows

    def _length(self, ids: list[int]) -> int:
        """Up to the first token that ends an answer, which counts; all of it where there is none."""
        end = self.generation.eos_token_id
        ends = end if isinstance(end, list) else [end]
        return next((place + 1 for place, name in enumerate(ids) if name in ends), len(ids))

    def inputs(self, batch: Sequence[Example]) -> Any:
        """The model's inputs for one batch: prompts by the chat template, left-padded, and pixels."""
        prompts = [prompt(self.processor, example) for example in batch]
        images = [open_image(example.image) for example in batch if example.image is not None]
        pixels = {"images": images} if images else {}
        inputs = self.processor(
            text=prompts, **pixels, padding=True, padding_side="left", return_tensors="pt"
        )
        return {
            key: value.to(self.dtype) if torch.is_floating_point(value) else value
            for key, value in inputs.items()
        }


class StopText(StoppingCriteria):
    """Ends an answer when one of the texts is in it, whatever the tokenizer.

    transformers' own criterion needs tokens that join to text piece by piece, as not all tokenizers' do.
    """

    def __init__(self, tokenizer: Any, stop: tuple[str, ...], prompt_length: int) -> None:
        self.tokenizer = tokenizer
        self.stop = stop
        self.prompt_length = prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """Which rows of `input_ids` (batch, length so far) are done; shape (batch,)."""
        texts = self.tokenizer.batch_decode(input_ids[:, self.prompt_length :], skip_special_tokens=True)
        done = [any(end in text for end in self.stop) for text in texts]
        return torch.tensor(done, device=input_ids.device)


def _load(folder: Path) -> Any:
    disable_progress_bar()
    try:
        return load_model(folder)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise AdammsError(
            f"{folder}: transformers cannot load it as an image-text-to-text model "
            f"({type(error).__name__}: {str(error)[:300]})"
        ) from error


def _prompt_identity(files: PromptFiles) -> str:
    """What other tokenizer and chat template change about the answers; nothing if there are none."""
    tokenizer = "" if files.tokenizer is None else f" tokenizer={fingerprint(files.tokenizer)}"
    if files.chat_template is None:
        return tokenizer
    file = Path(files.chat_template).expanduser()
    template = file.read_text(encoding="utf-8") if file.is_file() else files.chat_template
    return f"{tokenizer} chat_template={template}"


def _greedy(model: Any, tokenizer: Any, max_new_tokens: int, logprobs: int) -> GenerationConfig:
    """Plain greedy decoding: of the checkpoint's own generation config only the special tokens."""
    own = model.generation_config
    end = own.eos_token_id if own.eos_token_id is not None else tokenizer.eos_token_id
    pad = own.pad_token_id if own.pad_token_id is not None else tokenizer.pad_token_id
    if pad is None:
        pad = end[0] if isinstance(end, list) else end
    return GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=end,
        pad_token_id=pad,
        return_dict_in_generate=True,
        output_logits=logprobs > 0,
    )


def _by_checkpoint_name(model: Any) -> dict[str, torch.Tensor]:
    """The live parameters under the names that they have in the checkpoint.

    transformers renames tensors on loading; its own reverse conversion, given the live tensors,
    returns the same objects under their stored names. Those that it would have to rebuild (split
    or stacked) are other objects and are left out: they cannot be written in place.
    """
    live = dict(model.state_dict(keep_vars=True))
    objects = {id(tensor) for tensor in live.values()}
    stored = revert_weight_conversion(model, live)
    return {name: tensor for name, tensor in stored.items() if id(tensor) in objects}
