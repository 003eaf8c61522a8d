"""The tables of a plan: what becomes of the target's tensors, and how far they are from the other models'.

Plain cells, as in `tables`; the console and the page draw them.
"""

from collections.abc import Callable, Sequence

from adamms.mapping.checks.distance import Distances, TensorDistance
from adamms.mapping.finding import GRADES, Finding
from adamms.mapping.plan import Plan
from adamms.report import words
from adamms.report.tables import Table, rows_of

MOST_ROLES = 40  # per model; where names say nothing of layers, every tensor is a role of its own


def plan_tables(plan: Plan) -> list[Table]:
    """All that have something to say of the plan."""
    kinds: tuple[Callable[[Plan], Table | None], ...]
    kinds = (discovered, coverage, parts, aligned, unused, lacking)
    return [table for kind in kinds if (table := kind(plan)) is not None]


def coverage(plan: Plan) -> Table:
    """What becomes of the target's tensors."""
    groups = plan.coverage()
    total = sum(group.bytes for group in groups)
    rows = [(g.action, g.reason, *_amount(g.tensors, g.parameters, g.bytes, total)) for g in groups]
    sums = (sum(g.tensors for g in groups), sum(g.parameters for g in groups))
    return Table(
        "What becomes of the target's tensors",
        ("action", "reason", "tensors", "parameters", "size", "share"),
        rows_of([*rows, ("total", "", *_amount(*sums, total, total))]),
        texts=2,
        strong=frozenset({len(rows)}),
    )


def parts(plan: Plan) -> Table | None:
    """What each donor has a part in; None for a single one that has a part in all that is merged."""
    merged = next((group for group in plan.coverage() if group.action == "merge"), None)
    found = plan.parts()
    if merged is None or (len(found) == 1 and found[0].parameters == merged.parameters):
        return None
    total = sum(slot.nbytes for slot in plan.slots)
    rows = [(part.donor, *_amount(part.tensors, part.parameters, part.bytes, total)) for part in found]
    columns = ("donor", "tensors", "parameters", "size", "share")
    return Table("What each donor has a part in", columns, rows_of(rows))


def _amount(tensors: int, parameters: int, size: int, total: int) -> tuple[str, str, str, str]:
    share = words.share(size / total) if total else "-"
    return (str(tensors), words.parameters(parameters), words.scaled(size, "B"), share)


def aligned(plan: Plan) -> Table | None:
    """Embeddings and heads whose rows were aligned by token; None if there are none."""
    rows = [
        (a.tensor, a.donor, str(a.matched), str(a.rows), str(a.rows - a.matched)) for a in plan.alignments()
    ]
    columns = ("tensor", "donor", "matched", "rows", "kept")
    return _filled(Table("Rows by token", columns, rows_of(rows), texts=2, note="kept: the target's own row"))


def unused(plan: Plan) -> Table | None:
    """Donor tensors that no slot reads; None when all are read."""
    rows = [
        (donor, reason, str(len(names)))
        for donor, reasons in plan.unused.items()
        for reason, names in reasons.items()
    ]
    columns = ("donor", "reason", "tensors")
    return _filled(Table("Donor tensors that are not used", columns, rows_of(rows), texts=2))


def lacking(plan: Plan) -> Table | None:
    """Merged tensors that some donor has no part in; None when every donor has its part."""
    counts: dict[tuple[str, str], int] = {}
    for slot in plan.slots:
        for place in slot.lacking.items():
            counts[place] = counts.get(place, 0) + 1
    rows = [(donor, reason, str(count)) for (donor, reason), count in counts.items()]
    columns = ("donor", "reason", "tensors")
    return _filled(Table("Merged tensors that a donor has no part in", columns, rows_of(rows), texts=2))


def discovered(plan: Plan) -> Table | None:
    """How sure a plan that was found by content is; None for any other plan."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for several in plan.findings.values():
        for source, found in several.items():
            groups.setdefault((source, found.grade), []).append(found)
    rows = []
    for source in dict.fromkeys(source for source, _ in groups):
        for grade in GRADES:
            if own := groups.get((source, grade)):
                cosines = [item.cosine for item in own]
                rivals = [item.runner_up for item in own if item.runner_up is not None]
                numbers = (min(cosines), max(cosines), max(rivals, default=None))
                rows.append((source, grade, str(len(own)), *(words.fixed(n, 2) for n in numbers)))
    columns = ("model", "match", "tensors", "least cosine", "highest", "highest runner-up")
    return _filled(Table("What the weights say of the target's tensors", columns, rows_of(rows), texts=2))


def distances(checks: Distances) -> Table | None:
    """How far target and donors are apart, per role; None where nothing was compared.

    The ancestor has rows only where it has problems: how far it is, each donor's rows say.
    """
    roles, left_out = [], 0
    summaries = checks.roles()
    for source in dict.fromkeys(summary.source for summary in summaries):
        shown = farthest_roles([check for check in checks.tensors if check.source == source])
        own = [s for s in summaries if s.source == source and (source in checks.donors or s.problems)]
        roles += [summary for summary in own if summary.role in shown]
        left_out += sum(summary.role not in shown for summary in own)
    moved = any(role.target_moved is not None for role in roles)
    flagged = any(role.problems for role in roles)
    rows = []
    for role in roles:
        numbers = [role.cosine, role.least, role.distance]
        numbers += [role.target_moved, role.donor_moved] if moved else []
        problems = [str(role.problems)] if flagged else []
        cells = [words.fixed(number, 3) for number in numbers]
        rows.append((role.source, role.role, str(role.tensors), *cells, *problems))
    columns = ["model", "role", "tensors", "cosine", "least cosine", "distance"]
    columns += ["target moved", "donor moved"] if moved else []
    columns += ["problems"] if flagged else []
    notes = [f"{left_out} roles that are nearer are left out"] if left_out else []
    notes += ["distance: |target - donor| / |target|"]
    notes += ["moved: distance from the ancestor, over the ancestor's norm"] if moved else []
    return _filled(
        Table(
            "How far the merged tensors are from the target's (medians)",
            tuple(columns),
            rows_of(rows),
            texts=2,
            strong=frozenset(index for index, role in enumerate(roles) if role.problems),
            note="; ".join(notes),
        )
    )


def farthest_roles(checks: Sequence[TensorDistance], most: int = MOST_ROLES) -> list[str]:
    """The roles that are shown of one model's, in their order: those with problems, then the farthest."""
    farthest: dict[str, tuple[bool, float]] = {}
    for check in checks:
        own = (bool(check.problem), check.distance or 0.0)
        farthest[check.role] = max(farthest.get(check.role, own), own)
    shown = set(sorted(farthest, key=lambda role: farthest[role], reverse=True)[:most])
    return [role for role in farthest if role in shown]


def _filled(table: Table) -> Table | None:
    return table if table.rows else None
