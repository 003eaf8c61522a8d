"""Which evaluation tools a configuration asks for."""

from adamms.app.build import build
from adamms.app.sections import EvaluateKeys
from adamms.evaluate.foreign.tool import Tool
from adamms.evaluate.lmms.run import LmmsEval
from adamms.evaluate.vlmevalkit.run import VlmEvalKit


def read_tools(keys: EvaluateKeys) -> tuple[Tool, ...]:
    """The tools, in the order in which they run.

    Raises:
        AdammsError: a key or a value that is none of theirs.
    """
    known = ((LmmsEval, keys.lmms_eval), (VlmEvalKit, keys.vlmevalkit))
    return tuple(build(node, f"evaluate.{kind.KEY}", kind=kind) for kind, node in known if node is not None)
