"""Which evaluation tools a configuration asks for, and whether logs are its engine."""

from adamms.app.build import build, found_by_name
from adamms.app.sections import EvaluateKeys, ModeKeys, Node
from adamms.engines.logs.replay import Replay
from adamms.errors import AdammsError
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


def replays_logs(engine: Node, mode: ModeKeys) -> bool:
    """Whether logs are the engine.

    Raises:
        AdammsError: the mode cannot do with them.
    """
    kind = found_by_name(engine.get("_target_"), "engine")
    replays = isinstance(kind, type) and issubclass(kind, Replay)
    if replays and mode.needs_models:
        raise AdammsError(
            f"engine=replay reads logs, and mode={mode.name} needs a model: they exclude each other; "
            f"engine=replay goes with mode=search"
        )
    return replays
