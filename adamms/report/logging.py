"""Sets how much other libraries log: errors only, or everything."""

import logging
import os

# Those whose logs are about their own affairs. vLLM's process keeps a log, which its errors quote.
LIBRARIES = ("lightning", "huggingface_hub", "httpx", "httpx2", "matplotlib", "submitit", "wandb")


def quiet_libraries(verbose: bool) -> None:
    """Set the level of the libraries' loggers, loaded or not yet.

    The warnings of transformers stay: that a checkpoint lacks a weight is one of them.
    """
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.ERROR)
    # transformers sets its logger anew when it is loaded.
    os.environ["TRANSFORMERS_VERBOSITY"] = "info" if verbose else "warning"
    logging.getLogger("transformers").setLevel(logging.INFO if verbose else logging.WARNING)
