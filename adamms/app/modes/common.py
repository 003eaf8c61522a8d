"""What several modes do: start a run, open and map its models."""

import shlex
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime

import yaml

from adamms import __version__
from adamms.app.checks.model_checks import checked
from adamms.app.class_facts import ClassFacts
from adamms.app.config.messages import explain
from adamms.app.given_model import subject
from adamms.app.merges import Merges, check_merge, plan_merges
from adamms.app.models import open_models
from adamms.app.output_folder import check_output
from adamms.app.settings import Run
from adamms.errors import AdammsError, program
from adamms.mapping.content.sketch import SketchedModel
from adamms.merge.rules import without_effect
from adamms.report import files
from adamms.report.console import Console
from adamms.report.logging import quiet_libraries
from adamms.report.result import Result
from adamms.report.run_log import RunLog


def start(run: Run) -> Result:
    """Run the mode, have its result recorded, and return it.

    Raises:
        AdammsError: also where all was found but something at the end.
    """
    with quiet_libraries(run.verbose), kept_log(run) as log:
        check_output(run)
        for note in run.notes:
            Console(log=log).warn(note)
        with run.tracker.run(*subject(run), Console(log=log).say) as record:
            result: Result = run.start(run, Console(record=record, log=log))
            record(result)
            if result.failure:
                raise AdammsError(f"{result.failure.rstrip('.')}. All else is in {run.output}")
    return result


@contextmanager
def kept_log(run: Run) -> Iterator[RunLog]:
    """run.log, with what ended the run as its last words; the configuration comes to lie beside it."""
    command = f"{program()} {shlex.join(run.job.overrides)}"
    settings = {files.SETTINGS: run.config_text, "overrides.yaml": yaml.safe_dump([*run.job.overrides])}
    log = RunLog(
        run.output,
        f"{datetime.now():%Y-%m-%d %H:%M:%S} adamms {__version__}: {command}",
        {f".hydra/{name}": content for name, content in settings.items()},
    )
    try:
        yield log
    except BaseException as error:
        message = "interrupted" if isinstance(error, KeyboardInterrupt) else explain(error)
        log.write(traceback.format_exc() if message is None else f"error: {message}\n")
        raise
    finally:
        log.close()


def map_models(run: Run, console: Console) -> Merges:
    """Open the models, map the donors onto the target, and compare them with it."""
    check_merge(run)
    headers = run.mode == "plan" and not run.verify and not run.mapper.reads_weights
    facts = ClassFacts(run.cache)
    models = open_models(run.models, run.mapper, facts, console.stage, console.say if headers else None)
    for name, said in models.dequantised().items():
        console.say(f"{name}: {said}")
    for warning in models.warnings():
        console.warn(warning)
    if run.mode in ("merge", "extract"):
        run.recipe.check_models(models.fingerprints)
    by_content = isinstance(models.target.described, SketchedModel)
    with console.stage("match") if by_content else nullcontext():
        merges = plan_merges(run, models)
    for rule in without_effect(run.merge.rules, merges.plan.slots):
        console.warn(f"merge.rules: {rule} has no effect: rules before it take its tensors")
    return checked(run, console, merges, facts)
