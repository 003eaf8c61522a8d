"""What every evaluation tool's interpreter runs: given to it as text (`-c`), with the tool's own after it.

Needs the standard library, Python 3.10 or newer. The tool's part defines `look` and `run`:

look REQUEST   whether the tool could run what the JSON REQUEST names: prints MARK and JSON
run ARGS...    the tool itself, ended with all that it has started when its parent ends
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

MARK = "the tool says: "
WATCH_SECONDS = 0.5
END = "\nmain(sys.argv[1:], look, run)\n"  # of the text


def end_with(parent: int) -> None:
    """Wait for the parent to end; then kill all that was started here, this process too."""
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os.killpg(0, signal.SIGKILL)


def main(arguments: list[str], look: Callable[[Any], Any], run: Callable[..., None]) -> None:
    what, *rest = arguments
    if what == "look":
        print(MARK + json.dumps(look(json.loads(rest[0]))))
        sys.stdout.flush()
        return
    threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    run(*rest)
