"""A model on one device: examples in, answers out, and its tensors by the names in the checkpoint's files.

Knows no recipes: the engine writes into `weights`. Takes seconds to import.
"""

from collections.abc import Sequence
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments import LightningEnvironment
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList
from transformers.utils.logging import disable_progress_bar

from adamms.checkpoint.reader import open_checkpoint
from adamms.data.example import Example
from adamms.engines.answer import Answer, Token
from adamms.engines.base import EngineSettings, PromptFiles
from adamms.engines.image import open_image
from adamms.engines.prompt import Following, prompt, reads_parts
from adamms.engines.thought import opened_thought, with_special_tags
from adamms.engines.transformers.live_weights import LiveWeights
from adamms.engines.video import inputs as video_inputs
from adamms.engines.video import open_video, sampled
from adamms.models.registration import load_model

PRECISIONS = {torch.float32: "32-true", torch.bfloat16: "bf16-true", torch.float16: "16-true"}


class LiveModel:
    """A model on its device with its processor.

    Attributes:
        weights: its tensors under the names that they have in the checkpoint.
    """

    def __init__(
        self, folder: Path, files: PromptFiles, settings: EngineSettings, accelerator: str, precision: str
    ) -> None:
        self.folder = folder
        self.processor = settings.processor(folder, files)
        self.tokenizer = getattr(self.processor, "tokenizer", self.processor)
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.image_mark = None if reads_parts(self.processor) else ""
        self._following = Following(self.processor, self.image_mark)
        disable_progress_bar()
        model = load_model(folder)
        if precision == "auto":
            precision = PRECISIONS[model.dtype]
        # Kept here: Fabric's wrapper says float32 of every model.
        self.dtype = next(dtype for dtype, name in PRECISIONS.items() if name == precision)
        # One process: under srun, Lightning would otherwise expect SLURM to start several.
        alone = LightningEnvironment()
        self.fabric = Fabric(accelerator=accelerator, devices=1, precision=precision, plugins=[alone])
        self.model = self.fabric.setup_module(model.eval())
        self.model.mark_forward_method("generate")
        self.settings = settings
        self.generation = _greedy(model, self.tokenizer, settings)
        # transformers fills what a generation config leaves open from the model's own: beams, penalties, ...
        model.generation_config = self.generation
        stored = open_checkpoint(folder).tensors
        self.weights = LiveWeights(model, {name: entry.shape for name, entry in stored.items()})

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.fabric.device

    @torch.inference_mode()
    def respond(self, inputs: Any) -> list[Answer]:
        """One answer per row of the batch."""
        inputs = self.fabric.to_device(inputs)
        prompt_length = inputs["input_ids"].shape[1]
        stop = self.settings.stop
        ends = [StopText(self.tokenizer, stop, prompt_length)] if stop else []
        output = self.model.generate(
            **inputs, generation_config=self.generation, stopping_criteria=StoppingCriteriaList(ends)
        )
        new = output.sequences[:, prompt_length:]  # (batch, <= max_new_tokens)
        texts: list[str] = self.processor.batch_decode(new, skip_special_tokens=True)
        tokens = self._tokens(new, output.logits) if self.settings.logprobs else [()] * len(texts)
        texts = [with_special_tags(self.tokenizer, *pair) for pair in zip(new.tolist(), texts, strict=True)]
        rows = zip(texts, tokens, new.tolist(), strict=True)
        return [
            Answer(self._opened + before(stop, text).strip(), row, self._is_cut(text, ids))
            for text, row, ids in rows
        ]

    @cached_property
    def _opened(self) -> str:
        """The opening tag of a thought that every prompt ends in, if any."""
        return opened_thought(prompt(self.processor, Example("", "", ""), self.image_mark))

    @torch.inference_mode()
    def score(self, inputs: Any, texts: Sequence[str]) -> list[Answer]:
        """The given texts with the log-probabilities of their tokens and of their ends, by one forward pass.

        It is the pass with which `generate` begins, so positions and masks are those of generation. Logits
        are kept of the longest text alone, for models that can leave out the others.

        Args:
            inputs: of `inputs_with`.
        """
        inputs = dict(self.fabric.to_device(inputs))
        lengths: list[int] = inputs.pop("lengths").tolist()
        kept = {"logits_to_keep": max(lengths) + 1} if self._keeps_logits else {}
        seen: list[torch.Tensor] = []
        hook = self.model.module.register_forward_hook(
            lambda model, given, output: seen.append(output.logits)
        )
        try:
            self.model.generate(**inputs, **kept, generation_config=self._one_step)
        finally:
            hook.remove()
        rows = zip(texts, lengths, inputs["input_ids"], seen[0], strict=True)
        return [
            Answer(text, self._scored(ids[len(ids) - length :], logits[len(logits) - length - 1 :]), False)
            for text, length, ids, logits in rows
        ]

    def _scored(self, ids: torch.Tensor, logits: torch.Tensor) -> tuple[Token, ...]:
        """The tokens of one text and its end.

        Args:
            ids: of the text, shape (length,).
            logits: of these and of the end, shape (length + 1, vocabulary).
        """
        count = self.settings.logprobs
        steps = logits.float().log_softmax(-1)
        end = max((one for one in self.ends if one is not None), key=lambda one: float(steps[-1, one]))
        chosen = [*ids.tolist(), end]
        values, names = (each.tolist() for each in steps.topk(min(count, steps.shape[-1]), dim=-1))
        return tuple(
            Token.of(one, dict(zip(names[i], values[i], strict=True)), float(steps[i, one]), count)
            for i, one in enumerate(chosen)
        )

    @cached_property
    def _keeps_logits(self) -> bool:
        """Whether the model can leave out the logits of all but the last tokens."""
        return "logits_to_keep" in signature(self.model.module.forward).parameters

    @cached_property
    def _one_step(self) -> GenerationConfig:
        """Generation of one token."""
        return GenerationConfig(**self.generation.to_diff_dict() | {"max_new_tokens": 1})

    def _tokens(self, new: torch.Tensor, logits: tuple[torch.Tensor, ...]) -> list[tuple[Token, ...]]:
        """The tokens of each row up to its end.

        Args:
            new: generated ids, shape (batch, steps).
            logits: of each step, shape (batch, vocabulary).
        """
        count = self.settings.logprobs
        steps = torch.stack(logits, dim=1).float().log_softmax(-1)  # (batch, steps, vocabulary)
        chosen = steps.gather(-1, new[..., None])[..., 0].tolist()
        top = steps.topk(min(count, steps.shape[-1]), dim=-1)
        values, ids = top.values.tolist(), top.indices.tolist()
        rows = []
        for row, said in enumerate(new.tolist()):
            likeliest = [dict(zip(*pair, strict=True)) for pair in zip(ids[row], values[row], strict=True)]
            places = range(self._length(said))
            rows.append(tuple(Token.of(said[i], likeliest[i], chosen[row][i], count) for i in places))
        return rows

    def _is_cut(self, text: str, ids: list[int]) -> bool:
        """Whether an answer was cut: no token and no text of `stop` ends it."""
        return not any(one in self.ends for one in ids) and before(self.settings.stop, text) == text

    def _length(self, ids: list[int]) -> int:
        """How many tokens an answer has, the one that ends it included."""
        return next((place + 1 for place, one in enumerate(ids) if one in self.ends), len(ids))

    @property
    def ends(self) -> list[int | None]:
        """Ids of the tokens that end an answer."""
        end = self.generation.eos_token_id
        return end if isinstance(end, list) else [end]

    def inputs(self, batch: Sequence[Example]) -> Any:
        """The model's inputs for one batch: prompts by the chat template, left-padded, and pixels."""
        return self._processed([prompt(self.processor, example, self.image_mark) for example in batch], batch)

    def inputs_with(self, batch: Sequence[Example], texts: Sequence[str]) -> Any:
        """The same with a text behind each prompt, and how many tokens the texts have as `lengths`."""
        asked = [prompt(self.processor, example, self.image_mark) for example in batch]
        whole = [self._following(*pair) for pair in zip(asked, texts, strict=True)]
        inputs = self._processed([text for text, _ in whole], batch)
        return inputs | {"lengths": torch.tensor([length for _, length in whole])}

    def _processed(self, prompts: Sequence[str], batch: Sequence[Example]) -> dict[str, Any]:
        images: list[Any] = [[open_image(file) for file in e.images] for e in batch if e.images]
        if all(len(each) == 1 for each in images):
            images = [image for (image,) in images]
        videos = [example.video for example in batch if example.video is not None]
        choose = sampled(self.processor, self.settings.video_frames) if videos else None
        given: dict[str, Any] = {"text": prompts} | ({"images": images} if images else {})
        given |= video_inputs([open_video(video, choose) for video in videos if choose is not None])
        if self.tokenizer is self.processor:  # a model of text alone takes ids and nothing else
            start = self.tokenizer.bos_token
            given["add_special_tokens"] = start is None or not prompts[0].startswith(start)
            given["return_token_type_ids"] = False
        inputs = self.processor(**given, padding=True, padding_side="left", return_tensors="pt")
        return {
            key: value.to(self.dtype) if torch.is_floating_point(value) else value
            for key, value in inputs.items()
        }


