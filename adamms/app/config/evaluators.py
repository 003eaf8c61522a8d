"""Which evaluation tools a configuration asks for, and whether logs are its engine."""

from adamms.app.config.build import build, found_by_name, split
from adamms.app.config.sections import EvaluateKeys, ModeKeys, Node
from adamms.app.config.wrong_values import unknown_key
from adamms.engines.logs.replay import Replay
from adamms.errors import AdammsError
from adamms.evaluate.foreign.tool import Tool

# Tools that may be left out by null, as an option or an experiment names them.
NULL_IS_NONE = ("lmms_eval", "vlmevalkit")


def read_evaluate(node: Node) -> tuple[EvaluateKeys, tuple[Tool, ...]]:
    """How answers are scored, and the evaluation tools in the order in which they run.

    Raises:
        AdammsError: a key or a value that is none of theirs, or two tools whose files have one place.
    """
    keys, others = split(EvaluateKeys, node, "evaluate")
    given = {key: value for key, value in others.items() if value is not None or key not in NULL_IS_NONE}
    tools = {key: value for key, value in given.items() if isinstance(value, dict) and "_target_" in value}
    for key in (key for key in given if key not in tools):
        raise unknown_key(f"evaluate.{key}", key, [*EvaluateKeys.model_fields, *tools])
    built = tuple(build(value, f"evaluate.{key}", kind=Tool) for key, value in tools.items())
    places = [place for tool in built if (place := getattr(type(tool), "KEY", ""))]
    if len(set(places)) < len(places):
        raise AdammsError(
            f"evaluate: of {', '.join(tools)} two leave their files in one place; run one at a time"
        )
    return keys, built


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
