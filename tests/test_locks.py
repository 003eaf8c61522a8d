"""The locks of the environments: complete, one version of each package, and what the docs name."""

import re
import tomllib

import pytest
from command import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "sweeps/README.md"]
PIN = re.compile(r"([\w.-]+)==([\w.]+)")


def pins(text: str) -> dict[str, str]:
    return {canonicalize_name(name): version for name, version in PIN.findall(text)}


MAIN, MERGEKIT, LMMS, KIT = (
    pins((ROOT / f".ci/locks/{name}.txt").read_text())
    for name in ("main", "mergekit", "lmms-eval", "vlmevalkit")
)
EVERY = KIT | LMMS | MERGEKIT | MAIN


def requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    return [Requirement(line) for lines in lists for line in lines if not line.startswith("adamms[")]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_every_requirement_is_locked_within_its_range(requirement: Requirement) -> None:
    assert requirement.specifier.contains(MAIN[canonicalize_name(requirement.name)], prereleases=True)


def test_the_makefile_pins_what_is_locked() -> None:
    found = pins((ROOT / "Makefile").read_text())
    assert {"torch", "torchvision"} <= set(found)
    assert found == {name: EVERY.get(name) for name in found}


def test_the_other_environments_have_the_same_versions() -> None:
    """Of lmms-eval's, filelock may be another one: it needs filelock 3."""
    common = LMMS.keys() & MAIN.keys() - {"filelock"}
    assert {name: LMMS[name] for name in common} == {name: MAIN[name] for name in common}
    assert LMMS["filelock"].startswith("3.")
    assert {"lmms-eval", "datasets", "evaluate", "decord"} <= set(LMMS)
    assert set(MERGEKIT) == {"mergekit", "immutables"}
    assert {name: KIT[name] for name in KIT.keys() & MAIN.keys()} == {
        name: MAIN[name] for name in KIT.keys() & MAIN.keys()
    }
    assert {"ms-vlmeval", "decord"} <= set(KIT)


def test_the_docs_name_the_locked_versions() -> None:
    found = [
        (page.name, canonicalize_name(name), version)
        for page in PAGES
        for name, version in re.findall(r"\b([A-Za-z][\w-]*)(?: |==)(\d+(?:\.\d+)+)\b", page.read_text())
        if canonicalize_name(name) in EVERY
    ]
    assert {name for _, name, _ in found} >= {"mergekit", "lmms-eval"}
    assert found == [(page, name, EVERY[name]) for page, name, _ in found]