class StopText(StoppingCriteria):
    """Ends an answer when it holds one of the texts.

    transformers' own criterion needs a tokenizer whose tokens join to text piece by piece. Not all do.
    """

    def __init__(self, tokenizer: Any, stop: tuple[str, ...], prompt_length: int) -> None:
        self.tokenizer = tokenizer
        self.stop = stop
        self.prompt_length = prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """Which rows of `input_ids`, shape (batch, length so far), are done; shape (batch,)."""
        texts = self.tokenizer.batch_decode(input_ids[:, self.prompt_length :], skip_special_tokens=True)
        done = [any(end in text for end in self.stop) for text in texts]
        return torch.tensor(done, device=input_ids.device)


def before(stop: Sequence[str], text: str) -> str:
    """`text` up to the first place at which one of `stop` begins."""
    return text[: min((place for end in stop if (place := text.find(end)) >= 0), default=len(text))]


def _greedy(model: Any, tokenizer: Any, settings: EngineSettings) -> GenerationConfig:
    """Plain greedy decoding. Of the checkpoint's own generation config it takes the special tokens only."""
    own = model.generation_config
    end = tokenizer.eos_token_id if own.eos_token_id in (None, []) else own.eos_token_id
    pad = own.pad_token_id if own.pad_token_id is not None else tokenizer.pad_token_id
    if pad is None or pad < 0:  # Llama's first configurations say -1 for none
        pad = end[0] if isinstance(end, list) else end
    return GenerationConfig(
        do_sample=False,
        max_new_tokens=settings.max_new_tokens,
        eos_token_id=end,
        pad_token_id=pad,
        return_dict_in_generate=True,
        output_logits=settings.logprobs > 0,
    )
