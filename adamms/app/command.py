"""The command `adamms`, in a checkout also `python run.py`: Hydra composes a configuration, its mode runs.

Knows no mode.
"""

import gc
import sys

import hydra
from omegaconf import DictConfig

from adamms import __version__
from adamms.app.config.messages import CONF, explain_errors
from adamms.app.multirun import compared, record_interrupt
from adamms.app.recipes.recipe_words import words_for
from adamms.app.single_run import start_single
from adamms.system.malloc import keep_freed_memory

NAME, VERSION = "config", "1.3"


def run(config: DictConfig) -> None:
    from adamms.app.config.job import find_own_classes
    from adamms.app.modes.common import start  # torch; --help answers without it
    from adamms.app.settings import read

    keep_freed_memory()  # here, where a cluster's jobs come by, too
    find_own_classes()
    try:
        start(read(config))
    except KeyboardInterrupt:
        record_interrupt(config)
        raise


def main() -> None:
    """Run the command line, as a process that ends with it."""
    if sys.argv[1:] == ["--version"]:
        print(f"adamms {__version__}")
        return
    sys.argv[1:] = words_for(sys.argv[1:])
    with explain_errors(), compared():
        if not start_single(run, CONF, NAME, VERSION, sys.argv[1:]):
            hydra.main(str(CONF), NAME, VERSION)(run)()
    # Python looks for no garbage at its end, which took half of a second. triton complains of what is left.
    if "triton" not in sys.modules:
        gc.freeze()
