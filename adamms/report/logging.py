"""Sets how much other libraries log: errors only, or everything."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

# Those whose logs are about their own affairs. vLLM's process keeps a log, which its errors quote.
LIBRARIES = ("lightning", "huggingface_hub", "httpx", "httpx2", "matplotlib", "submitit", "wandb")
VERBOSITY = "TRANSFORMERS_VERBOSITY"


@contextmanager
def quiet_libraries(verbose: bool) -> Iterator[None]:
    """Set the level of the libraries' loggers, loaded or not yet, while the body runs.

    The warnings of transformers stay: that a checkpoint lacks a weight is one of them.
    """
    levels = dict.fromkeys(LIBRARIES, logging.ERROR) | {"transformers": logging.WARNING}
    before = {name: logging.getLogger(name).level for name in levels}
    variable = os.environ.get(VERBOSITY)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(logging.INFO if verbose else level)
    # transformers sets its logger anew when it is loaded.
    os.environ[VERBOSITY] = "info" if verbose else "warning"
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
        if variable is None:
            del os.environ[VERBOSITY]
        else:
            os.environ[VERBOSITY] = variable
