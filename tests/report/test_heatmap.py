"""The picture of a mapping, and its tables: nothing overflows, equal bytes every time, problems stand out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adamms.mapping.checks.distance import Check, Verification
from adamms.mapping.plan import Evidence, Plan
from adamms.report import resemblance_tables
from adamms.report.heatmap import MOST_ROLES, draw_resemblance

ROLES = ("attn.q.weight", "mlp.up.weight", "norm.attn.weight")
FRAME = (0xD5, 0x5E, 0x00)


def checks(layers: int = 5, sources: tuple[str, ...] = ("a",)) -> Verification:
    found = [
        Check(f"{role}.{i}", source, role, i, 0.9 + i / 100, 0.3, target_moved=0.2, donor_moved=0.1)
        for source in sources
        for role in ROLES
        for i in range(layers)
    ]
    found += [Check("head", source, "head.weight", None, None, 0.0) for source in sources]
    return Verification(tuple(found))


def pixels(file: Path) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB"))


def framed(file: Path) -> int:
    return int((pixels(file) == FRAME).all(-1).sum())


def test_the_same_checks_give_the_same_bytes_and_stay_inside(tmp_path: Path) -> None:
    one = draw_resemblance(tmp_path / "plots/one.png", checks(28, ("a", "ancestor")))
    other = draw_resemblance(tmp_path / "plots/other.png", checks(28, ("a", "ancestor")))
    assert one.read_bytes() == other.read_bytes()
    image = pixels(one)
    for edge in (image[:4], image[-4:], image[:, :4], image[:, -4:]):
        assert (edge == 255).all()


def test_problems_are_framed(tmp_path: Path) -> None:
    right = checks()
    wrong = replace(right, checks=(replace(right.checks[0], problem="odd"), *right.checks[1:]))
    assert framed(draw_resemblance(tmp_path / "right.png", right)) == 0
    assert framed(draw_resemblance(tmp_path / "wrong.png", wrong)) > 100


def test_of_very_many_roles_the_least_alike_are_drawn(tmp_path: Path) -> None:
    many = [Check(f"t{i}", "a", f"t{i}", None, 0.5 + i / 1000, 0.1) for i in range(300)]
    many[250] = replace(many[250], cosine=0.01, problem="odd")
    file = draw_resemblance(tmp_path / "many.png", Verification(tuple(many)))
    assert pixels(file).shape[0] < 40 * MOST_ROLES
    assert framed(file) > 100


def test_the_table_says_how_far_the_models_moved_and_counts_problems() -> None:
    table = resemblance_tables.resemblance(checks(sources=("a", "ancestor")))
    assert table is not None
    assert table.columns[-2:] == ("target moved", "donor moved")
    assert [row[0].text for row in table.rows] == ["a"] * 4  # the ancestor's rows say nothing more
    assert [cell.text for cell in table.rows[0]] == [
        "a",
        "attn.q.weight",
        "5",
        "0.920",
        "0.900",
        *("0.300", "0.200", "0.100"),
    ]
    assert table.rows[-1][3].text == "-"
    found = checks(sources=("a", "ancestor"))
    odd = replace(found, checks=(*found.checks[:-1], replace(found.checks[-1], problem="odd")))
    table = resemblance_tables.resemblance(odd)
    assert table is not None
    assert table.columns[-1] == "problems"
    assert [row[-1].text for row in table.rows] == ["0", "0", "0", "0", "1"]
    assert resemblance_tables.resemblance(Verification(())) is None


def test_of_very_many_roles_the_table_shows_those_least_alike() -> None:
    many = [Check(f"t{i}", "a", f"t{i}", None, 0.5 + i / 1000, 0.1) for i in range(300)]
    many[250] = replace(many[250], problem="odd")
    table = resemblance_tables.resemblance(Verification(tuple(many)))
    assert table is not None
    assert [row[1].text for row in table.rows] == [*(f"t{i}" for i in range(39)), "t250"]
    assert table.note.startswith("the 40 least alike of 300 roles; ")


def test_the_table_of_a_discovery_counts_by_grade() -> None:
    evidence = {
        "x": {"a": Evidence("sure", 0.97, "y", 0.1, "z")},
        "y": {"a": Evidence("sure", 0.9, "y")},
        "z": {"a": Evidence("none", 0.12, "y", 0.11, "z")},
    }
    table = resemblance_tables.discovered(Plan("t", {"a": "d"}, (), evidence=evidence))
    assert table is not None
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["a", "sure", "2", "0.90", "0.97", "0.10"],
        ["a", "none", "1", "0.12", "0.12", "0.11"],
    ]
    assert resemblance_tables.discovered(Plan("t", {"a": "d"}, ())) is None


@pytest.mark.parametrize("name", ["a$b", "a very long name of a donor that someone chose without a thought"])
def test_odd_names_of_donors_are_drawn(tmp_path: Path, name: str) -> None:
    image = pixels(draw_resemblance(tmp_path / "odd.png", checks(2, (name,))))
    assert (image[:, -4:] == 255).all()
