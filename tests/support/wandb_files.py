"""Reads what an offline run of Weights & Biases left: its `.wandb` log of records, its tables and artifacts.

The log is leveldb's log format behind a header of 7 bytes: blocks of 32 KiB, each record with its checksum,
length and kind (whole, first, middle, last), holding serialised `wandb_internal_pb2.Record`s.
"""

import json
import os
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

BLOCK, HEADER = 1 << 15, 7
PATIENCE = 30  # seconds
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class OfflineRun:
    """What the records of one run say, and where its files are."""

    folder: Path
    started: int = 0  # nanoseconds
    id: str = ""
    project: str = ""
    group: str = ""
    job_type: str = ""
    name: str = ""
    sweep: str = ""
    tags: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, tuple[str, bool]] = field(default_factory=dict)  # name -> its step, hidden
    artifacts: dict[str, Any] = field(default_factory=dict)  # type -> the last artifact's record
    tables: dict[str, Any] = field(default_factory=dict)  # path -> its manifest's entry
    exit_code: int | None = None

    def entries(self, kind: str) -> dict[str, Any]:
        """Path in the artifact -> its manifest's entry."""
        return {entry.path: entry for entry in self.artifacts[kind].manifest.contents}

    def metadata(self, kind: str) -> dict[str, Any]:
        return json.loads(self.artifacts[kind].metadata)

    def table(self, name: str) -> list[dict[str, Any]]:
        """The rows of the table as it lies in its artifact, with the images."""
        entry = self.tables[f"{name}.table.json"]
        content = json.loads(Path(entry.local_path).read_text())
        return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]


def offline_runs(folder: Path) -> list[OfflineRun]:
    """Those below the folder, in the order in which they began, all of them ended.

    wandb's service writes the end of an offline run after `finish` has returned.
    """
    logs = [log for log in folder.rglob("run-*.wandb") if not log.parent.is_symlink()]
    deadline = time.monotonic() + PATIENCE
    while True:
        runs = sorted(map(read, logs), key=lambda run: run.started)
        if all(run.exit_code is not None for run in runs) or time.monotonic() > deadline:
            return runs
        time.sleep(0.05)


def running(folder: Path, rows: int) -> OfflineRun:
    """The one run below the folder, which need not have ended, as soon as its history has so many rows."""
    deadline = time.monotonic() + PATIENCE
    while True:
        (log,) = (log for log in folder.rglob("run-*.wandb") if not log.parent.is_symlink())
        run = read(log) if log.stat().st_size > HEADER else OfflineRun(log.parent)
        if len(run.history) >= rows or time.monotonic() > deadline:
            return run
        time.sleep(0.05)


def read(log: Path) -> OfflineRun:
    from wandb.proto import wandb_internal_pb2

    run = OfflineRun(log.parent)
    for content in _contents(log.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        _take(run, record)
    return run


def _take(run: OfflineRun, record: Any) -> None:
    kind = record.WhichOneof("record_type")
    if kind == "run":
        own = record.run
        run.id, run.project, run.group, run.job_type = own.run_id, own.project, own.run_group, own.job_type
        run.started = own.start_time.ToNanoseconds()
        run.name, run.sweep, run.tags = own.display_name, own.sweep_id, tuple(own.tags)
        run.config |= {item.key: json.loads(item.value_json) for item in own.config.update}
    elif kind == "config":
        run.config |= {item.key: json.loads(item.value_json) for item in record.config.update if item.key}
    elif kind == "history":
        run.history.append({_key(item): json.loads(item.value_json) for item in record.history.item})
    elif kind == "summary":
        run.summary |= {_key(item): json.loads(item.value_json) for item in record.summary.update}
        for item in record.summary.remove:
            run.summary.pop(_key(item), None)
    elif kind == "metric":
        found = record.metric
        run.metrics[found.name or found.glob_name] = (found.step_metric, found.options.hidden)
    elif kind == "artifact":
        run.artifacts[record.artifact.type] = record.artifact
        if record.artifact.type == "run_table":
            run.tables |= {entry.path: entry for entry in record.artifact.manifest.contents}
    elif kind == "exit":
        run.exit_code = record.exit.exit_code


def _key(item: Any) -> str:
    return item.key or "/".join(item.nested_key)


def _contents(log: bytes) -> Iterator[bytes]:
    """What each whole record holds, checksums checked."""
    assert log[:4] == b":W&B", log[:HEADER]
    at, parts = HEADER, []
    while at + HEADER <= len(log):
        room = BLOCK - at % BLOCK
        if room < HEADER:
            at += room
            continue
        checksum, length, kind = struct.unpack_from("<IHB", log, at)
        data = log[at + HEADER : at + HEADER + length]
        if len(data) < length:
            return  # it is being written
        assert zlib.crc32(bytes([kind]) + data) == checksum, f"damaged at {at}"
        parts.append(data)
        if kind in (WHOLE, LAST):
            yield b"".join(parts)
            parts = []
        at += HEADER + length


def separate(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Nobody's login, settings or directories: wandb finds what a new user has, below `folder`."""
    for name in [name for name in os.environ if name.startswith("WANDB_") and name != "WANDB_SERVICE"]:
        monkeypatch.delenv(name)
    for name, place in (("WANDB_CACHE_DIR", "cache"), ("WANDB_CONFIG_DIR", "config"), ("HOME", "home")):
        monkeypatch.setenv(name, str(folder / "wandb-home" / place))
