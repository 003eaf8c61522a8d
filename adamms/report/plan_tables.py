"""The tables of a plan: what becomes of the target's tensors, and how far they are from the other models'.

Plain cells, as in `tables`; the console and the page draw them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product

from adamms.mapping.checks.distance import Distances, RoleDistance, TensorDistance
from adamms.mapping.finding import GRADES, Finding
from adamms.mapping.plan import Alignment, Difference, Plan
from adamms.report import words
from adamms.report.table import Column, Table, rows_of
from adamms.system.sizes import scaled

MOST_ROLES = 40  # per model; where names say nothing of layers, every tensor is a role of its own


def plan_tables(plan: Plan) -> list[Table]:
    """All that have something to say of the plan."""
    found = (
        differences(plan),
        discovered(plan),
        coverage(plan),
        parts(plan),
        aligned(plan),
        unused(plan),
        lacking(plan),
    )
    return [table for table in found if table is not None and table.rows]


def differences(plan: Plan) -> Table:
    """In what the other models are not as the target."""
    columns: list[Column[Difference]] = [
        ("model", lambda one: one.model),
        ("setting", lambda one: one.what),
        ("target", lambda one: one.target),
        ("its own", lambda one: one.other),
    ]
    return Table.of("How the models differ", plan.differences, columns, texts=4)


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
    return (str(tensors), words.parameters(parameters), scaled(size, "B"), share)


def aligned(plan: Plan) -> Table:
    """Embeddings and heads whose rows were aligned by token."""
    columns: list[Column[Alignment]] = [
        ("tensor", lambda a: a.tensor),
        ("donor", lambda a: a.donor),
        ("matched", lambda a: str(a.matched)),
        ("rows", lambda a: str(a.rows)),
        ("kept", lambda a: str(a.rows - a.matched)),
    ]
    return Table.of("Rows by token", plan.alignments(), columns, texts=2, note="kept: the target's own row")


def unused(plan: Plan) -> Table:
    """Donor tensors that no slot reads."""
    listed = plan.unused.items()
    counts = {(donor, reason): len(names) for donor, reasons in listed for reason, names in reasons.items()}
    return _counted("Donor tensors that are not used", counts)


def lacking(plan: Plan) -> Table:
    """Merged tensors that some donor has no part in."""
    counts = Counter(place for slot in plan.slots for place in slot.lacking.items())
    return _counted("Merged tensors that a donor has no part in", counts)


def _counted(title: str, counts: Mapping[tuple[str, str], int]) -> Table:
    rows = rows_of((donor, reason, str(count)) for (donor, reason), count in counts.items())
    return Table(title, ("donor", "reason", "tensors"), rows, texts=2)


def discovered(plan: Plan) -> Table:
    """How sure a plan that was found by content is; without rows for any other plan."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for several in plan.findings.values():
        for source, found in several.items():
            groups.setdefault((source, found.grade), []).append(found)
    sources = dict.fromkeys(source for source, _ in groups)
    rows = []
    for place in product(sources, GRADES):
        if own := groups.get(place):
            cosines = [item.cosine for item in own]
            rivals = [item.runner_up for item in own if item.runner_up is not None]
            numbers = (min(cosines), max(cosines), max(rivals, default=None))
            rows.append((*place, str(len(own)), *(words.fixed(n, 2) for n in numbers)))
    columns = ("model", "match", "tensors", "least cosine", "highest", "highest runner-up")
    return Table("What the weights say of the target's tensors", columns, rows_of(rows), texts=2)


def distances(checks: Distances) -> Table:
    """How far target and donors are apart, per role; without rows where nothing was compared.

    The ancestor has rows only where it has problems: how far it is, each donor's rows say.
    """
    roles, left_out = [], 0
    summaries = checks.roles()
    for source in dict.fromkeys(summary.source for summary in summaries):
        shown = farthest_roles([check for check in checks.tensors if check.source == source])
        own = [s for s in summaries if s.source == source and (source in checks.donors or s.problems)]
        roles += [summary for summary in own if summary.role in shown]
        left_out += sum(summary.role not in shown for summary in own)
    notes = [f"{left_out} roles that are nearer are left out"] if left_out else []
    notes.append("distance: |target - donor| / |target|")
    columns: list[Column[RoleDistance]] = [
        ("model", lambda role: role.source),
        ("role", lambda role: role.role),
        ("tensors", lambda role: str(role.tensors)),
        ("cosine", lambda role: words.fixed(role.cosine, 3)),
        ("least cosine", lambda role: words.fixed(role.least, 3)),
        ("distance", lambda role: words.fixed(role.distance, 3)),
    ]
    if any(role.target_moved is not None for role in roles):
        columns.append(("target moved", lambda role: words.fixed(role.target_moved, 3)))
        columns.append(("donor moved", lambda role: words.fixed(role.donor_moved, 3)))
        notes.append("moved: distance from the ancestor, over the ancestor's norm")
    problems = [index for index, role in enumerate(roles) if role.problems]
    if problems:
        columns.append(("problems", lambda role: str(role.problems)))
    title = "How far the merged tensors are from the target's (medians)"
    return Table.of(title, roles, columns, texts=2, strong=problems, note="; ".join(notes))


def farthest_roles(checks: Sequence[TensorDistance], most: int = MOST_ROLES) -> list[str]:
    """The roles that are shown of one model's, in their order: those with problems, then the farthest."""
    farthest: dict[str, tuple[bool, float]] = {}
    for check in checks:
        own = (bool(check.problem), check.distance or 0.0)
        farthest[check.role] = max(farthest.get(check.role, own), own)
    shown = set(sorted(farthest, key=lambda role: farthest[role], reverse=True)[:most])
    return [role for role in farthest if role in shown]
