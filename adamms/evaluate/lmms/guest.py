"""What runs in lmms-eval's own interpreter, after `foreign/guest.py`. Needs lmms-eval and Python 3.10."""

import runpy
import sys
from importlib import metadata
from inspect import Parameter, signature
from pathlib import Path
from typing import Any


def look(request: dict[str, Any]) -> dict[str, Any]:
    """Whether lmms-eval could run {"model", "tasks", "include_path"}.

    Returns:
        {"version", "folder_argument"}; with "models", "tasks" or "failure" if it could not.
    """
    answer: dict[str, Any] = {"version": metadata.version("lmms_eval")}
    from lmms_eval import models

    known = getattr(models, "list_available_models", lambda include_aliases: sorted(models.AVAILABLE_MODELS))
    names = known(include_aliases=True)
    if request["model"] not in names:
        return answer | {"models": names}
    from lmms_eval import evaluator

    # What an evaluation begins with, and what only then is imported: better now than after the merge.
    getattr(evaluator, "_enable_reentrant_filelocks", lambda: None)()
    try:
        parameters = list(signature(models.get_model(request["model"])).parameters.values())
    except Exception as error:  # noqa: BLE001  (whatever a backend's module raises when it is imported)
        return answer | {"failure": f"{type(error).__name__}: {error}"}
    answer["folder_argument"] = parameters[0].name
    if not any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters):
        answer["arguments"] = [parameter.name for parameter in parameters]
    missing, names = _missing_tasks(request["tasks"], request["include_path"])
    return answer | ({"missing": missing, "tasks": names} if missing else {})


def _missing_tasks(wanted: list[str], include_path: str | None) -> tuple[list[str], list[str]]:
    """Those that lmms-eval does not know, and all that it knows. Its own thousands only where needed."""
    from lmms_eval.tasks import TaskManager

    for own in (False, True):
        if own or include_path is not None:
            manager = TaskManager("ERROR", include_path=include_path, include_defaults=own)
            missing = [task for task in wanted if not manager.match_tasks([task]) and not Path(task).exists()]
            if not missing:
                break
    return missing, list(manager.all_tasks)


def run(*arguments: str) -> None:
    sys.argv = ["lmms_eval", *arguments]
    runpy.run_module("lmms_eval", run_name="__main__", alter_sys=True)
