"""What transformers' classes say of a model, kept in small files: importing them takes longer than a plan.

A file is named by all that its content follows from. Knows no class: `mapping` finds out what they say.
"""

import importlib.metadata as metadata
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

import adamms
from adamms.architectures.derive import Derived, DerivedArchitecture
from adamms.architectures.label import Label
from adamms.checkpoint.fingerprint import described, digest_parts
from adamms.checkpoint.reader import Checkpoint
from adamms.errors import AdammsError
from adamms.mapping.checks.configs import LanguageSettings, completed_settings
from adamms.mapping.content.sketch import SketchedModel
from adamms.mapping.mapper import Mapper
from adamms.mapping.specs.model import Model
from adamms.mapping.specs.resolve import SpecMapper
from adamms.system.whole_file import write_whole

Fact = TypeVar("Fact")
ORIGIN = "direct_url.json"  # of an installed package that is from no index: a folder, or a commit
# The packages that decide, beside transformers, what is found.
PACKAGES = ("architectures", "checkpoint", "mapping")


@dataclass(frozen=True)
class _Labels:
    """What is kept of a model that a class describes.

    Args:
        name: of its architecture.
        labels, wrapped: as of `Model`.
    """

    name: str
    labels: Mapping[str, Label]
    wrapped: Mapping[str, str]


@dataclass(frozen=True)
class ClassFacts:
    """Facts that are found once per model, and read from files by every later run.

    Args:
        cache: the folder where they are kept. A file that is torn, or cannot be read, counts as none.
    """

    cache: Path

    def describe(
        self, mapper: Mapper, checkpoint: Checkpoint, architecture: str | None, stage: object = None
    ) -> Model | SketchedModel:
        """The checkpoint as the mapper describes it. What its own Python files say of it is not kept."""
        if not isinstance(mapper, SpecMapper) or mapper.trust_remote_code:
            return mapper.describe(checkpoint, architecture, stage)
        file = self._file(f"labels as {architecture}", checkpoint)
        kept = _read(file, _Labels)
        if kept is not None:
            return Model(checkpoint, Derived(kept.name), kept.labels, kept.wrapped)
        found = mapper.describe(checkpoint, architecture)
        if isinstance(found.architecture, DerivedArchitecture):
            _write(file, _Labels(found.architecture.name, found.labels, found.wrapped))
        return found

    def settings(self, checkpoint: Checkpoint) -> LanguageSettings:
        """What its config.json says of its language model, with the defaults of the class."""
        file = self._file("settings", checkpoint)
        found = _read(file, LanguageSettings)
        if found is None:
            found = completed_settings(checkpoint)
            _write(file, found)
        return found

    def _file(self, question: str, checkpoint: Checkpoint) -> Path:
        """Named by all that an answer follows from: the code, config.json, headers."""
        headers = (described(name, entry) for name, entry in checkpoint.tensors.items())
        reasons = [f"{question}\n", self._code, json.dumps(checkpoint.config), *headers]
        return self.cache / "classes" / f"{digest_parts(reasons)}.json"

    @cached_property
    def _code(self) -> str:
        """A digest of transformers' version or commit, and of our sources."""
        transformers = metadata.distribution("transformers")
        found = [f"{transformers.version}\n{transformers.read_text(ORIGIN)}\n"]
        root = Path(adamms.__file__).parent
        for package in PACKAGES:
            for source in sorted((root / package).rglob("*")):
                if source.suffix in (".py", ".yaml"):
                    found.append(f"{source.relative_to(root)}\n{source.read_text(encoding='utf-8')}")
        return digest_parts(found)


def _read(file: Path, kind: type[Fact]) -> Fact | None:
    """The fact in a file; None where there is none, not all of it, or where transformers is a checkout."""
    if '"editable": true' in (metadata.distribution("transformers").read_text(ORIGIN) or ""):
        return None
    try:
        digest, _, content = file.read_text(encoding="utf-8").partition("\n")
        return TypeAdapter(kind).validate_json(content) if digest == digest_parts([content]) else None
    except (OSError, ValueError):
        return None


def _write(file: Path, fact: object) -> None:
    content = TypeAdapter(type(fact)).dump_json(fact, exclude_defaults=True).decode()
    with suppress(AdammsError):  # a folder that cannot be written costs time only
        write_whole(file, f"{digest_parts([content])}\n{content}")
