"""What a user sees when something is wrong: one message that says what, and the nearest valid choice.

Owns the translation of Hydra's and OmegaConf's errors. A fault of the program itself keeps its traceback.
"""

import errno
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from adamms.errors import CHECKOUT, PACKAGE, AdammsError, install, nearest, program

# Installed it lies in the package, in a checkout beside it.
CONF = (PACKAGE if CHECKOUT is None else CHECKOUT) / "conf"
MANY = 30  # options of a group; where there are more, the nearest are named alone
# Of the disk and of what may be written where: no faults of the program.
SYSTEM_ERRORS = (
    *(errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR),
    *(errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM),
)


@contextmanager
def explain_errors() -> Iterator[None]:
    """Print user errors as a message and leave with status 2; HYDRA_FULL_ERROR=1 shows all of it."""
    if os.environ.get("HYDRA_FULL_ERROR") == "1":
        yield
        return
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands errors on instead of printing its own version
    try:
        yield
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2)
    finally:
        os.environ.pop("HYDRA_FULL_ERROR", None)


def explain(error: BaseException) -> str | None:
    """The message for a user's mistake; None if the error is not one."""
    chain = list(_chain(error))
    for link in chain:
        if isinstance(link, AdammsError):
            return str(link)
    for link in chain:
        if isinstance(link, ConfigAttributeError | ConfigKeyError):
            return _unknown_key(link)
        if isinstance(link, MissingConfigException) and link.options is not None:
            return _unknown_choice(link)
        if isinstance(link, MissingMandatoryValue):
            return f"{link.full_key} has no value; give it as {link.full_key}=..."
        if isinstance(link, OverrideParseException) and "=" not in link.override:
            return f"{link.override!r}: expected KEY=VALUE, as in mode=merge"
    if (override := _group_without_option(error)) is not None:
        return f"{override}: a config group takes the name of one of its options; --help lists them"
    if isinstance(error, OSError) and error.errno in SYSTEM_ERRORS and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, HydraException | OmegaConfBaseException) or _comes_from(error, "submitit"):
        return str(error).strip()
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _comes_from(error: BaseException, package: str) -> bool:
    """Whether the error is of one of `package`'s own classes, or `package` raised it."""
    frames = list(traceback.walk_tb(error.__traceback__))
    raiser = str(frames[-1][0].f_globals.get("__name__")) if frames else ""
    return package in (type(error).__module__.partition(".")[0], raiser.partition(".")[0])


def _group_without_option(error: BaseException) -> str | None:
    """The override, e.g. 'engine=null', that Hydra refuses without saying which it was."""
    if not isinstance(error, ValueError) or not str(error).startswith("Config group override must be"):
        return None
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    override = frame.f_locals.get("override")
    return str(getattr(override, "input_line", error))


def _unknown_key(error: ConfigAttributeError | ConfigKeyError) -> str:
    full_key, node = str(error.full_key), error.parent_node
    try:
        known = [str(key) for key in node if not str(key).startswith("_")] if node is not None else []
    except OmegaConfBaseException:
        known = []
    place = full_key.rpartition(".")[0] or "the configuration"
    elsewhere = [] if node is None else _ending_in(node._get_root(), str(error.key))
    hint = nearest(str(error.key), known) or nearest(full_key, elsewhere)
    if not hint and elsewhere:
        hint = f" Nearest: {', '.join(elsewhere[:3])}."
    if options := _options_with(full_key):
        hint = f" Choices that have it: {', '.join(options)}."
    if node is not None and (not known or (place.startswith("model.") and error.key in _model_keys())):
        hint = f" Add it: +{full_key}=..."
    if place == "model.donors":
        hint += f" Another donor: +{full_key}.path=... For a pair of your own: model=custom"
    return f"unknown key {full_key!r}; {place} has {', '.join(known) or 'no keys'}.{hint}"


def _model_keys() -> list[str]:
    """What any model may say; published ones leave out what they do not need."""
    return list(yaml.safe_load((CONF / "model/custom.yaml").read_text())["target"])


def _options_with(full_key: str) -> list[str]:
    """The options of the key's group that have the key, e.g. ["data=file"] of data.path."""
    group, _, key = full_key.partition(".")
    options = sorted(CONF.glob(f"{group}/*.yaml"))
    return [f"{group}={file.stem}" for file in options if key in yaml.safe_load(file.read_text())]


def _ending_in(node: object, word: str, where: str = "") -> list[str]:
    """The full keys, anywhere in the configuration, whose last part is `word`."""
    found: list[str] = []
    if not isinstance(node, DictConfig) or node._is_none():
        return found
    for key in map(str, node):
        full = f"{where}{key}"
        inner = node._get_node(key)
        found += [full] if key == word else []
        if key != "hydra" and isinstance(inner, DictConfig) and not inner._is_interpolation():
            found += _ending_in(inner, word, f"{full}.")
    return found


def _unknown_choice(error: MissingConfigException) -> str:
    group, _, choice = str(error.missing_cfg_file).rpartition("/")
    options = list(error.options or [])
    if group == "hydra/launcher" and choice in ("submitit_slurm", "submitit_local"):
        return f"{group}: this launcher needs the extra `slurm`: {install('slurm')}"
    hint = nearest(choice, options)
    if group == "data" and Path(choice).suffix:
        hint += f" A file of your own: data=file data.path={choice}"
    if hint and len(options) > MANY:
        return f"unknown choice {group}={choice}.{hint} All {len(options)}: {program()} --help"
    return f"unknown choice {group}={choice}; expected one of: {', '.join(options)}.{hint}"
