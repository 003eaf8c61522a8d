"""Answers kept by content, so that a killed search continues and several jobs fill one store.

Owns the files. A folder of the store holds the answers of one model to whatever it was asked:

    STORE/<key>/key.json        what the model is, for people
    STORE/<key>/<writer>.jsonl  {"example": digest, "answer": text}, one line per answer; with "tokens" where
                                log-probabilities were asked for, which is part of the key

`key` is a digest of everything but the example that decides an answer: the recipe's fingerprint (or,
of a model that runs as it is, the checkpoint's), the tokenizer, processor and chat template beside
the target's weights, and the engine with its version and generation settings. `example` is a digest
of the question as it is put to the model and of the image's bytes; ids, tasks and labels are no part
of either. Fingerprints sample at most 3 x 4 KiB of every tensor (`Checkpoint.fingerprint`): a
checkpoint whose weights were edited by hand in between would not be noticed.

Every writer has a file of its own and only appends to it, so nobody waits for a lock and shared file
systems are safe; readers merge all files. A record is one `write`, handed to the operating system
before anyone sees the answer: a killed process loses no answer that the engine had given. They are
flushed to the disk at most a second later, and when a round of generation ends.
"""

import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Self

from adamms.checkpoint.fingerprint import fingerprint_side_files
from adamms.checkpoint.reader import Checkpoint
from adamms.data.example import Example
from adamms.engines.answer import Answer, from_json, to_json
from adamms.engines.base import Engine
from adamms.errors import AdammsError
from adamms.merge.recipe import Recipe

FORMAT = 1  # of keys and records: raise it with any change, so that no old answer is taken for a new one
FLUSH_SECONDS = 1.0


class AnswerStore:
    """The answers of one model on disk, and this process's own file among them.

    Args:
        folder: of the whole store; made when the first answer is kept.
        subject: what the answers are of, as plain data; its digest is the key.

    Raises:
        AdammsError: a folder that cannot be read or written.
    """

    def __init__(self, folder: Path, subject: Mapping[str, str]) -> None:
        self.subject = {"format": str(FORMAT), **subject}
        self.folder = folder / _digest(json.dumps(self.subject, sort_keys=True).encode())
        self._file: int | None = None
        self._flushed = 0.0

    def read(self) -> dict[str, Answer]:
        """Example digest -> answer, of all writers; of several answers the oldest writer's first.

        Lines that are torn or damaged are passed over: their examples count as not answered.
        """
        found: dict[str, Answer] = {}
        try:
            for file in sorted(self.folder.glob("*.jsonl")):  # names begin with the time of their making
                for line in file.read_bytes().split(b"\n")[:-1]:  # what follows the last newline is torn
                    record = _record(line)
                    if record is not None:
                        found.setdefault(*record)
        except OSError as error:
            raise AdammsError(f"store: {self.folder}: {error.strerror or error}") from error
        return found

    def add(self, example: str, answer: Answer) -> None:
        """Keep one answer; when this returns it survives the end of this process."""
        record: dict[str, object] = {"example": example, "answer": answer.text}
        if answer.tokens:
            record["tokens"] = to_json(answer.tokens)
        line = json.dumps(record, ensure_ascii=True).encode() + b"\n"
        try:
            if self._file is None:
                self._file = self._open()
            written = os.write(self._file, line)
            if time.monotonic() - self._flushed > FLUSH_SECONDS:
                os.fsync(self._file)
                self._flushed = time.monotonic()
        except OSError as error:
            raise AdammsError(f"store: {self.folder}: {error.strerror or error}") from error
        if written != len(line):
            self.close()  # the next answer gets a new file: nothing may follow a torn line
            raise AdammsError(
                f"store: {self.folder}: an answer could not be written whole; is the disk full?"
            )

    def close(self) -> None:
        """Flush to the disk and leave the file."""
        if self._file is not None:
            file, self._file = self._file, None
            try:
                os.fsync(file)
            except OSError as error:
                raise AdammsError(f"store: {self.folder}: {error.strerror or error}") from error
            finally:
                os.close(file)

    def _open(self) -> int:
        self.folder.mkdir(parents=True, exist_ok=True)
        description = self.folder / "key.json"
        if not description.exists():
            partial = self.folder / f".{uuid.uuid4().hex}"
            partial.write_text(json.dumps(self.subject, indent=2) + "\n", encoding="utf-8")
            partial.replace(description)
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex}.jsonl"
        self._flushed = time.monotonic()
        return os.open(self.folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o666)


