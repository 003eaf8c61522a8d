"""Shows how the searches of a multirun compare: at its end, and as a mode of its own.

Like `pipeline`, above the layers.
"""

from pathlib import Path

from omegaconf import DictConfig

from adamms.errors import AdammsError
from adamms.report.comparison import RECORD, gather
from adamms.report.console import Console
from adamms.report.report import write_comparison
from adamms.report.result import Result


def compare(config: DictConfig, console: Console) -> Result:
    """The mode `compare`: for jobs that went on when the command that queued them was interrupted.

    Raises:
        AdammsError: a folder without searches, or with records that cannot be read.
    """
    folder = Path(str(config.mode.folder)).expanduser()
    if not gather(folder).jobs:
        raise AdammsError(f"{folder}: no searches of a multirun are in it; expected NUMBER/{RECORD}")
    show(folder, console)
    return Result(title=f"Comparison of {folder}")


def show(folder: Path, console: Console | None = None) -> None:
    """Print the table, and write comparison.html and comparison.json into the multirun's folder."""
    console, comparison = console or Console(), gather(folder)
    console.comparison(comparison)
    console.say(f"comparison: {write_comparison(comparison)}")
