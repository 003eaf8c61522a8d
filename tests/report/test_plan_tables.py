"""The tables of a plan: how far its models are apart, and how sure a plan is that was found by content."""

from dataclasses import replace

from adamms.mapping.checks.distance import Distances, TensorDistance
from adamms.mapping.finding import Finding
from adamms.mapping.plan import Plan
from adamms.report import plan_tables

ROLES = ("attn.q.weight", "mlp.up.weight", "norm.attn.weight")


def checks(layers: int = 5, sources: tuple[str, ...] = ("a",)) -> Distances:
    found = [
        TensorDistance(f"{role}.{i}", source, role, i, 0.9 + i / 100, 0.3, target_moved=0.2, donor_moved=0.1)
        for source in sources
        for role in ROLES
        for i in range(layers)
    ]
    found += [TensorDistance("head", source, "head.weight", None, None, 0.0) for source in sources]
    return Distances(tuple(found))


def test_the_table_says_how_far_the_models_moved_and_counts_problems() -> None:
    table = plan_tables.distances(checks(sources=("a", "ancestor")))
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
    odd = replace(found, tensors=(*found.tensors[:-1], replace(found.tensors[-1], problem="odd")))
    table = plan_tables.distances(odd)
    assert table.columns[-1] == "problems"
    assert [row[-1].text for row in table.rows] == ["0", "0", "0", "0", "1"]
    assert plan_tables.distances(Distances(())).rows == ()


def test_of_very_many_roles_the_table_shows_the_farthest() -> None:
    many = [TensorDistance(f"t{i}", "a", f"t{i}", None, 0.5 + i / 1000, 0.1) for i in range(300)]
    many[250] = replace(many[250], problem="odd")
    table = plan_tables.distances(Distances(tuple(many)))
    assert [row[1].text for row in table.rows] == [*(f"t{i}" for i in range(39)), "t250"]
    assert table.note.startswith("260 roles that are nearer are left out; ")


def test_the_table_of_a_discovery_counts_by_grade() -> None:
    evidence = {
        "x": {"a": Finding("sure", 0.97, "y", 0.1, "z")},
        "y": {"a": Finding("sure", 0.9, "y")},
        "z": {"a": Finding("none", 0.12, "y", 0.11, "z")},
    }
    table = plan_tables.discovered(Plan("t", {"a": "d"}, (), findings=evidence))
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["a", "sure", "2", "0.90", "0.97", "0.10"],
        ["a", "none", "1", "0.12", "0.12", "0.11"],
    ]
    assert plan_tables.discovered(Plan("t", {"a": "d"}, ())).rows == ()