class NoStore:
    """Keeps nothing."""

    def read(self) -> dict[str, Answer]:
        return {}

    def add(self, example: str, answer: Answer) -> None:
        """Forget it."""

    def close(self) -> None:
        """Nothing to close."""


class StoredEngine:
    """An engine that generates only what the store lacks, and starts only if something is missing.

    Args:
        engine: what generates; entered and left together with this one.
        folder: of the store; None for no store.
        checkpoint: the model that the engine was made from.

    Attributes:
        found: how many answers the store had so far.
        generated: how many were missing and have been generated.
    """

    def __init__(self, engine: Engine, folder: Path | None, checkpoint: Checkpoint) -> None:
        self.engine = engine
        self.folder = folder
        self.checkpoint = checkpoint
        self.found = 0
        self.generated = 0
        self._recipe: Recipe | None = None
        self._loaded = True  # as long as there is no recipe, the model as it is
        self._digests: dict[Example, str] = {}

    @property
    def identity(self) -> str:
        return self.engine.identity

    def __enter__(self) -> Self:
        self.engine.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._digests = {}
        self.engine.__exit__(*error)

    def load(self, recipe: Recipe) -> None:
        """Remember the recipe; the engine loads it when something turns out to be missing."""
        self._recipe, self._loaded = recipe, False

    def generate(self, examples: Sequence[Example]) -> Iterator[tuple[str, Answer]]:
        """Stored answers at once, then the missing ones as the engine gives and the store keeps them.

        Examples that ask the same of the same image get the same answer, generated once.
        """
        store = NoStore() if self.folder is None else AnswerStore(self.folder, self._subject())
        known = store.read()
        missing: dict[str, list[Example]] = {}
        for example in examples:
            digest = self._digest(example)
            if digest in known:
                self.found += 1
                yield example.id, known[digest]
            else:
                missing.setdefault(digest, []).append(example)
        if not missing:
            return
        if self._recipe is not None and not self._loaded:
            self.engine.load(self._recipe)
            self._loaded = True
        same = {alike[0].id: (digest, alike) for digest, alike in missing.items()}
        try:
            for name, answer in self.engine.generate([alike[0] for alike in missing.values()]):
                digest, alike = same[name]
                store.add(digest, answer)
                self.generated += len(alike)
                for example in alike:
                    yield example.id, answer
        finally:
            store.close()

    def _subject(self) -> dict[str, str]:
        model = (
            {"checkpoint": self.checkpoint.fingerprint}
            if self._recipe is None
            else {"recipe": self._recipe.fingerprint}
        )
        return model | {"inputs": self._inputs, "engine": self.engine.identity}

    @cached_property
    def _inputs(self) -> str:
        """A digest of what turns a question into the model's inputs and tokens into text."""
        return fingerprint_side_files(self.checkpoint.folder)

    def _digest(self, example: Example) -> str:
        if example not in self._digests:
            self._digests[example] = example_digest(example)
        return self._digests[example]


def example_digest(example: Example) -> str:
    """A digest of what the model is asked: the question's text and the image's bytes.

    Raises:
        AdammsError: an image that cannot be read.
    """
    image = None
    if example.image is not None:
        try:
            image = _digest(example.image.read_bytes())
        except OSError as error:
            raise AdammsError(f"image {example.image}: {error.strerror or error}") from error
    return _digest(json.dumps([example.question, image]).encode())


def _record(line: bytes) -> tuple[str, Answer] | None:
    """(example, answer) of a line; None if it is damaged."""
    with suppress(ValueError, TypeError, RecursionError):
        record = json.loads(line)
        if isinstance(record, dict):
            example, answer = record.get("example"), record.get("answer")
            if isinstance(example, str) and isinstance(answer, str):
                return example, Answer(answer, from_json(record.get("tokens", [])))
    return None


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
