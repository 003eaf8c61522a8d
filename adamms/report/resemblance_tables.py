"""The tables of how models resemble each other: what discovery found, what plan.verify measured.

As `tables`: plain cells, drawn elsewhere.
"""

from adamms.mapping.checks.distance import Verification
from adamms.mapping.plan import GRADES, Evidence, Plan
from adamms.report.tables import Cell, Table

MOST_ROLES = 40  # where names say nothing of layers, every tensor is a role of its own


def resemblance(checks: Verification) -> Table | None:
    """How target and donors resemble each other, per role; None without a check.

    The ancestor has rows of its own only where it has problems: how far it is, each donor's rows say.
    Of very many roles those least alike are shown.
    """
    everything = [role for role in checks.roles() if role.source in checks.donors or role.problems]
    if not everything:
        return None
    order = sorted(everything, key=lambda role: (-role.problems, 1.0 if role.least is None else role.least))
    shown = {id(role) for role in order[:MOST_ROLES]}
    roles = [role for role in everything if id(role) in shown]
    moved = any(role.target_moved is not None for role in roles)
    flagged = any(role.problems for role in roles)

    def number(value: float | None) -> Cell:
        return Cell("-" if value is None else f"{value:.3f}")

    rows = [
        (
            *(Cell(role.source), Cell(role.role), Cell(str(role.tensors))),
            *map(number, (role.cosine, role.least, role.distance)),
            *(map(number, (role.target_moved, role.donor_moved)) if moved else ()),
            *((Cell(str(role.problems)),) if flagged else ()),
        )
        for role in roles
    ]
    return Table(
        "How the merged tensors resemble the target's (medians)",
        (
            *("model", "role", "tensors", "cosine", "least cosine", "distance"),
            *(("target moved", "donor moved") if moved else ()),
            *(("problems",) if flagged else ()),
        ),
        tuple(rows),
        texts=2,
        strong=frozenset(index for index, role in enumerate(roles) if role.problems),
        note=(
            f"the {len(roles)} least alike of {len(everything)} roles; "
            if len(roles) < len(everything)
            else ""
        )
        + "distance: |target - donor| / |target|"
        + ("; moved: distance from the ancestor, over the ancestor's norm" if moved else ""),
    )


def discovered(plan: Plan) -> Table | None:
    """How sure a plan that was found by content is; None for any other plan."""
    counts: dict[tuple[str, str], list[Evidence]] = {}
    for evidence in plan.evidence.values():
        for source, found in evidence.items():
            counts.setdefault((source, found.grade), []).append(found)
    if not counts:
        return None
    sources = dict.fromkeys(source for source, _ in counts)
    rows = []
    for source, grade in ((s, g) for s in sources for g in GRADES if (s, g) in counts):
        several = counts[source, grade]
        rivals = [item.runner_up for item in several if item.runner_up is not None]
        cosines = [item.cosine for item in several]
        numbers = [min(cosines), max(cosines), *([max(rivals)] if rivals else [])]
        words = [f"{number:.2f}" for number in numbers] + ["-"] * (3 - len(numbers))
        rows.append(tuple(map(Cell, (source, grade, str(len(several)), *words))))
    return Table(
        "What the weights say of the target's tensors",
        ("model", "match", "tensors", "least cosine", "highest", "highest runner-up"),
        tuple(rows),
        texts=2,
    )
