"""The command `adamms`: answers Ctrl-C in a word from its first import on; hands on to adamms.app.command."""

import gc
import os
import signal
import sys


def main() -> None:
    """Run the command line, as a process that ends with it."""
    # Most of what is made at the start stays, so Python looks for garbage among it seldom.
    gc.set_threshold(200_000, 20, 20)
    try:
        from adamms.app.command import main

        main()
    except KeyboardInterrupt:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one, while what is left is tidied up
        sys.exit("interrupted")


if __name__ == "__main__":
    main()
