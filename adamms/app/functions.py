"""The modes as Python functions that take the words of the command line: `adamms.merge("model=custom", ...)`.

Owns how words become a run outside of Hydra's main. What the modes do is in `modes`.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobRuntime
from hydra.version import VersionBase
from omegaconf import open_dict

from adamms.app.config.job import find_own_classes, own_classes, settle_output
from adamms.app.config.messages import CONF, explain
from adamms.app.modes.common import start
from adamms.app.recipes.recipe_words import words_for
from adamms.app.settings import Run, read
from adamms.errors import AdammsError
from adamms.mapping.plan import Plan
from adamms.report.notebook import show_in_notebooks
from adamms.report.result import Result

# Where results go by default: a call may take less than a second.
BY_TIME = "hydra.run.dir=outputs/${now:%Y-%m-%d}/${now:%H-%M-%S-%f}"
MANY = "From Python, many runs are a loop: one value each"  # instead of Hydra's --multirun


def plan(*words: str) -> Plan:
    """Map only: what becomes of each tensor of the target.

    Args:
        words: what would be typed, e.g. "model=custom", f"model.target.path={folder}", "merge.alpha=0.3".
            Results go to output=..., by default to a folder named by the time below outputs/.

    Raises:
        AdammsError: with the message of the command line.
    """
    result = _run("plan", words)
    assert result.plan is not None
    return result.plan


def merge(*words: str) -> Path:
    """Write the model merged at merge.alpha. Words and errors: as of `plan`.

    Returns:
        The folder of the merged model.
    """
    result = _run("merge", words)
    assert result.folder is not None
    return result.folder


def search(*words: str) -> Result:
    """Find alpha without labels, and write the merged model. Words and errors: as of `plan`."""
    return _run("search", words)


def evaluate(*words: str) -> Result:
    """Score a model that is there, "model_folder=FOLDER". Words and errors: as of `plan`."""
    return _run("evaluate", words)


def _run(mode: str, words: Sequence[str]) -> Result:
    for word in words:
        if not isinstance(word, str):
            raise AdammsError(
                f"{word!r} is no text; expected what would be typed, of a list *words: adamms.{mode}(*words)"
            )
        if word.startswith("mode=") and word != f"mode={mode}":
            raise AdammsError(f"{word}: adamms.{mode} is mode={mode}; expected no other mode")
    try:
        with own_classes(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "IProgress not found")  # the bars in a notebook are ours
            result = start(_composed([*words, f"mode={mode}"]))
    except Exception as error:
        message = None if isinstance(error, AdammsError) else explain(error)
        if message is None:
            raise
        raise AdammsError(re.sub("To sweep .*--multirun.*", MANY, message)) from error
    show_in_notebooks()
    return result


def _composed(words: list[str]) -> Run:
    """The run that Hydra's main would have read."""
    with _hydra_of_our_own(), initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", [BY_TIME, *words_for(words)], return_hydra_config=True)
        settle_output(config)
        HydraConfig.instance().set_config(config)
        find_own_classes()
        with open_dict(config):
            del config["hydra"]
        return read(config)


@contextmanager
def _hydra_of_our_own() -> Iterator[None]:
    """Hydra as in a new process; afterwards it is as the caller had it, initialised or not."""
    before, ours = Singleton.get_state(), Singleton.get_state()
    for kind in (GlobalHydra, HydraConfig, JobRuntime, VersionBase):
        ours["instances"].pop(kind, None)
    Singleton.set_state(ours)
    try:
        yield
    finally:
        Singleton.set_state(before)
