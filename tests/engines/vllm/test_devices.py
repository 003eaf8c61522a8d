"""What each of several vLLM processes may use."""

import os

import pytest
import torch

from adamms.engines.vllm.devices import PROCESSORS, VISIBLE, shares
from adamms.errors import AdammsError


@pytest.fixture
def processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 3, 4, 5, 6, 7, 8})
    monkeypatch.delenv(PROCESSORS, raising=False)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 5)
    monkeypatch.delenv(VISIBLE, raising=False)


@pytest.mark.usefixtures("processors")
class TestProcessors:
    def test_one_model_is_left_to_vllm(self) -> None:
        assert shares(1, 1) == [{}]

    def test_they_are_split_evenly(self) -> None:
        assert shares(2, 1) == [{PROCESSORS: "2,3,4"}, {PROCESSORS: "5,6,7"}]
        assert shares(1, 2) == [{PROCESSORS: "2,3,4|5,6,7"}]
        assert shares(3, 2) == [{PROCESSORS: "2|3"}, {PROCESSORS: "4|5"}, {PROCESSORS: "6|7"}]

    def test_what_the_user_has_set_stays(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(PROCESSORS, "0|1")
        assert shares(1, 2) == [{}]

    def test_too_few(self) -> None:
        with pytest.raises(
            AdammsError, match=r"data_parallel_size=4 with 2 processors for .* needs 8, not 7"
        ):
            shares(4, 2)


@pytest.mark.usefixtures("gpus")
class TestGpus:
    def test_one_model_is_left_to_vllm(self) -> None:
        assert shares(1, 4) == [{}]

    def test_each_model_has_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert shares(2, 2) == [{VISIBLE: "0,1"}, {VISIBLE: "2,3"}]
        monkeypatch.setenv(VISIBLE, "7,3,GPU-1a")
        assert shares(3, 1) == [{VISIBLE: "7"}, {VISIBLE: "3"}, {VISIBLE: "GPU-1a"}]

    def test_too_few(self) -> None:
        with pytest.raises(AdammsError, match=r"with 2 GPUs for .* needs 6, not 5\. .*=ray spreads"):
            shares(3, 2)
        with pytest.raises(AdammsError, match="needs 6, not 5"):
            shares(1, 6)
