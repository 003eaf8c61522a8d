"""Training stages that several pairs share, trained once and kept on disk.

A stage's key is all that it depends on: the seed, its settings and the stages before it. Knows files and
state dicts, nothing of what is learned.
"""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

# What a stage depends on, as plain data; contains the keys of the stages before it.
Key = dict[str, Any]


@dataclass(frozen=True)
class StageCache:
    """Weights after a stage, by its key.

    Args:
        folder: made if missing; None keeps nothing.
        version: of the recipe; part of every key.
    """

    folder: Path | None
    version: int

    def train(self, model: nn.Module, key: Key, run: Callable[[], None]) -> Key:
        """Bring `model` into its state after the stage: load it if it is kept, else train it by `run`.

        Two processes may train the same stage at once. Both write the same weights, by a rename.

        Returns:
            The key, for the stages after it.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file, save_file

        file = self._file(key)
        if file is None:
            run()
            return key
        with suppress(FileNotFoundError, SafetensorError):  # a damaged one is trained again
            model.load_state_dict(load_file(file))
            return key
        run()
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{file.name}.{os.getpid()}")
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, partial)
        partial.replace(file)
        return key

    def holds(self, key: Key) -> bool:
        """Whether the stage is kept."""
        file = self._file(key)
        return file is not None and file.exists()

    def _file(self, key: Key) -> Path | None:
        if self.folder is None:
            return None
        text = json.dumps({"version": self.version, "torch": torch.__version__, **key}, sort_keys=True)
        return self.folder / f"{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}.safetensors"
