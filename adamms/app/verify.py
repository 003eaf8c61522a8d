"""How the merged tensors resemble each other, as a step of the modes: plan.verify, and what discovery saw.

Like `pipeline`, above the layers: it knows the configuration, the mapping and the output folder.
"""

import json
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from adamms.app.merges import Case
from adamms.app.output import result_of
from adamms.errors import AdammsError
from adamms.mapping.checks.distance import Distances, distances_of_discovery
from adamms.mapping.checks.mapped_models import MappedModels
from adamms.mapping.checks.measure import measure_distances
from adamms.mapping.checks.verify import verify_plan
from adamms.report.console import Console
from adamms.report.report import write_report

# Problems that the message lists; the file has all.
LISTED = 6


def check_resemblance(console: Console, config: DictConfig, case: Case) -> Distances | None:
    """With plan.verify=true compare a sample of every merged tensor, and stop if something is wrong.

    Writes plan_verify.json. If something is wrong, report.html shows it before the run stops. A plan that was
    found by content has its cosines already.

    Returns:
        What was compared; None where no weight was looked at.

    Raises:
        AdammsError: tensors, or a whole donor, that do not resemble the target as the plan says.
    """
    output = Path(config.output)
    if not config.plan.verify:
        found = distances_of_discovery(case.plan)
        return found if found.tensors else None
    with console.stage("verify", _merged(case), "tensors") as advance:
        found = verify_plan(case.plan, _values(case), advance)
    console.distances(found)
    file = output / "plan_verify.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found.to_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if found.problems:
        report = write_report(output, replace(result_of(case, console), checks=found))
        raise AdammsError(_message(found.problems, report))
    console.say(f"verify: every merged tensor resembles the target's: {file}")
    return found


def distances(console: Console, case: Case) -> Distances:
    """How far the models are from the target, layer by layer, from a few rows of every merged tensor."""
    with console.stage("distances", _merged(case), "tensors") as advance:
        return measure_distances(case.plan, _values(case), advance)


def _merged(case: Case) -> int:
    return sum(slot.merged for slot in case.plan.slots)


def _values(case: Case) -> MappedModels:
    return MappedModels(
        case.target.checkpoint,
        {name: donor.checkpoint for name, donor in case.donors.items()},
        None if case.ancestor is None else case.ancestor.checkpoint,
    )


def _message(problems: list[str], report: Path) -> str:
    listed = "".join(f"\n  - {problem}" for problem in problems[:LISTED])
    more = f"\n  and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
    count = "one finding" if len(problems) == 1 else f"{len(problems)} findings"
    return (
        f"plan.verify: the mapping does not hold, {count}:{listed}{more}\n"
        f"All of it is in {report}; plan.verify=false goes ahead all the same."
    )
