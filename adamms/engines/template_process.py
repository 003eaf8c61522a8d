"""The process that renders chat templates, started by `TemplateRenderer`. Needs only jinja2: it starts fast.

The sandbox, its filters and its globals are those of transformers' `chat_template_utils`. A sandbox does not
bound what a template takes, so the process is bounded: in memory, in time, and in what it may write.
"""

import json
import resource
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from adamms.engines.child import parent_connection
from adamms.engines.template import CHARACTERS, MEGABYTES, SECONDS, Failure


class _TooLong(Exception):
    pass


class _Generation(Extension):
    """`{% generation %}`, which marks what an assistant said: here only its text counts."""

    tags = {"generation"}  # noqa: RUF012  (as jinja2 declares it)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_text"), [], [], body).set_lineno(line)

    def _text(self, caller: Callable[[], str]) -> str:
        return caller()


def environment() -> ImmutableSandboxedEnvironment:
    """As `_compile_jinja_template` of transformers makes it."""

    def tojson(
        x: Any,
        ensure_ascii: bool = False,
        indent: Any = None,
        separators: Any = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(
            x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
        )

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    found = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    found.filters["tojson"] = tojson
    found.globals["raise_exception"] = raise_exception
    found.globals["strftime_now"] = lambda format: datetime.now().strftime(format)
    return found


def rendered(source: str, variables: Mapping[str, Any]) -> str | Failure:
    """The text, or why there is none."""
    try:
        pieces, length = [], 0
        for piece in environment().from_string(source).generate(**variables):
            length += len(piece)
            if length > CHARACTERS:
                raise _TooLong
            pieces.append(piece)
        return "".join(pieces)
    except _TooLong:
        return Failure(f"writes more than {CHARACTERS:,} characters", limit=True)
    except MemoryError:
        return Failure(f"takes more than {MEGABYTES} MB of memory", limit=True)
    except RecursionError:
        return Failure("calls itself without an end", limit=True)
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        return Failure((f"line {line}: " if line else "") + str(error)[:500])
    except Exception as error:  # noqa: BLE001  (a template can call what it likes, with any arguments)
        return Failure(f"{type(error).__name__}: {str(error)[:500]}")


def _bound() -> None:
    """Memory for good, and processor time from now on: the system ends the process that takes more."""
    with suppress(ValueError, OSError):  # a lower limit is there already, or the system knows none
        resource.setrlimit(resource.RLIMIT_AS, (MEGABYTES << 20, MEGABYTES << 20))
    with suppress(ValueError, OSError):
        used = resource.getrusage(resource.RUSAGE_SELF)
        allowed = int(used.ru_utime + used.ru_stime) + SECONDS + 1
        resource.setrlimit(resource.RLIMIT_CPU, (allowed, resource.RLIM_INFINITY))


if __name__ == "__main__":
    connection = parent_connection()
    while (request := connection.recv()) is not None:
        _bound()
        connection.send(rendered(*request))
