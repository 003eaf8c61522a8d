"""How far the models' weights are apart, as a step of the modes: the distances shown, and plan.verify.

Knows where they are written; what they mean is in `mapping.checks`.
"""

from dataclasses import replace

from adamms.app.json_files import write_json
from adamms.app.merges import Merges
from adamms.app.output import result_of
from adamms.app.settings import Run
from adamms.errors import AdammsError
from adamms.mapping.checks.distance import Distances, distances_of_discovery
from adamms.mapping.checks.mapped_models import MappedModels
from adamms.mapping.checks.measure import measure_distances
from adamms.report import files, plan_tables
from adamms.report.console import Console
from adamms.report.report import write_report

# Problems that the message lists; the file has all.
LISTED = 6


def verify(run: Run, console: Console, merges: Merges) -> Distances | None:
    """With plan.verify=true compare a sample of every merged tensor, and stop if something is wrong.

    Writes plan_verify.json. If something is wrong, report.html shows it before the run stops. A plan that
    was found by content has its cosines already.

    Returns:
        What was compared; None where no weight was looked at.

    Raises:
        AdammsError: tensors, or a whole donor, that do not correspond to the target's as the plan says.
    """
    if not run.verify:
        found = distances_of_discovery(merges.plan)
        return found if found.tensors else None
    from adamms.mapping.checks.verify import verify_plan

    with console.stage("verify", _merged(merges), "tensors") as advance:
        found = verify_plan(merges.plan, mapped_models(merges), advance)
    console.table(plan_tables.distances(found))
    file = run.output / files.VERIFIED
    write_json(file, found.to_json())
    if found.problems:
        report = write_report(run.output, replace(result_of(merges, console), checks=found))
        raise AdammsError(_message(found.problems, str(report)))
    console.say(f"verify: every merged tensor resembles the target's: {file}")
    return found


def distances(console: Console, merges: Merges) -> Distances:
    """How far the donors are from the target, layer by layer, from a few rows of every merged tensor."""
    with console.stage("distances", _merged(merges), "tensors") as advance:
        return measure_distances(merges.plan, mapped_models(merges), advance)


def _merged(merges: Merges) -> int:
    return sum(slot.merged for slot in merges.plan.slots)


def mapped_models(merges: Merges) -> MappedModels:
    """The checkpoints behind a plan."""
    models = merges.models
    return MappedModels(
        models.target.checkpoint,
        {name: donor.checkpoint for name, donor in models.donors.items()},
        None if models.ancestor is None else models.ancestor.checkpoint,
    )


def _message(problems: list[str], report: str) -> str:
    listed = "".join(f"\n  - {problem}" for problem in problems[:LISTED])
    more = f"\n  and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
    count = "one finding" if len(problems) == 1 else f"{len(problems)} findings"
    return (
        f"plan.verify: the mapping does not hold, {count}:{listed}{more}\n"
        f"All of it is in {report}; plan.verify=false goes ahead all the same."
    )
