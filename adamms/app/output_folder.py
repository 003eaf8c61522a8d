"""Whether a run may write its report into a folder where another mode has left one."""

import json

from adamms.app.settings import Run
from adamms.errors import AdammsError
from adamms.report.files import RESULT

# Modes that write a report -> what only theirs has, or the first of them in this order.
REPORTING = {
    "search": "selection",
    "merge": "folder",
    "plan": "plan",
    "evaluate": "scores",
    "extract": "extracted",
}


def check_output(run: Run) -> None:
    """Raise AdammsError if the run would replace the report that another mode has left in its output.

    A search or a merge may follow a plan: it leaves all that the plan has left.
    """
    if run.mode not in REPORTING:
        return
    try:
        found = json.loads((run.output / RESULT).read_text(encoding="utf-8"))
        found = {key for key, value in found.items() if value}
    except (OSError, ValueError, AttributeError):
        return  # nothing that could be read is lost
    if "title" not in found:
        return  # no report of ours
    author = next((mode for mode, key in REPORTING.items() if key in found), "evaluate")
    if author != run.mode and not (author == "plan" and run.mode in ("merge", "search")):
        raise AdammsError(
            f"output={run.output} has the report of mode={author}, which mode={run.mode} would replace; give "
            f"another folder: output=..."
        )
