"""What evaluation tools found of a run's model. Knows none of them."""

from adamms.evaluate.foreign.results import ToolResults
from adamms.report.result import Result


def outside(result: Result) -> dict[str, ToolResults]:
    """What was found, by the tools' keys; without tools that were not run."""
    found = {"lmms_eval": result.lmms_eval, "vlmevalkit": result.vlmevalkit}
    return {key: own for key, own in found.items() if own is not None}
