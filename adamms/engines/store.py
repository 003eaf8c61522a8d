"""Answers kept by content, so that a killed search continues and several jobs fill one store.

Owns the files. Knows nothing of engines and of search.
"""

import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adamms.engines.answer import Answer
from adamms.engines.digest import digest
from adamms.errors import AdammsError
from adamms.system.whole_file import write_whole

FORMAT = 1  # of keys and records: raise it with any change, so that no old answer is taken for a new one
FLUSH_SECONDS = 1.0
CHECKED = "-checked.jsonl"  # how the names of files end whose lines begin with a check
CHECK = b'{"check": "%s", %s'
CHECK_DIGITS = 16
UNPROVEN = ".unproven"  # in the place of .jsonl: an empty file beside one whose answers are not proven


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
        unproven: how many answers of the last `read` came from swaps that nobody has proven.
        written: this process's own files.

    Raises:
        AdammsError: a folder that cannot be read or written.
    """

    def __init__(self, folder: Path, subject: Mapping[str, str]) -> None:
        self.subject = {"format": str(FORMAT), **subject}
        self.folder = folder / digest(json.dumps(self.subject, sort_keys=True).encode())
        self.damaged = self.unproven = 0
        self.written: list[Path] = []
        self._file: int | None = None
        self._flushed = 0.0

    def read(self) -> dict[str, Answer]:
        """Example digest -> answer, of all writers.

        Torn and damaged lines are left out and counted in `damaged`: their examples are not answered.
        """
        found: dict[str, Answer] = {}
        self.damaged = self.unproven = 0
        with self._explained():
            unproven = {file.stem for file in self.folder.glob(f"*{UNPROVEN}")}
            for file in sorted(self.folder.glob("*.jsonl")):
                before, checked = len(found), file.name.endswith(CHECKED)
                *lines, torn = file.read_bytes().split(b"\n")
                self.damaged += torn != b""
                for line in lines:
                    try:
                        record = self._record(line) if checked else json.loads(line)
                        found.setdefault(record["example"], Answer.from_json(record))
                    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                        self.damaged += 1
                if file.stem in unproven:
                    self.unproven += len(found) - before
        return found

    def add(self, example: str, answer: Answer, doubtful: bool = False) -> None:
        """Keep one answer; when this returns it survives the end of this process.

        Args:
            doubtful: whether its file is to be marked, until `proven`, as not proven.
        """
        content = json.dumps({"example": example} | answer.to_json())[1:].encode()
        line = CHECK % (self._check(content), content) + b"\n"
        whole = False
        try:
            with self._explained():
                if self._file is None:
                    self._file = self._open(doubtful)
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

    def _open(self, doubtful: bool) -> int:
        self.folder.mkdir(parents=True, exist_ok=True)
        description = self.folder / "key.json"
        if not description.exists():
            write_whole(description, json.dumps(self.subject, indent=2) + "\n")
        self.written.append(self.folder / f"{time.time_ns():020d}-{uuid.uuid4().hex}{CHECKED}")
        self._flushed = time.monotonic()
        if doubtful:
            self.written[-1].with_suffix(UNPROVEN).touch()
        return os.open(self.written[-1], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o666)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """The system's errors with the store's folder, or the file in it."""
        try:
            yield
        except OSError as error:
            place = error.filename or self.folder
            raise AdammsError(f"store: {place}: {error.strerror or error}") from error


def proven(files: Iterable[Path]) -> None:
    """Take the marks from files whose answers are proven, or which are gone."""
    for file in files:
        file.with_suffix(UNPROVEN).unlink(missing_ok=True)


class NoStore:
    """Keeps nothing."""

    damaged = unproven = 0
    written: Sequence[Path] = ()

    def read(self) -> dict[str, Answer]:
        return {}

    def add(self, example: str, answer: Answer, doubtful: bool = False) -> None:
        """Forget it."""

    def close(self) -> None:
        """Nothing to close."""
