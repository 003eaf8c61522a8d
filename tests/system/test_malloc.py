"""Memory that is freed and needed again is not asked of the system again."""

import os
import platform
import subprocess
import sys

import pytest

# Three chunks at a time in a thread, a hundred times over: prints how often the system gave a page.
CODE = """
import resource, sys, threading
import numpy as np
from adamms.system.malloc import keep_freed_memory

def work():
    for _ in range(100):
        chunks = [np.ones(1 << 20) for _ in range(3)]
        del chunks

if sys.argv[1] == "keep":
    keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages(what: str, **tuned: str) -> int:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", CODE, what]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment | tuned)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_the_pages_of_freed_chunks_serve_the_next() -> None:
    assert 10 * pages("keep") < pages("leave")
    assert 10 * pages("keep") < pages("keep", MALLOC_TRIM_THRESHOLD_="131072")  # the user's own word counts
