"""engine=transformers: its settings, and one live model in this process, driven by Lightning Fabric.

Inputs are prepared once for all candidates, as far as there is room for them. The heavy imports are in
`live_model`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import NonNegativeFloat

from adamms.checkpoint.fingerprint import fingerprint_side_files
from adamms.checkpoint.reader import read_config, read_json
from adamms.data.example import Example
from adamms.engines.answer import Answer
from adamms.engines.base import NO_END, Engine, EngineSettings, Limits, PromptFiles
from adamms.engines.transformers.kept_inputs import KeptInputs
from adamms.errors import AdammsError, cause
from adamms.merge.recipe import Recipe
from adamms.merge.sources import Sources
from adamms.models.registration import is_text_only
from adamms.system.on_demand import torch
from adamms.system.threads import default_workers, in_order

if TYPE_CHECKING:
    from adamms.engines.transformers.live_model import LiveModel

# Models whose prompts see what follows them, as transformers runs them.
PREFIX_MODELS = frozenset({"paligemma"})
# What of a generation config has never changed a greedy answer here.
NOT_OF_GREEDY = frozenset(
    {
        *("bos_token_id", "eos_token_id", "pad_token_id", "transformers_version", "_from_model_config"),
        *("do_sample", "temperature", "top_k", "top_p", "max_length", "max_new_tokens", "use_cache"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Transformers(EngineSettings):
    """Batched greedy generation with transformers' Auto classes, which know the native families too.

    >>> settings = Transformers(
    ...     batch_size=32, max_new_tokens=16, logprobs=0, stop=(), verify_swaps=True,
    ...     accelerator="auto", precision="auto", source_cache="mmap", input_cache_gb=2, video_frames=16,
    ... )
    >>> engine = settings.live(Path("model"))  # not started: the folder is read when it is first asked
    >>> settings.name
    'transformers'

    Args:
        accelerator: the kind of device, in Lightning Fabric's words.
        precision: `auto` for the checkpoint's own dtype, or one of Fabric's.
        source_cache: where the merge's inputs are between candidates, see `merge.sources`.
        input_cache_gb: how much of the prepared inputs is kept for the next candidate.
    """

    name: ClassVar[str] = "transformers"

    accelerator: Literal["auto", "cpu", "cuda"]
    precision: Literal["auto", "32-true", "bf16-true", "16-true"]
    source_cache: Literal["mmap", "pinned", "gpu"]
    input_cache_gb: NonNegativeFloat

    def live(self, folder: Path, prompt_files: PromptFiles | None = None) -> TransformersEngine:
        return TransformersEngine(self, folder, prompt_files or PromptFiles())

    def processor(self, folder: Path, prompt_files: PromptFiles | None = None) -> Any:
        from adamms.engines.prompt import load_processor  # takes seconds to import

        found = load_processor(folder, prompt_files)
        if not hasattr(found, "tokenizer") and not is_text_only(read_config(folder)):
            raise AdammsError(
                f"{folder}: it has a tokenizer and no processor of images; copy processor_config.json, or "
                f"preprocessor_config.json, from the model that it was made from"
            )
        return found

    def check_scores(self, folder: Path) -> None:
        if (kind := read_config(folder).get("model_type")) in PREFIX_MODELS:
            raise AdammsError(
                f"{folder}: a {kind} looks at its whole input at once, so the probabilities of given texts "
                f"cannot be had from it with engine=transformers; choose a search/signal that scores no "
                f"texts, or search=trusted with search.signal.weights.likelihood=0"
            )

    def limits(self, processor: Any) -> Limits:
        from adamms.models.processing import ImageTextProcessor  # takes seconds to import

        takes = hasattr(processor, "image_processor") or isinstance(processor, ImageTextProcessor)
        return Limits(images=None if takes else 0, frames=self.video_frames)


class TransformersEngine(Engine):
    """One model as transformers runs it; candidates are copied into its parameters.

    Raises:
        AdammsError: when it starts: the folder holds no model that transformers can load, or its files lack
            some of the model's weights.
    """

    def __init__(self, settings: Transformers, folder: Path, prompt_files: PromptFiles) -> None:
        self.settings = settings
        self.folder = folder
        self.prompt_files = prompt_files
        self._kept = KeptInputs(round(settings.input_cache_gb * 1e9))
        self._written: frozenset[str] = frozenset()  # what may differ from the target's

    @property
    def identity(self) -> str:
        s = self.settings
        accelerator = "cuda" if s.accelerator == "auto" and torch.cuda.is_available() else s.accelerator
        logprobs = f" logprobs={s.logprobs}" if s.logprobs else ""
        return (
            f"transformers {version('transformers')} torch {version('torch')} {accelerator} {s.precision} "
            f"max_new_tokens={s.max_new_tokens} batch_size={s.batch_size} stop={list(s.stop)}"
            f"{_prompt_identity(self.prompt_files)}{_greedy_identity(self.folder)}{logprobs}"
        )

    @property
    def sampling(self) -> str:
        return self.settings.sampling

    def __exit__(self, *error: object) -> None:
        self._kept.keep_only(())
        if "live" in self.__dict__:
            self.__dict__.pop("sources", None)
            del self.live
            torch.cuda.empty_cache()  # does nothing where CUDA was not used

    @cached_property
    def live(self) -> LiveModel:
        """The model, started when first asked for."""
        from adamms.engines.transformers.live_model import LiveModel  # takes seconds to import

        s = self.settings
        return LiveModel(self.folder, self.prompt_files, s, s.accelerator, s.precision)

    @cached_property
    def sources(self) -> Sources:
        """Reads the merge's inputs to where the model is."""
        return Sources(self.live.device, self.settings.source_cache)

    def load(self, recipe: Recipe) -> None:
        weights, sources = self.live.weights, self.sources
        merged = frozenset(recipe.mapped) - weights.ignored
        # Another plan may have merged other tensors before: they become the target's again.
        self._written |= merged
        names = [name for name in recipe.slots if name in self._written]
        for name in names:
            self._check_fits(name, recipe.target.tensors[name].shape)
        views = [name for name in names if name in weights.views]
        workers = recipe.workers or default_workers() if sources.on_cpu else 1
        for _ in in_order(views, lambda name: write(recipe, name, weights.views[name], sources), workers):
            pass
        for group in weights.groups_of(names):
            weights.convert(group, {name: recipe.tensor(name, sources) for name in group.sources})
        self._written = merged

    def checksums(self) -> Mapping[str, str]:
        return self.live.weights.checksums()

    def _check_fits(self, name: str, shape: tuple[int, ...]) -> None:
        """Raise AdammsError unless a tensor of this name and shape can be replaced in place."""
        stored = self.live.weights.stored
        if name not in stored:
            raise AdammsError(
                f"{self.folder}: transformers has no parameter that is stored as {name!r}; it cannot be "
                f"replaced in place"
            )
        if stored[name] != shape:
            raise AdammsError(
                f"{self.folder}: {name} has shape {list(stored[name])}, its replacement {list(shape)}"
            )

    def generate(self, examples: Sequence[Example]) -> Iterator[tuple[str, Answer]]:
        batches = [tuple(examples[place] for place in batch) for batch in self._batches(examples)]
        live = self.live
        self._kept.keep_only(batches)
        for batch in batches:
            inputs = self._kept.get(batch, self._inputs)
            try:
                answers = live.respond(inputs)
            except Exception as error:
                raise explained(batch, error) from error
            yield from zip((example.id for example in batch), answers, strict=True)

    def score(self, said: Sequence[tuple[Example, str]]) -> Iterator[tuple[int, Answer]]:
        places = self._batches([example for example, _ in said])
        batches = [tuple(said[place] for place in batch) for batch in places]
        self.settings.check_scores(self.folder)
        live = self.live
        if live.ends == [None]:
            raise AdammsError(f"{self.folder}: {NO_END}")
        self._kept.keep_only(batches)
        for numbers, batch in zip(places, batches, strict=True):
            examples, texts = zip(*batch, strict=True)
            inputs = self._kept.get(batch, lambda pairs: self._inputs(*zip(*pairs, strict=True)))
            try:
                answers = live.score(inputs, texts)
            except Exception as error:
                raise explained(examples, error) from error
            yield from zip(numbers, answers, strict=True)

    def _batches(self, examples: Sequence[Example]) -> list[list[int]]:
        """The places of what is answered together; not every processor takes clips of different lengths."""
        still = [place for place, example in enumerate(examples) if example.video is None]
        size = self.settings.batch_size
        batches = [still[start : start + size] for start in range(0, len(still), size)]
        return batches + [[place] for place, example in enumerate(examples) if example.video is not None]

    def _inputs(self, batch: Sequence[Example], texts: Sequence[str] = ()) -> Any:
        """The model's inputs; an error names the one example that no inputs can be made of."""
        try:
            return self.live.inputs_with(batch, texts) if texts else self.live.inputs(batch)
        except Exception as error:
            for place, example in enumerate(batch if len(batch) > 1 else ()):
                self._inputs((example,), texts[place : place + 1])
            raise explained(batch, error) from error


