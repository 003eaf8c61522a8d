"""The process in which vLLM runs: starts it, then serves requests until the parent is done.

`VllmClient` runs it as `python -m adamms.engines.vllm.process`. Whatever vLLM starts belongs to this
process's session.
"""

import os
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from adamms.data.example import Example
from adamms.engines.answer import Answer, Token
from adamms.engines.base import NO_END
from adamms.engines.child import parent_connection
from adamms.engines.thought import opened_thought, with_special_tags
from adamms.engines.vllm.configuration import config_of
from adamms.engines.vllm.engine import Vllm
from adamms.engines.vllm.folder import check_limits, image_mark, supported
from adamms.engines.vllm.messages import (
    Ask,
    Check,
    Checksums,
    Done,
    Failure,
    Load,
    Refusal,
    Reply,
    Score,
    Scored,
    Start,
    Swap,
)
from adamms.errors import AdammsError, cause

# GPUs from this compute capability on have batch-invariant kernels.
INVARIANT_CAPABILITY = (9, 0)


class Refused(AdammsError):
    """An example that the model cannot be asked. The engine can go on."""


class Server:
    """A live vLLM engine on the model in `folder`."""

    def __init__(self, folder: Path, settings: Vllm) -> None:
        from vllm.platforms import current_platform

        on_cpu = current_platform.is_cpu()
        able = not on_cpu and current_platform.has_device_capability(INVARIANT_CAPABILITY)
        if settings.batch_invariant and able:
            os.environ["VLLM_BATCH_INVARIANT"] = "1"  # read by modules that are imported below

        from vllm import LLMEngine, SamplingParams

        from adamms.engines.prompt import Following, load_processor

        self.processor = load_processor(folder, trust_remote_code=settings.trust_remote_code)
        self.engine = LLMEngine.from_vllm_config(config_of(folder, settings, on_cpu), disable_log_stats=True)
        model = self.engine.vllm_config.model_config
        check_limits(folder, settings, lambda: supported(model) if model.is_multimodal_model else {})
        self.sampling = SamplingParams(
            temperature=0.0,
            max_tokens=settings.max_new_tokens,
            stop=list(settings.stop) or None,
            logprobs=settings.logprobs or None,
        )
        self.image_mark = image_mark(self.processor, model)
        self.tokenizer = getattr(self.processor, "tokenizer", self.processor)
        self.following = Following(self.processor, self.image_mark)
        own = model.try_get_generation_config().get("eos_token_id")
        ends = {self.tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])} - {None}
        # vLLM has to generate a token: the likeliest end. Its log-probability is that among all tokens.
        self.scoring = SamplingParams(
            temperature=0.0,
            max_tokens=1,
            allowed_token_ids=sorted(ends) or None,
            logprobs=settings.logprobs,
            prompt_logprobs=settings.logprobs,
            detokenize=False,
        )
        self.opened = ""  # the opening tag of a thought that every prompt ends in, if any
        self.logprobs = settings.logprobs
        self.video_frames = settings.video_frames
        self.verify = settings.verify_swaps
        self.bytes_read: tuple[int, ...] = ()
        self.numbers = map(str, count(1))
        self.engine.collective_rpc("adamms_begin")
        start = {"source_cache": settings.source_cache}
        self.engine.collective_rpc("init_weight_transfer_engine", kwargs={"init_info": start})

    def load(self, recipe: bytes, version: str) -> None:
        """Swap the candidate. Keys and values of the old one are forgotten, encoder outputs are kept.

        Raises:
            AdammsError: a merged tensor of which no worker's model has read anything.
        """
        again = True
        while again:  # each time, a worker wants at least one more tensor whole
            self.engine.collective_rpc("start_weight_update")
            self.engine.collective_rpc("update_weights", kwargs={"update_info": {"recipe": recipe}})
            self.engine.collective_rpc("finish_weight_update")
            swaps: list[Swap] = self.engine.collective_rpc("adamms_swap")
            again = any(swap.again for swap in swaps)
        self.engine.set_weight_version(version)
        self.bytes_read = tuple(swap.size for swap in swaps)
        lost = sorted(frozenset.intersection(*(swap.unread for swap in swaps)))
        if lost and self.verify:
            raise AdammsError(
                f"the loader of vLLM's model took nothing of {len(lost)} merged tensors "
                f"({', '.join(lost[:3])}); leave them out with mapper.exclude, or go on unchecked with "
                f"engine.verify_swaps=false"
            )
        if not lost:
            self.engine.collective_rpc("adamms_learn")
        if any(swap.stale for swap in swaps):
            self.engine.reset_encoder_cache()
        if not self.engine.reset_prefix_cache():
            raise AdammsError("the prefix cache, which holds the previous candidate's keys, was not reset")

    @property
    def images_encoded(self) -> int:
        """Images that have gone through the vision encoder since the start."""
        return int(self.engine.collective_rpc("adamms_encoded_images")[0])

    def checksums(self) -> dict[str, str]:
        """Rank and parameter -> a checksum of its live values, of all workers."""
        return {
            f"{rank} {name}": value
            for rank, sums in enumerate(self.engine.collective_rpc("adamms_checksums"))
            for name, value in sums.items()
        }

    def replies(self, examples: tuple[Example, ...]) -> Iterator[Reply]:
        """The answers as they are done. A refused example raises after the answers to those before it."""
        for place, _, output in self._outputs([(example, None) for example in examples]):
            done = output.outputs[0]
            ids = tuple(done.token_ids)
            tokens, cut = self._tokens(ids, done.logprobs), done.finish_reason == "length"
            text = with_special_tags(self.tokenizer, ids, done.text)
            answer = Answer(self.opened + text.strip(), tokens, cut)
            yield Reply(examples[place].id, answer, ids)

    def scores(self, said: Sequence[tuple[int, Example, str]]) -> Iterator[Scored]:
        """The texts with their log-probabilities, refusing as `replies` does.

        vLLM computes the log-probabilities of the whole prompt, images included, and its keys anew where the
        prefix cache has them (`SamplingParams.skip_reading_prefix_cache`); images come from the encoder
        cache. To begin at the text, `prompt_logprob_token_ids` of vLLM 0.32 would have to know how long the
        prompt becomes with its images, and needs a model runner that CPUs do not have.
        """
        if self.scoring.allowed_token_ids is None:
            raise Refused(NO_END)
        for place, length, output in self._outputs([(example, text) for _, example, text in said]):
            number, _, text = said[place]
            start, end = len(output.prompt_token_ids) - length, output.outputs[0]
            ids = (*output.prompt_token_ids[start:], *end.token_ids)
            tokens = self._tokens(ids, [*output.prompt_logprobs[start:], *end.logprobs])
            yield Scored(number, Answer(text, tokens, False))

    def _outputs(self, asked: Sequence[tuple[Example, str | None]]) -> Iterator[tuple[int, int, Any]]:
        """(place in `asked`, tokens of its text, vLLM's output) as they are done.

        Those before a refused example come first.
        """
        places: dict[str, tuple[int, int]] = {}
        refusal = None
        for place, (example, text) in enumerate(asked):
            try:
                request, length = self._ask(example, text)
                places[request] = place, length
            except Refused as error:
                refusal = error
                break
        while places:
            for output in self.engine.step():
                if output.finished:
                    yield *places.pop(output.request_id), output
        if refusal is not None:
            raise refusal

    def _tokens(self, ids: tuple[int, ...], logprobs: Any) -> tuple[Token, ...]:
        """The tokens of one answer, or of one text and its end.

        Args:
            ids: of the tokens.
            logprobs: {token id: Logprob} for each of them, its own id included; None if not asked for.
        """
        if logprobs is None:
            return ()
        values = [{other: entry.logprob for other, entry in found.items()} for found in logprobs]
        return tuple(Token.of(i, own, own[i], self.logprobs) for i, own in zip(ids, values, strict=True))

    def _ask(self, example: Example, text: str | None) -> tuple[str, int]:
        """Hand one example to the scheduler.

        Args:
            text: to be scored with its end; None: the example is to be answered.

        Returns:
            The number that the answer comes back under, and how many tokens the text has.
        """
        from adamms.engines.image import open_image
        from adamms.engines.prompt import prompt
        from adamms.engines.video import open_video, sampled

        request, length = next(self.numbers), 0
        try:
            asked = prompt(self.processor, example, self.image_mark)
            self.opened = opened_thought(asked)
            if text is not None:
                asked, length = self.following(asked, text)
            inputs: dict[str, Any] = {"prompt": asked, "multi_modal_data": {}}
            if example.image is not None:
                inputs["multi_modal_data"]["image"] = [open_image(file) for file in example.images]
            if example.video is not None:
                clip = open_video(example.video, sampled(self.processor, self.video_frames))
                told = clip.metadata | {"do_sample_frames": False}  # they are the sample
                inputs["multi_modal_data"]["video"] = [(clip.frames, told)]
            self.engine.add_request(request, inputs, self.sampling if text is None else self.scoring)
        except Exception as error:  # vLLM and processors have many; the model has not run yet
            names = ", ".join(map(str, example.files))
            plural = "s" if example.more_images else ""
            noun = f"image{plural}" if example.video is None else "media" if example.images else "video"
            media = f" with the {noun} {names}" if names else ""
            raise Refused(f"{example.name}{media} is refused: {cause(error)}") from error
        return request, length


