"""lmms-eval on a model's folder, where the configuration asks for it: checked early, run last."""

from dataclasses import replace
from pathlib import Path

from adamms.app.output import write_evaluation
from adamms.app.settings import Run
from adamms.evaluate.lmms.run import Backend
from adamms.report import tables
from adamms.report.console import Console
from adamms.report.result import Result

FOLDER = "lmms_eval"  # of the run, for what lmms-eval leaves


def check_lmms(run: Run, console: Console, folder: Path) -> Backend | None:
    """Look whether lmms-eval could run on the model in `folder`, there or not yet; None if nobody asks.

    Raises:
        AdammsError: it could not; see `LmmsEval.check`.
    """
    if run.lmms is None:
        return None
    with console.stage("look for lmms-eval"):
        return run.lmms.check(folder)


def add_lmms(
    run: Run, console: Console, backend: Backend | None, result: Result, folder: Path | None = None
) -> Result:
    """Run lmms-eval, print and record what it found.

    Args:
        backend: what `check_lmms` returned.
        folder: of the model; the result's by default.

    Returns:
        The result with it; as it was where nobody asks.

    Raises:
        AdammsError: it failed; the model and everything that was written before are kept.
    """
    model = folder or result.folder
    if run.lmms is None or backend is None or model is None:
        return result
    found = run.lmms.run(model, run.output / FOLDER, backend, console.stage)
    result = replace(result, lmms_eval=found, timings=console.timings)
    console.table(tables.lmms_eval(result))
    write_evaluation(run.output / "evaluation.json", result)
    return result
