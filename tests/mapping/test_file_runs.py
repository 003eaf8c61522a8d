"""Values are read from files however much the system gives at once."""

import os
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from adamms.checkpoint.reader import open_checkpoint
from adamms.errors import AdammsError
from adamms.mapping import file_runs
from adamms.mapping.file_runs import FileRun, read_floats


@pytest.fixture
def runs(tmp_path: Path) -> list[FileRun]:
    """Of floats of three kinds, two runs of one kind beside each other."""
    state = {
        "a": torch.arange(40).bfloat16(),
        "b": torch.arange(40.0) / 3,
        "c": torch.arange(8).half(),
    }
    tensors = open_checkpoint(tiny.write_model(tmp_path / "model", state)).tensors
    places = [("a", 3, 5), ("a", 30, 9), ("b", 1, 7), ("c", 0, 8), ("a", 0, 1)]
    return [FileRun(tensors[name], first, count) for name, first, count in places]


def test_runs_come_one_after_the_other_as_float32(
    runs: list[FileRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    thirds = np.arange(1, 8, dtype=np.float32) / np.float32(3)
    expected = np.concatenate([np.arange(3, 8), np.arange(30, 39), thirds, np.arange(8), [0]])
    assert read_floats(runs).dtype == np.float32
    np.testing.assert_array_equal(read_floats(runs), expected.astype(np.float32))
    real = os.preadv
    monkeypatch.setattr(file_runs.os, "preadv", lambda file, to, at: real(file, [to[0][:7]], at))
    np.testing.assert_array_equal(read_floats(runs), expected.astype(np.float32))


def test_a_file_that_ends_is_told_of(runs: list[FileRun], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_runs.os, "preadv", lambda *_: 0)
    with pytest.raises(AdammsError, match=r"model\.safetensors: is shorter than it was"):
        read_floats(runs)
