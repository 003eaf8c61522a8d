"""How much other libraries say: their errors only, or all that they have to tell."""

import logging
import os

# Those whose logs are about their own affairs. vLLM's process keeps a log, which its errors quote.
LIBRARIES = ("transformers", "lightning", "huggingface_hub", "httpx", "matplotlib", "submitit", "wandb")


def quiet_libraries(verbose: bool) -> None:
    """Set the level of the libraries' loggers, loaded or not yet."""
    level = logging.INFO if verbose else logging.ERROR
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(level)
    # transformers sets its logger anew when it is loaded.
    os.environ["TRANSFORMERS_VERBOSITY"] = "info" if verbose else "error"
