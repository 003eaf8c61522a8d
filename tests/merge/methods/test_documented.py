"""Every method has its formula and source, its lines in docs/methods.md, a grid, and its row on the demo."""

import re
from pathlib import Path

import pytest
from command import CONF, ROOT
from omegaconf import OmegaConf

OPTIONS = sorted(file.stem for file in (CONF / "merge").glob("*.yaml"))
TUNED = sorted(file.stem for file in (CONF / "tune").glob("*.yaml"))
# Of papers of 2025 and 2026, mergekit's own, and schedules: a row each with formula, cost and use.
RECENT = ("wudi2", "swudi", "aswudi", "iso_cts", "ram", "nuslerp", "multislerp", "arcee_fusion")


def rows(page: Path) -> dict[str, list[str]]:
    """First column of every table -> the others."""
    found = {}
    for line in page.read_text().splitlines():
        if line.startswith("| `"):
            name, *cells = (cell.strip() for cell in line.strip("|").split(" | "))
            found[name] = cells
    return found


METHODS_PAGE = rows(ROOT / "docs/methods.md")


@pytest.mark.parametrize("option", OPTIONS)
def test_it_is_in_the_table_of_methods(option: str) -> None:
    named = [*METHODS_PAGE, *(cell for cells in METHODS_PAGE.values() for cell in cells)]
    assert any(f"`{option}`" in text for text in named)


@pytest.mark.parametrize("option", RECENT)
def test_its_own_row_has_formula_cost_and_use(option: str) -> None:
    formula, *others = METHODS_PAGE[f"`{option}`"]
    assert len(others) in (2, 3)  # mergekit's own have one source
    assert all((formula, *others))


@pytest.mark.parametrize("schedule", ["norms", "lines"])
def test_a_schedules_row_has_formula_source_and_cost(schedule: str) -> None:
    [(formula, cost)] = [
        cells for name, cells in METHODS_PAGE.items() if f"merge/schedule={schedule} " in name
    ]
    assert re.search(r"arXiv:\d{4}\.\d{5}", formula)
    assert cost


@pytest.mark.parametrize("option", OPTIONS)
def test_its_module_has_a_formula_and_names_its_source(option: str) -> None:
    named = OmegaConf.load(CONF / f"merge/{option}.yaml")
    while "_target_" not in named:
        named = OmegaConf.load(CONF / f"merge/{named.defaults[0]}.yaml")
    module = named["_target_"].rpartition(".")[0]
    text = (ROOT / f"{module.replace('.', '/')}.py").read_text().split('"""')[1]
    assert " = " in text
    assert re.search(r"arXiv:\d{4}\.\d{5}|mergekit's|Shoemake|the paper", text), text


def test_the_demos_table_has_a_row_for_every_grid() -> None:
    text = (ROOT / "sweeps/README.md").read_text().split("## On the demo")[1].split("\n## ")[0]
    found = re.findall(r"^    (\w+) +\S.* [\d.]+\^? +[\d.]+\^? +[\d.]+ +\d+$", text, re.MULTILINE)
    assert sorted(found) == TUNED
