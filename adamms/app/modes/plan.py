"""mode=plan: map only. Reads headers and a few rows; all weights where the mapper asks for them."""

from dataclasses import replace

from adamms.app.distance import verify
from adamms.app.json_files import write_json
from adamms.app.modes.common import map_models
from adamms.app.output import result_of
from adamms.app.settings import Run
from adamms.report import files
from adamms.report.console import Console
from adamms.report.report import write_report
from adamms.report.result import Result


def plan(run: Run, console: Console) -> Result:
    """Print the coverage; write plan.json and the report."""
    merges = map_models(run, console)
    console.begin()
    console.plan(merges.plan)
    console.tree(merges.plan)
    file = run.output / files.PLAN
    write_json(file, merges.plan.to_json())
    console.say(f"plan: {file}")
    checks = verify(run, console, merges)
    result = replace(result_of(merges, console), checks=checks)
    console.say(f"report: {write_report(run.output, result)}")
    return result
