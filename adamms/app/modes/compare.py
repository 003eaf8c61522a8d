"""mode=compare: runs of all kinds side by side; a multirun ends with it, too."""

from collections.abc import Sequence
from pathlib import Path

from adamms.app.settings import Run
from adamms.errors import AdammsError
from adamms.report.compare.comparison import Comparison
from adamms.report.compare.pairing import gather
from adamms.report.compare.run_folders import COMPARED
from adamms.report.console import Console
from adamms.report.report import write_comparison
from adamms.report.result import Result


def compare(run: Run, console: Console, folder: Path | Sequence[Path], reference: str | None) -> Result:
    """Compare what is in one folder or in several, each of a run, of a multirun, or with those below.

    Args:
        folder: where to look. The comparison of one folder goes into it, unless `output` was
            typed; that of several goes into the output.
        reference: (part of) the name of the model that differences are to; None for the best.

    Raises:
        AdammsError: folders without anything to compare, or a reference that no model or several are called.
    """
    folders = [each.expanduser() for each in ([folder] if isinstance(folder, Path) else folder)]
    typed = any(override.startswith("output=") for override in run.job.overrides)
    into = folders[0] if len(folders) == 1 and not typed else run.output
    comparison = gather(folders, into, reference)
    if not comparison.rows:
        expected = f"expected folders of runs of mode={', '.join(COMPARED)}, of lmms-eval, or of multiruns"
        told = "; ".join(
            (*comparison.problems, *(f"{run.place}: {run.error or run.state}" for run in comparison.runs))
        )
        raise AdammsError(f"nothing to compare: {told or 'no folder'}; {expected}")
    show(comparison, console)
    return Result(title=f"Comparison of {', '.join(map(str, folders))}")


def show(comparison: Comparison, console: Console) -> None:
    """Print the table, and write the comparison's files."""
    console.comparison(comparison)
    console.say(f"comparison: {write_comparison(comparison)}")
