"""lmms-eval's command line. `results` reads what it leaves; `guest` is what runs in its interpreter."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from annotated_types import MinLen
from pydantic import PositiveFloat, PositiveInt

from adamms.errors import AdammsError
from adamms.evaluate.foreign.results import LMMS_EVAL, ToolResults
from adamms.evaluate.foreign.tool import Backend, Tool, check_arguments, written
from adamms.evaluate.lmms.results import RESULTS, read_results

# What this module sets, or replaces, besides the arguments that are keys of evaluate.lmms_eval.
OWN_ARGUMENTS = ("--output_path", "--log_samples", "--config")


@dataclass(frozen=True, kw_only=True)
class LmmsEval(Tool):
    """How lmms-eval is run. What each value does is said in conf/evaluate/lmms_eval.yaml.

        evaluator = LmmsEval(python=Path(".venv/lmms-eval/bin/python"), tasks=["mme"], model="vllm", ...)

    Raises:
        AdammsError: an argument that another key sets.
    """

    NAME = LMMS_EVAL
    KEY = "lmms_eval"
    MAKE = "lmms-eval"
    OWN_GUEST = Path(__file__).with_name("guest.py")
    # As tqdm draws it: "Model Responding:  12%|#2   | 5/40 [00:01<...".
    BAR = re.compile(r"Responding:\s+\d+%\|.*\|\s*(\d+)/(\d+)")
    TASKS = "tasks"
    LISTS = {"models": "-m lmms_eval models", "tasks": "-m lmms_eval tasks"}  # noqa: RUF012

    tasks: Annotated[Sequence[str], MinLen(1)]
    batch_size: PositiveInt
    limit: PositiveFloat | None
    include_path: Path | None
    gen_kwargs: Mapping[str, Any] | None

    def __post_init__(self) -> None:
        own = {f"--{key.name}" for key in fields(self)}.union(OWN_ARGUMENTS)
        check_arguments(self.KEY, self.arguments, own)

    def check(self, folder: Path) -> Backend:
        """As `Tool.check`.

        Raises:
            AdammsError: also an include_path that is not there, or a folder that lmms-eval cannot be told.
        """
        if "," in str(folder.absolute()):
            raise AdammsError(f"{folder.absolute()}: lmms-eval cannot be given a path with a comma in it")
        if self.include_path is not None and not self.include_path.is_dir():
            raise AdammsError(f"evaluate.lmms_eval.include_path: {self.include_path}: no such folder")
        return super().check(folder)

    def request(self) -> dict[str, Any]:
        include = None if self.include_path is None else str(self.include_path.absolute())
        return {"model": self.model, "tasks": list(self.tasks), "include_path": include}

    def command(self, folder: Path, output: Path, backend: Backend) -> list[str]:
        """lmms-eval's arguments."""
        model_args = {backend.folder_argument: folder.absolute(), **(self.model_args or {})}
        pairs = {
            "--model": self.model,
            "--model_args": _pairs(model_args),
            "--tasks": ",".join(self.tasks),
            "--batch_size": self.batch_size,
            "--output_path": output.absolute(),
            "--limit": self.limit,
            "--include_path": None if self.include_path is None else self.include_path.absolute(),
            "--gen_kwargs": _pairs(self.gen_kwargs or {}) or None,
        }
        given = [str(word) for name, value in pairs.items() if value is not None for word in (name, value)]
        return [*given, "--log_samples", *self.arguments]

    def found(self, output: Path) -> dict[Path, float]:
        return written(output, f"*{RESULTS}")

    def read(self, file: Path, output: Path, backend: Backend) -> ToolResults:
        return read_results(file, output, backend.version)


def _pairs(values: Mapping[str, Any]) -> str:
    """`key=value,key=value`, as lmms-eval takes it; mappings and lists as JSON."""
    return ",".join(
        f"{name}={json.dumps(value) if isinstance(value, dict | list) else value}"
        for name, value in values.items()
        if value is not None
    )
