"""Evaluation tools on a model's folder, where the configuration asks for them: checked early, run last."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from adamms.app.config.build import Missing
from adamms.app.output import write_evaluation
from adamms.app.settings import Run
from adamms.errors import AdammsError
from adamms.evaluate.foreign.tool import Backend
from adamms.report import files, tables
from adamms.report.console import Console
from adamms.report.result import Result

Backends = Mapping[str, Backend]  # key of a tool -> what it said of itself


def check_values(run: Run) -> None:
    """Raise AdammsError for a tool that lacks a value, such as its tasks, before anything is written."""
    for tool in run.tools:
        if isinstance(tool, Missing):
            raise tool.error


def check_tools(run: Run, console: Console, folder: Path) -> Backends:
    """Look whether the tools could run on the model in `folder`, there or not yet; none where nobody asks.

    Raises:
        AdammsError: one could not; see `Tool.check`.
    """
    found = {}
    for tool in run.tools:
        with console.stage(f"look for {tool.NAME}"):
            found[tool.KEY] = tool.check(folder)
    return found


def add_tools(
    run: Run, console: Console, backends: Backends, result: Result, folder: Path | None = None
) -> Result:
    """Run the tools, print and record what they found.

    Args:
        backends: what `check_tools` returned.
        folder: of the model; the result's by default.

    Returns:
        The result with it; as it was where nobody asks.

    Raises:
        AdammsError: one failed, or one of its tasks; the model and all that was written before are kept.
    """
    model = folder or result.folder
    for tool in run.tools if model is not None else ():
        assert model is not None
        found = tool.run(model, run.output / tool.KEY, backends[tool.KEY], console.stage)
        result = replace(result, tools={**result.tools, tool.KEY: found}, timings=console.timings)
        console.table(tables.of_tool(found))
        write_evaluation(file := run.output / files.EVALUATION, result)
        if found.failed:
            why = "; ".join(f"{task} has failed: {words}" for task, words in found.failed.items())
            raise AdammsError(f"{tool.NAME}: {why}. What the other tasks have is in {file}")
    return result
