"""What several modes do: start a run, open and map its models."""

import json
from contextlib import nullcontext

from adamms.app.class_facts import ClassFacts
from adamms.app.given_model import subject
from adamms.app.merges import Merges, check_merge, plan_merges
from adamms.app.model_checks import checked
from adamms.app.models import open_models
from adamms.app.settings import Run
from adamms.errors import AdammsError
from adamms.mapping.content.discover import DiscoverMapper
from adamms.mapping.content.sketch import SketchedModel
from adamms.report.console import Console
from adamms.report.logging import quiet_libraries
from adamms.report.result import RESULT, Result

# Modes that write a report -> what only theirs has, or the first of them in this order.
REPORTING = {"search": "selection", "merge": "folder", "plan": "plan", "evaluate": "scores"}


def start(run: Run) -> None:
    """Run the mode, and have its result recorded.

    Raises:
        AdammsError: also where all was found but something at the end.
    """
    quiet_libraries(run.verbose)
    check_output(run)
    for note in run.notes:
        Console().warn(note)
    with run.tracker.run(*subject(run)) as record:
        result: Result = run.start(run, Console(record=record))
        record(result)
        if result.failure:
            raise AdammsError(f"{result.failure.rstrip('.')}. All else is in {run.output}")


def check_output(run: Run) -> None:
    """Raise AdammsError if the run would replace the report that another mode has left in its output.

    A search or a merge may follow a plan: it leaves all that the plan has left.
    """
    if run.mode not in REPORTING:
        return
    try:
        found = json.loads((run.output / RESULT).read_text(encoding="utf-8"))
        found = {key for key, value in found.items() if value}
    except (OSError, ValueError, AttributeError):
        return  # nothing that could be read is lost
    if "title" not in found:
        return  # no report of ours
    author = next((mode for mode, key in REPORTING.items() if key in found), "evaluate")
    if author != run.mode and not (author == "plan" and run.mode in ("merge", "search")):
        raise AdammsError(
            f"output={run.output} has the report of mode={author}, which mode={run.mode} would replace; give "
            f"another folder: output=..."
        )


def map_models(run: Run, console: Console) -> Merges:
    """Open the models, map the donors onto the target, and compare them with it."""
    check_merge(run)
    headers = run.mode == "plan" and not run.verify and not isinstance(run.mapper, DiscoverMapper)
    models = open_models(
        run.models, run.mapper, ClassFacts(run.cache), console.stage, console.say if headers else None
    )
    for warning in models.warnings():
        console.warn(warning)
    by_content = isinstance(models.target.described, SketchedModel)
    with console.stage("match") if by_content else nullcontext():
        merges = plan_merges(run, models)
    return checked(run, console, merges)
