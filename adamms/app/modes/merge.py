"""mode=merge: write the model merged at merge.alpha."""

from dataclasses import replace

from adamms.app.distance import distances, verify
from adamms.app.modes.common import map_models
from adamms.app.output import Output, write_merged
from adamms.app.settings import Run
from adamms.app.tools import add_tools, check_tools, check_values
from adamms.report.console import Console
from adamms.report.report import write_report
from adamms.report.result import Result


def merge(run: Run, console: Console) -> Result:
    """Write the model, plan.json and the report."""
    check_values(run)
    merges = map_models(run, console)
    merges.check()  # what is wrong with alpha shows before any work
    output = Output(run, merges, console)
    output.check()
    backends = check_tools(run, console, output.folder)
    console.plan(merges.plan)
    checks = verify(run, console, merges) or distances(console, merges)
    output = replace(output, merges=merges.measured([], console.stage))
    run.recipe.check_result(output.record(None)["fingerprint"])
    result = write_merged(output, checks)
    if backends:  # last: a failure there leaves everything else
        result = add_tools(run, console, backends, result)
        write_report(run.output, result)
    return result
