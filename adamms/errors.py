"""Errors that a user can act on: what was wrong, what was expected, the nearest valid choice."""

import difflib
import re
import sys
from collections.abc import Iterable
from numbers import Number
from pathlib import Path

PACKAGE = Path(__file__).parent
# The folder with the sources that adamms is run from; None where it is installed without them.
CHECKOUT = PACKAGE.parent if (PACKAGE.parent / "conf/config.yaml").is_file() else None


# Type of a value -> what JSON calls it.
KINDS = {type(None): "null", str: "a text", list: "a list", dict: "an object"}


class AdammsError(Exception):
    """A problem in the user's input or environment. The command line prints it without a traceback."""


def program() -> str:
    """What is typed to run adamms here."""
    return "python run.py" if Path(sys.argv[0]).name == "run.py" else "adamms"


def install(extra: str) -> str:
    """The command that installs an optional part of adamms, such as "vllm".

    adamms itself is on no index: pip takes what is installed, or the checkout.
    """
    if CHECKOUT is None:
        return f"pip install 'adamms[{extra}]'"
    return f"pip install -e '{'.' if Path.cwd() == CHECKOUT else CHECKOUT}[{extra}]'"


def cause(error: BaseException) -> str:
    """What went wrong: our own sentence, or in one line the error that all others were raised from."""
    while error.__cause__ is not None and not isinstance(error, AdammsError):
        error = error.__cause__
    if isinstance(error, AdammsError):
        return str(error)
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:500]}{'...' if len(text) > 500 else ''}"


def shortened(text: str) -> str:
    """A long text, such as a picture as base64, by its beginning and end."""
    return text if len(text) <= 300 else f"{text[:120]}...{text[-60:]} ({len(text)} characters)"


def kind_of(value: object) -> str:
    """What a value of JSON or of a table is, for messages.

    >>> kind_of({"question": "What?"}), kind_of(2.5), kind_of(True)
    ('an object', 'a number', 'true')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Number):
        return "a number"
    return KINDS.get(type(value), f"of the type {type(value).__name__}")


def nearest(word: str, choices: Iterable[str]) -> str:
    """' Nearest: X, Y.' with up to three choices that resemble `word`, or '' when none does."""
    found = difflib.get_close_matches(word, sorted(set(choices)), n=3, cutoff=0.5)
    return f" Nearest: {', '.join(found)}." if found else ""


def no_such_path(path: Path) -> AdammsError:
    """The error that nothing is at `path`; names what lies beside it."""
    if path.is_symlink():
        return AdammsError(f"{path}: a link to {path.readlink()}, which is not there")
    siblings = [sibling.name for sibling in path.parent.iterdir()] if path.parent.is_dir() else []
    return AdammsError(f"{path}: no such folder or file.{nearest(path.name, siblings)}")


def check_pattern(what: str, pattern: str | None) -> None:
    """Raise AdammsError unless `pattern` is a regular expression, or None."""
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise AdammsError(f"{what} is not a regular expression: {error}") from error


def check_choice(what: str, value: object, choices: Iterable[str]) -> None:
    """Raise AdammsError unless `value` is one of `choices`; the message lists them all."""
    choices = list(choices)
    if value not in choices:
        raise AdammsError(
            f"{what} is {value!r}; expected one of: {', '.join(choices)}." + nearest(str(value), choices)
        )
