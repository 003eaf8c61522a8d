"""mode=merge: write the model merged at merge.alpha."""

from dataclasses import replace

from adamms.app.distance import distances, verify
from adamms.app.lmms import add_lmms, check_lmms
from adamms.app.modes.common import map_models
from adamms.app.output import Output, result_of, settings_text, write_json
from adamms.app.settings import Run
from adamms.report.console import Console
from adamms.report.report import write_report
from adamms.report.result import Hyperparameters, Result


def merge(run: Run, console: Console) -> Result:
    """Write the model, plan.json and the report."""
    merges = map_models(run, console)
    merges.check()  # what is wrong with alpha shows before any work
    output = Output(run, merges, console)
    output.check()
    backend = check_lmms(run, console, output.folder)
    console.plan(merges.plan)
    checks = verify(run, console, merges) or distances(console, merges)
    merges = merges.measured([], console.stage)
    output = replace(output, merges=merges)
    folder = output.write(None)
    write_json(run.output / "plan.json", merges.plan.to_json())
    result = replace(
        result_of(merges, console),
        checks=checks,
        notes=output.notes,
        hyperparameters=Hyperparameters.of_recipe(merges.record()),
        folder=folder,
        load=output.load,
        config=settings_text(run),
    )
    console.say(f"report: {write_report(run.output, result)}")
    output.finish()
    if backend is not None:  # last: a failure there leaves everything else
        result = add_lmms(run, console, backend, result)
        write_report(run.output, result)
    return result