def write(recipe: Recipe, name: str, view: torch.Tensor, sources: Sources) -> None:
    """Copy a merged tensor into the live one, some rows at a time: it is never in memory as a whole."""
    with torch.no_grad():
        if not recipe.computes(recipe.slots[name]):
            view.copy_(recipe.tensor(name, sources))
            return
        rows = torch.atleast_1d(view)
        width = math.prod(rows.shape[1:])
        for start, piece in recipe.pieces(name, sources):
            part = piece.view(-1, *rows.shape[1:])
            rows[start // width : start // width + len(part)].copy_(part)


def explained(batch: Sequence[Example], error: Exception) -> AdammsError:
    """An error of the processor or the model, with the examples that it came of."""
    message = f"{Example.names(batch)}: {cause(error)}"
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error):
        message += "; engine.batch_size=1, or smaller images, need less memory"
    return AdammsError(message)


def _greedy_identity(folder: Path) -> str:
    """A mark where generation_config.json has what once changed answers: those are not to be found again."""
    file = folder / "generation_config.json"
    return " greedy" if file.is_file() and read_json(file).keys() - NOT_OF_GREEDY else ""


def _prompt_identity(files: PromptFiles) -> str:
    """What another tokenizer or chat template changes about the answers; "" where there is neither."""
    tokenizer = "" if files.tokenizer is None else f" tokenizer={fingerprint_side_files(files.tokenizer)}"
    if files.chat_template is None:
        return tokenizer
    file = Path(files.chat_template).expanduser()
    template = file.read_text(encoding="utf-8") if file.is_file() else files.chat_template
    return f"{tokenizer} chat_template={template}"
