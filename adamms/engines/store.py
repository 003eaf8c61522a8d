"""Answers kept by content, so that a killed search continues and several jobs fill one store.

Owns the files and what makes two answers the same one. Knows nothing of search.
"""

import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Self

from adamms.checkpoint.fingerprint import fingerprint_side_files
from adamms.checkpoint.reader import Checkpoint
from adamms.checkpoint.whole_file import write_whole
from adamms.data.example import Example
from adamms.engines.answer import Answer
from adamms.engines.base import Engine
from adamms.engines.digest import digest, example_digest
from adamms.errors import AdammsError
from adamms.merge.recipe import Recipe

FORMAT = 1  # of keys and records: raise it with any change, so that no old answer is taken for a new one
OF_SCORES = {"of": "scores"}  # what the key of scores has beside that of answers
FLUSH_SECONDS = 1.0
CHECKED = "-checked.jsonl"  # how the names of files end whose lines begin with a check
CHECK = b'{"check": "%s", %s'
CHECK_DIGITS = 16


class AnswerStore:
    """The answers of one model on disk, and this process's own file among them.

        STORE/<key>/key.json        what the model is, for people
        STORE/<key>/<writer>-checked.jsonl
                                    {"check": digest, "example": digest, "answer": text}, one line per answer;
                                    with "tokens" where log-probabilities were asked for

    Every writer has a file of its own and only appends to it. So nobody waits for a lock, and shared file
    systems are safe; readers merge all files. A record is one `write`, handed to the operating system before
    anyone sees the answer: a killed process loses no answer that the engine has given. Records reach the
    disk at most a second later, and when a round of generation ends.

    "check" is a digest of the rest of the line and of the key, so that a damaged line, or one of another
    model, is left out. Files of version 0.2.0 have none, and other names: a line there counts if it is JSON.
    Of several answers to one example the first one counts, in the order of the files' names, which begin
    with the time of their making: what a run has read, every later run reads.

    Args:
        folder: of the whole store; made when the first answer is kept.
        subject: what the answers are of, as plain data; its digest is the key.

    Attributes:
        damaged: how many lines the last `read` has left out.

    Raises:
        AdammsError: a folder that cannot be read or written.
    """

    def __init__(self, folder: Path, subject: Mapping[str, str]) -> None:
        self.subject = {"format": str(FORMAT), **subject}
        self.folder = folder / digest(json.dumps(self.subject, sort_keys=True).encode())
        self.damaged = 0
        self._file: int | None = None
        self._flushed = 0.0

    def read(self) -> dict[str, Answer]:
        """Example digest -> answer, of all writers.

        Torn and damaged lines are left out and counted in `damaged`: their examples are not answered.
        """
        found: dict[str, Answer] = {}
        self.damaged = 0
        with self._explained():
            for file in sorted(self.folder.glob("*.jsonl")):
                checked = file.name.endswith(CHECKED)
                *lines, torn = file.read_bytes().split(b"\n")
                self.damaged += torn != b""
                for line in lines:
                    try:
                        record = self._record(line) if checked else json.loads(line)
                        found.setdefault(record["example"], Answer.from_json(record))
                    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                        self.damaged += 1
        return found

    def add(self, example: str, answer: Answer) -> None:
        """Keep one answer; when this returns it survives the end of this process."""
        content = json.dumps({"example": example} | answer.to_json())[1:].encode()
        line = CHECK % (self._check(content), content) + b"\n"
        whole = False
        try:
            with self._explained():
                if self._file is None:
                    self._file = self._open()
                whole = os.write(self._file, line) == len(line)
                if time.monotonic() - self._flushed > FLUSH_SECONDS:
                    os.fsync(self._file)
                    self._flushed = time.monotonic()
        finally:
            if not whole:
                self.close()  # the next answer gets a new file: nothing may follow a torn line
        if not whole:
            raise AdammsError(
                f"store: {self.folder}: an answer could not be written whole; is the disk full?"
            )

    def close(self) -> None:
        """Flush to the disk and leave the file."""
        if self._file is None:
            return
        file, self._file = self._file, None
        with self._explained(), os.fdopen(file, "wb", buffering=0):
            os.fsync(file)

    def _record(self, line: bytes) -> dict[str, Any]:
        """A line's record.

        Raises:
            ValueError: it is damaged.
        """
        content = line[len(CHECK % (b"0" * CHECK_DIGITS, b"")) :]
        if line != CHECK % (self._check(content), content):
            raise ValueError("the line is damaged")
        return dict[str, Any](json.loads(b"{" + content))

    def _check(self, content: bytes) -> bytes:
        """The digest that stands at the beginning of a line."""
        key = self.folder.name.encode()
        return hashlib.blake2b(content, key=key, digest_size=CHECK_DIGITS // 2).hexdigest().encode()

    def _open(self) -> int:
        self.folder.mkdir(parents=True, exist_ok=True)
        description = self.folder / "key.json"
        if not description.exists():
            write_whole(description, json.dumps(self.subject, indent=2) + "\n")
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex}{CHECKED}"
        self._flushed = time.monotonic()
        return os.open(self.folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o666)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """The system's errors with the store's folder, or the file in it."""
        try:
            yield
        except OSError as error:
            place = error.filename or self.folder
            raise AdammsError(f"store: {place}: {error.strerror or error}") from error


