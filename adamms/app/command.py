"""The command `adamms`, in a checkout also `python run.py`: Hydra composes a configuration, its mode runs.

Knows no mode.
"""

import gc
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import hydra
from hydra._internal.hydra import Hydra
from omegaconf import DictConfig

from adamms import __version__
from adamms.app.messages import CONF, explain_errors
from adamms.app.multirun import compared, record_interrupt
from adamms.app.recipe_words import words_for


@hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")
def run(config: DictConfig) -> None:
    from adamms.app.job import find_own_classes
    from adamms.app.modes.common import start  # torch; --help answers without it
    from adamms.app.settings import read

    find_own_classes()
    try:
        start(read(config))
    except KeyboardInterrupt:
        record_interrupt(config)
        raise


# A configuration that is not ours, or an override of Hydra's own.
_MAY_SET_MODE = re.compile(r"--?c|--config|\W*hydra")


@contextmanager
def _composed_once() -> Iterator[None]:
    """Keep Hydra from composing the configuration once more, before the run, to look for `hydra.mode` in it.

    Ours never sets it. Composing takes 0.1 s.
    """
    looked_up = Hydra.get_mode
    if not any(map(_MAY_SET_MODE.match, sys.argv[1:])):
        Hydra.get_mode = lambda *_, **__: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.get_mode = looked_up  # type: ignore[method-assign]


def main() -> None:
    """Run the command line, as a process that ends with it."""
    if sys.argv[1:] == ["--version"]:
        print(f"adamms {__version__}")
        return
    # Most of what is made at the start stays: looking for garbage among it took a fifth of the time.
    gc.set_threshold(100_000, 20, 20)
    sys.argv[1:] = words_for(sys.argv[1:])
    with _composed_once(), explain_errors(), compared():
        run()
    # Nor at the end, which took another half of a second. triton complains of what is left.
    if "triton" not in sys.modules:
        gc.freeze()
