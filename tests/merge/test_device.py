"""Which device `merge.device` names, and what is said where it is not there."""

from pathlib import Path

import pytest
import torch
from command import pair

from adamms.errors import AdammsError
from adamms.merge.device import check_device


def test_the_processor() -> None:
    assert check_device("cpu") == "cpu"


@pytest.mark.parametrize("given", ["gpu", "cuda:", "cuda:x", "cuda:-1", "CUDA", "mps", 0, None, True])
def test_a_device_that_is_none(given: object) -> None:
    with pytest.raises(AdammsError, match=r"merge.device is .*; expected cpu, cuda or cuda:N"):
        check_device(given)


@pytest.mark.parametrize(
    ("cuda", "count", "given", "message"),
    [
        (None, 0, "cuda", r"this PyTorch, .*, is built without CUDA; .*merge.device=cpu"),
        ("13.0", 0, "cuda", r"PyTorch finds no GPU .*merge.device=cpu"),
        ("13.0", 1, "cuda:1", r"there is cuda:0; .*merge.device=cpu"),
        ("13.0", 4, "cuda:7", r"there is cuda:0 to cuda:3; .*merge.device=cpu"),
    ],
)
def test_a_gpu_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, cuda: str | None, count: int, given: str, message: str
) -> None:
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(AdammsError, match=message):
        check_device(given)


@pytest.mark.parametrize(("given", "index"), [("cuda", 2), ("cuda:3", 3)])
def test_a_gpu_has_a_number(monkeypatch: pytest.MonkeyPatch, given: str, index: int) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    assert check_device(given) == torch.device("cuda", index)


def test_it_is_said_before_any_model_is_opened(run, tmp_path: Path) -> None:
    models = [*pair(tmp_path / "nowhere"), f"output={tmp_path / 'out'}"]
    done = run("mode=merge", *models, "merge.device=cuda:99")
    assert done.status != 0
    assert "merge.device=cuda:99" in done.err
    assert "merge.device=cpu" in done.err
