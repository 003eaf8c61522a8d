"""One vLLM in a process of its own, seen from here: sends requests, receives replies, explains a death.

Knows neither what is asked nor other such processes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from adamms.data.example import Example
from adamms.engines.child import GRACE_SECONDS, ChildProcess
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
)
from adamms.errors import AdammsError

Request = Load | Ask | Score | Check
Partial = Reply | Scored | Checksums  # what comes before `Done`

ENVIRONMENT = {
    # The scheduler in the same process: one start instead of two, and one order of events.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_BATCH_INVARIANT": "0",  # the process sets it where the device can
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(eq=False)
class VllmClient:
    """A process with vLLM in it. It starts with the first request and ends with `stop` or a failure.

    Args:
        first: the request that vLLM is started with.
        environment: variables of the process in addition to `ENVIRONMENT`.
        start_timeout: seconds that starting, or swapping a candidate, may take.
        timeout: seconds that may pass without any answer.
        verbose: show the process's log as it is written.

    Attributes:
        images_encoded, bytes_read: as of `Done`.
    """

    first: Start
    environment: Mapping[str, str]
    start_timeout: float
    timeout: float
    verbose: bool
    images_encoded: int = field(default=0, init=False)
    bytes_read: tuple[int, ...] = field(default=(), init=False)
    _unread: bool = field(default=False, init=False)  # whether replies to the last request are still to come
    _started: bool = field(default=False, init=False)
    _over: bool = field(default=False, init=False)

    @cached_property
    def process(self) -> ChildProcess:
        """The process, started when first asked for."""
        environment = {**ENVIRONMENT, **self.environment}
        return ChildProcess("vLLM", "adamms.engines.vllm.process", environment, self.verbose)

    def stop(self) -> None:
        """End the process and all that it has started; the second time does nothing."""
        self._over = True
        if "process" in self.__dict__:
            self.process.stop(grace=0 if self._unread else GRACE_SECONDS)

    def start(self) -> None:
        """Start vLLM now, unless it has been started; every request does so, too.

        Raises:
            AdammsError: it does not start, with the cause, or it has ended already.
        """
        if self._over:
            raise AdammsError("the vLLM engine has ended; make another")
        if not self._started:
            self._started = True
            list(self._exchange(self.first, self.start_timeout, f"starting on {self.first.folder}"))

    def load(self, recipe: bytes, version: str) -> None:
        """Swap in the pickled recipe."""
        list(self._request(Load(recipe, version), self.start_timeout, "swapping the weights"))

    def ask(self, requests: Sequence[Ask]) -> Iterator[Reply]:
        """The answers to one batch after the other, as they are done."""
        for request in requests:
            doing = f"answering {Example.names(request.examples)}"
            for reply in self._request(request, self.timeout, doing):
                if isinstance(reply, Reply):
                    yield reply

    def score(self, requests: Sequence[Score]) -> Iterator[Scored]:
        """The scores of one batch after the other, as they are done."""
        for request in requests:
            doing = f"scoring texts of {Example.names([example for _, example, _ in request.said])}"
            for reply in self._request(request, self.timeout, doing):
                if isinstance(reply, Scored):
                    yield reply

    def checksums(self) -> dict[str, str]:
        """Rank and parameter -> a checksum of its live values."""
        found: dict[str, str] = {}
        for reply in self._request(Check(), self.start_timeout, "summing up the weights"):
            if isinstance(reply, Checksums):
                found |= reply.of
        return found

    def _request(self, request: Request, seconds: float, doing: str) -> Iterator[Partial]:
        """Send a request and yield the replies that come before it is done."""
        self.start()
        while self._unread:  # replies to a request that the caller has dropped half way
            self._receive(self.timeout, "finishing what was asked before")
        yield from self._exchange(request, seconds, doing)

    def _exchange(self, request: Start | Request, seconds: float, doing: str) -> Iterator[Partial]:
        try:
            self._unread = True
            self.process.send(request)
            while self._unread:
                reply = self._receive(seconds, doing)
                if not isinstance(reply, Done):
                    yield reply
        except AdammsError:
            if self._unread:
                self.stop()
            raise

    def _receive(self, seconds: float, doing: str) -> Partial | Done:
        reply: Partial | Done | Refusal | Failure = self.process.receive(seconds, doing)
        self._unread = not isinstance(reply, Done | Refusal)
        if isinstance(reply, Refusal):
            raise AdammsError(f"vLLM: {reply.reason}")
        if isinstance(reply, Failure):
            log = "" if reply.explained else self.process.log_tail()
            raise AdammsError(f"vLLM failed while {doing}: {reply.reason}{log}")
        if isinstance(reply, Done):
            self.images_encoded, self.bytes_read = reply.images_encoded, reply.bytes_read
        return reply
