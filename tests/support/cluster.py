"""Whether a real SLURM cluster is here, for tests that submit jobs."""

import re
import subprocess

import pytest


def ready_partition(name: str = r"\S+") -> str:
    """The name of a partition with a node that takes jobs; skips where there is none.

    Args:
        name: a regular expression.
    """
    command = ["sinfo", "--noheader", "--format=%R %T"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except FileNotFoundError:
        pytest.skip("no SLURM here: there is no sinfo (.ci/slurm.sh installs and starts a cluster)")
    state = "idle|mixed|allocated|completing|planned"
    ready = re.search(rf"^({name}) (?:{state})-?$", found.stdout, re.MULTILINE)
    if ready is None:
        pytest.skip(f"no SLURM node takes jobs (.ci/slurm.sh starts one): {found.stdout}{found.stderr}")
    return ready[1]
