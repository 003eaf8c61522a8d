"""Tiny real checkpoints, made once per run; read them, do not change them."""

import os
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
import tiny
import torch
from families import save_language
from hypothesis import HealthCheck, settings

# The same cases on every machine and in every run, however slow the machine.
settings.register_profile(
    "adamms", deadline=None, database=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("adamms")

pytest_plugins = ("miniature", "command", "fake_hub", "forked_children", "spared_work")


if "PYTEST_XDIST_WORKER" in os.environ:  # as many as cores, and one: a thread each, and what they start
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than processors, up to four: tests wait for jobs and pages, too."""
    return min(4, (os.cpu_count() or 1) + 1)


# What takes long begins first: several workers, which take file after file, then end at about the same time.
FIRST = ("vllm", "slurm", "lmms", "browser", "long")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without a GPU the tests that need one are left out, counted as deselected: nothing installs a GPU."""
    early = {item.path for item in items if any(item.get_closest_marker(mark) for mark in FIRST)}
    items.sort(key=lambda item: item.path not in early)
    if torch.cuda.is_available():
        return
    left_out = [item for item in items if item.get_closest_marker("cuda") is not None]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item.get_closest_marker("cuda") is None]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """On continuous integration everything is installed, so a skipped test is a failed one."""
    report = yield
    if os.environ.get("CI") == "true" and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped in CI: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the tiny checkpoints below lie."""
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="session")
def language(models: Path) -> Callable[[str], Path]:
    """The folder of a tiny language model of a kind, with weights unlike those in any family."""
    folder = models / "languages"

    def make(kind: str) -> Path:
        return folder / kind if (folder / kind).exists() else save_language(kind, folder / kind, seed=0)

    return make


@pytest.fixture(scope="session")
def qwen2_vl(models: Path) -> Path:
    return tiny.save_qwen2_vl(models / "qwen2_vl", seed=1)


@pytest.fixture(scope="session")
def onevision_fresh(models: Path) -> Path:
    return tiny.save_onevision(models / "onevision_fresh", seed=2)


@pytest.fixture(scope="session")
def onevision_hub(models: Path, onevision_fresh: Path) -> Path:
    return tiny.with_vision_level(onevision_fresh, models / "onevision_hub")


@pytest.fixture(scope="session")
def onevision_original(models: Path, onevision_fresh: Path) -> Path:
    return tiny.as_original(onevision_fresh, models / "onevision_original")


@pytest.fixture(scope="session")
def qwen2(models: Path) -> Path:
    return tiny.save_qwen2(models / "qwen2", seed=3)


@pytest.fixture(scope="session")
def llama(models: Path) -> Path:
    return tiny.save_llama(models / "llama", seed=4)