class NoStore:
    """Keeps nothing."""

    damaged = 0

    def read(self) -> dict[str, Answer]:
        return {}

    def add(self, example: str, answer: Answer) -> None:
        """Forget it."""

    def close(self) -> None:
        """Nothing to close."""


class StoredEngine:
    """An engine that generates only what the store lacks, and starts only if something is missing.

    The key holds everything but the example that decides an answer: the recipe's fingerprint (or, of a model
    that runs as it is, the checkpoint's), the tokenizer, processor and chat template beside the target's
    weights, and the engine with its version and generation settings. Fingerprints sample at most 3 x 4 KiB of
    every tensor (`checkpoint.fingerprint`), so a few weights edited by hand may go unnoticed.

    Args:
        engine: what generates; entered and left together with this one.
        folder: of the store; None for no store.
        checkpoint: the model that the engine was made from.

    Attributes:
        found: how many answers the store had so far.
        generated: how many were missing and have been generated.
        scores_found, scores_made: the same of scores.
        damaged: how many lines of the store were left out, being torn or changed.
    """

    def __init__(self, engine: Engine, folder: Path | None, checkpoint: Checkpoint) -> None:
        self.engine = engine
        self.folder = folder
        self.checkpoint = checkpoint
        self.found = 0
        self.generated = 0
        self.scores_found = 0
        self.scores_made = 0
        self._damaged: dict[str, int] = {}  # by what the answers are of
        self._recipe: Recipe | None = None
        self._loaded = True  # as long as there is no recipe, the model as it is
        self._digest = cache(example_digest)

    @property
    def identity(self) -> str:
        return self.engine.identity

    @property
    def damaged(self) -> int:
        return sum(self._damaged.values())

    def __enter__(self) -> Self:
        self.engine.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._digest.cache_clear()
        self.engine.__exit__(*error)

    def load(self, recipe: Recipe) -> None:
        """Remember the recipe; the engine loads it when an answer turns out to be missing."""
        self._recipe, self._loaded = recipe, False

    def generate(self, examples: Sequence[Example]) -> Iterator[tuple[str, Answer]]:
        """Stored answers at once, then the missing ones as the engine gives and the store keeps them.

        Examples that ask the same of the same image get the same answer, generated once.
        """

        def ask(places: Sequence[int]) -> Iterator[tuple[int, Answer]]:
            by_id = {examples[place].id: place for place in places}
            for name, answer in self.engine.generate([examples[place] for place in places]):
                yield by_id[name], answer

        digests = [self._digest(example) for example in examples]
        for place, answer, known in self._given(self._subject(), digests, ask):
            self.found += known
            self.generated += not known
            yield examples[place].id, answer

    def score(self, said: Sequence[tuple[Example, str]]) -> Iterator[tuple[int, Answer]]:
        """As `generate`, for scores. They have keys of their own in the store."""

        def ask(places: Sequence[int]) -> Iterator[tuple[int, Answer]]:
            for number, answer in self.engine.score([said[place] for place in places]):
                yield places[number], answer

        digests = [digest(json.dumps([self._digest(example), text]).encode()) for example, text in said]
        for place, answer, known in self._given(self._subject() | OF_SCORES, digests, ask):
            self.scores_found += known
            self.scores_made += not known
            yield place, answer

    def _given(
        self,
        subject: Mapping[str, str],
        digests: Sequence[str],
        ask: Callable[[Sequence[int]], Iterator[tuple[int, Answer]]],
    ) -> Iterator[tuple[int, Answer, bool]]:
        """(place in `digests`, answer, whether the store had it); what is the same is asked once.

        Args:
            ask: has the engine answer what is at these places.
        """
        store = NoStore() if self.folder is None else AnswerStore(self.folder, subject)
        known = store.read()
        self._damaged.setdefault(str(subject), store.damaged)  # later it includes what others are writing now
        missing: dict[str, list[int]] = {}
        for place, key in enumerate(digests):
            if key in known:
                yield place, known[key], True
            else:
                missing.setdefault(key, []).append(place)
        if not missing:
            return
        if self._recipe is not None and not self._loaded:
            self.engine.load(self._recipe)
            self._loaded = True
        with closing(store):
            for asked, answer in ask([alike[0] for alike in missing.values()]):
                store.add(digests[asked], answer)
                for place in missing[digests[asked]]:
                    yield place, answer, False

    def _subject(self) -> dict[str, str]:
        own, recipe = self.checkpoint, self._recipe
        model = {"checkpoint": own.fingerprint} if recipe is None else {"recipe": recipe.fingerprint}
        return model | {"inputs": self._inputs, "engine": self.engine.identity}

    @cached_property
    def _inputs(self) -> str:
        """A digest of what turns a question into the model's inputs, and tokens into text."""
        return fingerprint_side_files(self.checkpoint.folder)
