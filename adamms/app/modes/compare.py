"""mode=compare: how the searches of a multirun compare; a multirun ends with it, too."""

from pathlib import Path

from adamms.app.settings import Run
from adamms.errors import AdammsError
from adamms.report.comparison import RECORD, Comparison, gather
from adamms.report.console import Console
from adamms.report.report import write_comparison
from adamms.report.result import Result


def compare(run: Run, console: Console, folder: Path) -> Result:
    """Compare jobs that went on when the command that queued them was interrupted.

    Args:
        folder: of the multirun.

    Raises:
        AdammsError: a folder without searches, or with records that cannot be read.
    """
    comparison = gather(folder)
    if not comparison.jobs:
        raise AdammsError(f"{folder}: no searches of a multirun are in it; expected NUMBER/{RECORD}")
    show(comparison, console)
    return Result(title=f"Comparison of {folder}")


def show(comparison: Comparison, console: Console) -> None:
    """Print the table, and write the comparison into the multirun's folder."""
    console.comparison(comparison)
    console.say(f"comparison: {write_comparison(comparison)}")
