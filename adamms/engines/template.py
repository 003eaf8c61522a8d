"""A model's chat template, rendered within limits: it is a program that the model's folder brings along.

Knows no examples: `prompt` says what is rendered.
"""

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adamms.engines.child import ChildProcess
from adamms.errors import AdammsError

# Of one rendering; a template takes milliseconds, and starting the process a fraction of a second.
SECONDS = 10
MEGABYTES = 512
CHARACTERS = 1_000_000


@dataclass(frozen=True)
class Failure:
    """Why there is no text.

    Args:
        message: what the template did.
        limit: whether it took too much, and did not merely fail.
    """

    message: str
    limit: bool = False


class TemplateFailure(AdammsError):
    """The template raised an error."""


class TemplateRenderer:
    """Renders a model's chat templates as transformers does, in a process of its own.

    Args:
        tokens: special tokens by name, as the tokenizer has them.
        where: the model's folder, for messages.
    """

    def __init__(self, tokens: Mapping[str, Any], where: str) -> None:
        self.tokens = dict(tokens)
        self.where = where
        self._child: ChildProcess | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "TemplateRenderer":
        """Itself: processors copy all that they have when they are saved."""
        return self

    def render(self, source: str, messages: Sequence[Mapping[str, Any]]) -> str:
        """The text of a conversation up to where the model answers.

        Args:
            source: of the template, in Jinja.
            messages: with the keys `role` and `content`.

        Raises:
            TemplateFailure: the template is not valid, or raises an error.
            AdammsError: it takes too much time or memory, or writes too much.
        """
        variables = {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": True}
        if self._child is None:
            self._child = ChildProcess(
                "the chat template", "adamms.engines.template_process", {"MALLOC_ARENA_MAX": "1"}
            )
            weakref.finalize(self, self._child.stop, grace=0)
        try:
            self._child.send((source, variables | self.tokens))
            said = self._child.receive(SECONDS, "rendering")
        except AdammsError:
            self._child.stop(grace=0)
            self._child = None
            said = Failure(f"takes more than {SECONDS} s, or {MEGABYTES} MB of memory", limit=True)
        if not isinstance(said, Failure):
            return str(said)
        if said.limit:
            raise AdammsError(f"{self.where}: its chat template {said.message}; it is not used")
        raise TemplateFailure(f"{self.where}: its chat template fails: {said.message}")