def serve(connection: Connection) -> None:
    """Answer requests, of which `Start` is the first, until the parent ends or sends None."""
    server: Server | None = None
    with suppress(EOFError):
        while (request := connection.recv()) is not None:
            try:
                if isinstance(request, Start):
                    assert isinstance(request.settings, Vllm)
                    server = Server(request.folder, request.settings)
                assert server is not None
                if isinstance(request, Load):
                    server.load(request.recipe, request.version)
                if isinstance(request, Ask):
                    for reply in server.replies(request.examples):
                        connection.send(reply)
                if isinstance(request, Score):
                    for scored in server.scores(request.said):
                        connection.send(scored)
                if isinstance(request, Check):
                    connection.send(Checksums(server.checksums()))
                connection.send(Done(server.images_encoded, server.bytes_read))
            except Refused as error:
                connection.send(Refusal(str(error)))
            except AdammsError as error:
                connection.send(Failure(str(error), explained=True))
            except Exception as error:  # noqa: BLE001  (vLLM raises many kinds; the parent is told)
                traceback.print_exc()
                connection.send(Failure(in_words(error), explained=False))


def in_words(error: Exception) -> str:
    """What went wrong, and what to do where that is known."""
    if type(error).__name__ == "OutOfMemoryError":
        return (
            "the GPU is out of memory; lower engine.encoder_cache_tokens, engine.max_model_len or "
            f"engine.gpu_memory_utilization, or raise engine.tensor_parallel_size ({str(error)[:200]})"
        )
    if "trust_remote_code" in str(error):
        return (
            "the model needs Python files in its folder to be run; if you trust them, set "
            f"engine.trust_remote_code=true ({str(error)[:200]})"
        )
    return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    serve(parent_connection())
