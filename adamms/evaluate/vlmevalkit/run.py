"""VLMEvalKit's command line. `results` reads what it leaves; `guest` is what runs in its interpreter."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import MinLen
from pydantic import PositiveInt

from adamms.evaluate.foreign.results import VLMEVALKIT, ToolResults
from adamms.evaluate.foreign.tool import Backend, Tool, check_arguments, written
from adamms.evaluate.vlmevalkit.results import STATUS, read_results

MODEL = "model"  # what its files call the model
OWN_ARGUMENTS = {"--data", "--model", "--config", "--work-dir", "--judge", "--limit"}


@dataclass(frozen=True, kw_only=True)
class VlmEvalKit(Tool):
    """How VLMEvalKit is run. What each value does is said in conf/evaluate/vlmevalkit.yaml.

    Raises:
        AdammsError: an argument that another key sets.
    """

    NAME = VLMEVALKIT
    KEY = "vlmevalkit"
    MAKE = "vlmevalkit"
    OWN_GUEST = Path(__file__).with_name("guest.py")
    # As tqdm draws it: "Infer model/MME, Rank 0/1:  12%|#2   | 5/40 [00:01<...".
    BAR = re.compile(r"Infer .*?:\s+\d+%\|.*\|\s*(\d+)/(\d+)")
    TASKS = "data"

    data: Annotated[Sequence[str], MinLen(1)]
    judge: str
    limit: PositiveInt | None

    def __post_init__(self) -> None:
        check_arguments(self.KEY, self.arguments, OWN_ARGUMENTS)

    def request(self) -> dict[str, Any]:
        return {"model": self.model, "tasks": list(self.data)}

    def command(self, folder: Path, output: Path, backend: Backend) -> list[str]:
        """The model as JSON, then VLMEvalKit's arguments."""
        model_args = {backend.folder_argument: str(folder.absolute()), **(self.model_args or {})}
        model = json.dumps({"name": MODEL, "model": self.model, "arguments": model_args})
        limit = [] if self.limit is None else ["--limit", str(self.limit)]
        where = ["--work-dir", str(output.absolute()), "--judge", self.judge]
        return [model, "--data", *self.data, "--model", MODEL, *where, *limit, *self.arguments]

    def found(self, output: Path) -> dict[Path, float]:
        return written(output, STATUS)

    def read(self, file: Path, output: Path, backend: Backend) -> ToolResults:
        return read_results(file, output, backend.version)
