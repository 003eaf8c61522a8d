"""What several modes do: start a run, open and map its models."""

from contextlib import nullcontext

from adamms.app.class_facts import ClassFacts
from adamms.app.given_model import subject
from adamms.app.merges import Merges, check_merge, plan_merges
from adamms.app.model_checks import checked
from adamms.app.models import open_models
from adamms.app.output_folder import check_output
from adamms.app.settings import Run
from adamms.errors import AdammsError
from adamms.mapping.content.discover import DiscoverMapper
from adamms.mapping.content.sketch import SketchedModel
from adamms.report.console import Console
from adamms.report.logging import quiet_libraries
from adamms.report.result import Result


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
