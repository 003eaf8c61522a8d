"""Everything that needs a GPU, in parts of at most eight minutes together, each of which survives a cut.

    python tests/benchmarks/gpu.py --fetch --python 3.12       # where there is a network: wheels into .wheels
    python tests/benchmarks/gpu.py [--parts merge,swaps]       # on the GPU: it needs no network

    tests     every test marked `cuda`
    merge     merge.device=cuda beside the processor: the same bytes? how much faster?
    swaps     engine=transformers, a pair of 7B: swaps from mapped files, page-locked memory and the GPU
    demo      the demo's search on the GPU and on the processor: the same answers?
    vllm      the swaps and answers in vLLM, where it is installed

Every part is a process with a time limit of its own, and every line is in the results' file when it is
seen. Without a GPU all sizes are tiny. The script itself needs Python alone: packages that are missing are
installed from the wheels into a temporary folder. The machine must have torch, transformers, safetensors,
pillow, pytest, rich and jinja2; for the demo also scikit-learn and matplotlib.
"""

import argparse
import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Timer

ROOT = Path(__file__).resolve().parents[2]
SHARED_MEMORY = Path("/dev/shm")
WORKER = Path(__file__).with_name("gpu_parts.py")
PARTS = {"tests": 60, "merge": 100, "swaps": 150, "demo": 110, "vllm": 60}  # seconds: 480 in all
# What machines with a GPU often lack; versions are those of .ci/locks.
CARRIED = (
    *("annotated-types", "antlr4-python3-runtime", "cma", "hydra-core", "hypothesis", "lightning"),
    *("lightning-utilities", "omegaconf", "pydantic", "pydantic_core", "pytorch-lightning", "RapidFuzz"),
    *("sentencepiece", "sortedcontainers", "torchmetrics", "typing-inspection"),
)
SOURCE_ONLY = ("antlr4-python3-runtime",)
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="which, in this order")
    parser.add_argument("--results", type=Path, default=Path("gpu_results.txt"), help="what is appended to")
    parser.add_argument("--wheels", type=Path, default=ROOT / ".wheels")
    parser.add_argument("--fetch", action="store_true", help="fill the folder of wheels, and end")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    parser.add_argument("--python", default=version, help="the version to fetch for")
    parser.add_argument("--models", help="demo: its three models, if they are not to be trained or cached")
    parser.add_argument("--layers", help="swaps, vllm: of a model of 7B; 28 on a GPU, else a tiny model")
    given = parser.parse_args(arguments)
    if given.fetch:
        fetch(given.wheels, given.python)
        return 0
    parts = given.parts.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    environment = dict(os.environ) | {"PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as scratch, given.results.open("a") as results:
        site = install(given.wheels, Path(scratch))
        paths = [str(ROOT), str(ROOT / "tests/support"), os.environ.get("PYTHONPATH", ""), *site]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        failed = 0
        for part in parts:
            command = [sys.executable, str(WORKER), part]
            command += [
                f"--{key}={getattr(given, key)}" for key in ("models", "layers") if getattr(given, key)
            ]
            for line in lines_of(part, command, PARTS[part], environment):
                print(line, flush=True)
                results.write(line + "\n")
                results.flush()
                failed += line.startswith(f"== {part}: ") and not line.startswith(f"== {part}: done")
    return int(failed > 0)


def lines_of(
    part: str, command: Sequence[str], seconds: float, environment: Mapping[str, str]
) -> Iterator[str]:
    """What a part prints, as it comes; the last line says how it ended. It ends after `seconds`."""
    yield f"== {part} ({time.strftime('%Y-%m-%d %H:%M:%S')}, at most {seconds:.0f} s)"
    begin = time.monotonic()
    # A session of its own: what the part has started ends with it.
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
        start_new_session=True,
    ) as process:
        cut = Timer(seconds, os.killpg, (process.pid, signal.SIGKILL))
        cut.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                yield line.rstrip("\n")
            status = process.wait()
        finally:
            cut.cancel()
            for place in (SHARED_MEMORY, Path(tempfile.gettempdir())):
                for left in place.glob(f"adamms-gpu-{os.getpid()}-*"):  # by a part that was cut off
                    shutil.rmtree(left, ignore_errors=True)
    took = time.monotonic() - begin
    how = (
        "done"
        if status == 0
        else f"cut off after {seconds:.0f} s"
        if took >= seconds
        else f"failed ({status})"
    )
    yield f"== {part}: {how}, {took:.1f} s"


def install(wheels: Path, scratch: Path) -> list[str]:
    """Install the packages that are missing from the wheels; the folders that sys.path needs."""
    files = [file for file in sorted(wheels.glob("*.whl")) if not is_installed(file.name.split("-")[0])]
    if not files:
        return []
    target = scratch / "site"
    options = ("--no-index", "--no-deps", "--no-compile", "--quiet", "--target", str(target))
    subprocess.run([sys.executable, "-m", "pip", "install", *options, *map(str, files)], check=True)
    print(f"installed for this run: {', '.join(file.name.split('-')[0] for file in files)}", flush=True)
    return [str(target)]


def is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def fetch(wheels: Path, python: str) -> None:
    """Download the wheels of what is carried, for another Python on another machine."""
    wheels.mkdir(exist_ok=True)
    locked = (ROOT / ".ci/locks/main.txt").read_text()
    for name in CARRIED:
        found = re.search(rf"(?im)^{re.escape(name)}==\S+", locked)
        wanted, pip = found[0] if found else name, [sys.executable, "-m", "pip"]
        if name in SOURCE_ONLY:  # pure Python
            subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", str(wheels), wanted], check=True)
            continue
        options = ["--no-deps", "--only-binary=:all:", "--python-version", python, "-d", str(wheels)]
        options += [f"--platform={platform}" for platform in PLATFORMS]
        subprocess.run([*pip, "download", "-q", *options, wanted], check=True)
    size = sum(file.stat().st_size for file in wheels.glob("*.whl"))
    print(f"{wheels}: {len(list(wheels.glob('*.whl')))} wheels, {size / 1e6:.0f} MB")


if __name__ == "__main__":
    sys.exit(main())
