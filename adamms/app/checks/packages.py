"""Which packages are installed: what adamms requires, and what its extras do.

Looks, and changes nothing.
"""

import importlib.metadata as metadata
from collections.abc import Iterator

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from adamms.app.checks.environment import ABSENT, BAD, GOOD, Finding, installed_version
from adamms.errors import CHECKOUT, install

DISTRIBUTION = "adamms"
# What each extra is for, in the words of the configuration.
EXTRAS = {
    "vllm": "engine=vllm on GPUs",
    "vllm-cpu": "engine=vllm without a GPU",
    "wandb": "track=wandb",
    "slurm": "hydra/launcher=slurm",
    "embedding": "search/difference=embedding",
    "xlsx": "engine=replay of xlsx files",
    "datasets": "data=file of parquet and datasets' folders",
    "explore": "mode=explore",
    "video": "data=file of questions about videos",
}


def packages() -> Iterator[Finding]:
    """What adamms requires, and what its extras do, by their installed versions."""
    extras: dict[str, list[Requirement]] = {}
    for line in metadata.requires(DISTRIBUTION) or []:
        requirement = Requirement(line)
        if requirement.marker is None:
            yield _package(requirement)
            continue
        for extra in EXTRAS:
            if requirement.marker.evaluate({"extra": extra}):
                extras.setdefault(extra, []).append(requirement)
    for extra, purpose in EXTRAS.items():
        yield _extra(extra, purpose, extras.get(extra, []))


def installed(extra: str) -> bool:
    """Whether all that an extra requires is there."""
    return next(finding for finding in packages() if finding.subject == f"extra {extra}").state == GOOD


def _package(requirement: Requirement) -> Finding:
    found = installed_version(requirement.name)
    if found is None:
        return Finding(requirement.name, BAD, "not installed", f"pip install '{requirement}'")
    public = found.partition("+")[0]
    locked = _locked().get(canonicalize_name(requirement.name), public)
    text = found if locked == public else f"{found} (locked: {locked})"
    if requirement.specifier.contains(found, prereleases=True):
        return Finding(requirement.name, GOOD, text)
    text = f"{text}; expected {requirement.specifier}"
    return Finding(requirement.name, BAD, text, f"pip install '{requirement}'")


def _extra(extra: str, purpose: str, requirements: list[Requirement]) -> Finding:
    subject, command = f"extra {extra}", install(extra)
    if not requirements:
        return Finding(subject, ABSENT, f"for {purpose}; the installation is older than its sources", command)
    findings = [_package(requirement) for requirement in requirements]
    if not any(installed_version(requirement.name) for requirement in requirements):
        return Finding(subject, ABSENT, f"for {purpose}", command)
    wrong = [f"{finding.subject} {finding.detail}" for finding in findings if finding.state != GOOD]
    if wrong:
        return Finding(subject, BAD, ", ".join(wrong), command)
    return Finding(subject, GOOD, ", ".join(f"{f.subject} {f.detail}" for f in findings))


def _locked() -> dict[str, str]:
    """The versions that the tests have; none where adamms is installed without its checkout."""
    lock = None if CHECKOUT is None else CHECKOUT / ".ci/locks/main.txt"
    pins = [pin.partition("==") for pin in lock.read_text().splitlines()] if lock and lock.is_file() else []
    return {canonicalize_name(name): version for name, _, version in pins}
