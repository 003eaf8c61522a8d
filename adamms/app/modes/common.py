"""What several modes do: start a run, open and map its models."""

from contextlib import nullcontext

from adamms.app.merges import Merges, check_merge, plan_merges
from adamms.app.models import open_models
from adamms.app.settings import Run
from adamms.errors import AdammsError
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
    with run.tracker.run(run.config, run.job) as record:
        result: Result = run.start(run, Console())
        record(result)
        if result.failure:
            raise AdammsError(f"{result.failure}. All else is in {run.output}")


def map_models(run: Run, console: Console) -> Merges:
    """Open the models and map the donors onto the target."""
    check_merge(run)
    models = open_models(run.models, run.mapper, console.stage)
    for warning in models.warnings():
        console.warn(warning)
    by_content = isinstance(models.target.described, SketchedModel)
    with console.stage("match") if by_content else nullcontext():
        return plan_merges(run, models)
