"""What vLLM's workers keep of a candidate, and what is said of a merged tensor that none of them took."""

import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch
from test_vllm import real
from tiny_merges import interpolated

from adamms.engines.vllm.messages import Swap
from adamms.engines.vllm.process import Server
from adamms.errors import AdammsError

HEAD = "lm_head.weight"


class Workers:
    """Stands in for vLLM's engine: two workers that took nothing of these tensors."""

    def __init__(self, *unread: set[str]) -> None:
        self.swaps = [Swap(stale=False, unread=frozenset(names), size=8, again=False) for names in unread]
        self.version = ""

    def collective_rpc(self, method: str, args: Any = (), kwargs: Any = None) -> list[Any]:
        return self.swaps if method == "adamms_swap" else [None, None]

    def set_weight_version(self, version: str) -> None:
        self.version = version

    def reset_prefix_cache(self) -> bool:
        return True


def server(workers: Workers, verify: bool) -> Server:
    made = object.__new__(Server)
    made.engine, made.verify = workers, verify
    return made


def test_a_merged_tensor_that_no_worker_takes_is_an_error() -> None:
    with pytest.raises(AdammsError, match=r"took nothing of 1 merged tensors \(b\); leave .*mapper\.exclude"):
        server(Workers({"a", "b"}, {"b", "c"}), True).load(b"", "v")


@pytest.mark.parametrize(("unread", "verify"), [(({"a"}, {"c"}), True), (({"b"}, {"b"}), False)])
def test_one_worker_is_enough_and_the_check_can_be_left_out(unread: Any, verify: bool) -> None:
    workers = Workers(*unread)
    made = server(workers, verify)
    made.load(b"", "fingerprint")
    assert (workers.version, made.bytes_read) == ("fingerprint", (8, 8))


class Loader(torch.nn.Module):
    """A model whose loader takes `rows` of every tensor but those in `loses`."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = slice(2, 5)
        self.loses: set[str] = set()
        self.loads = 0
        self.got: dict[str, torch.Tensor] = {}

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        self.loads += 1
        self.got = {name: weight[self.rows].clone() for name, weight in weights if name not in self.loses}


class OneWorker(Workers):
    """Stands in for vLLM's engine: hands what it is asked to our side of one worker."""

    def __init__(self, worker: Any) -> None:
        super().__init__()
        self.worker = worker

    def collective_rpc(self, method: str, args: Any = (), kwargs: Any = None) -> list[Any]:
        if method == "update_weights":
            self.worker.update_weights(**kwargs)
        if method == "adamms_learn":
            self.worker.learn()
        return [self.worker.swap]

    def reset_encoder_cache(self) -> None:
        """Nothing is held."""


@pytest.fixture
def swap(tmp_path: Path) -> tuple[Loader, Callable[[float], int]]:
    """A loader in an engine that goes on unchecked, and alpha -> the bytes that a swap to it read."""
    from adamms.engines.vllm.transfer import Begin, RecipeTransfer

    folders = [tiny.save_llama(tmp_path / name, seed) for seed, name in enumerate(("target", "donor"))]
    model, config = Loader(), SimpleNamespace(parallel_config=None, model_config=None)
    worker = RecipeTransfer(None, config, torch.device("cpu"), model)
    worker.init_transfer_engine(Begin(source_cache="mmap"))
    made = server(OneWorker(worker), verify=False)

    def to(alpha: float) -> int:
        recipe = interpolated(*folders, alpha)
        made.load(pickle.dumps(recipe), str(alpha))
        for name, got in model.got.items():
            assert torch.equal(got, recipe.tensor(name)[model.rows])
        assert worker.swap.unread == frozenset(model.loses)
        return made.bytes_read[0]

    return model, to


@real
@pytest.mark.filterwarnings("ignore")  # of vLLM, when it is imported
def test_a_worker_reads_what_its_loader_took_at_first(swap: tuple[Loader, Callable[[float], int]]) -> None:
    """And all of a tensor, at once, of which the loader takes more than at first."""
    model, to = swap
    first, later, back = to(0.3), to(0.6), to(0.0)
    assert later == 2 * back < first / 4
    model.rows = slice(3, 7)
    assert to(0.3) == first
    assert model.loads == 5
    assert to(0.6) == first
    assert model.loads == 6


@real
@pytest.mark.filterwarnings("ignore")
def test_of_a_swap_that_lost_a_tensor_nothing_is_learnt(swap: tuple[Loader, Callable[[float], int]]) -> None:
    model, to = swap
    model.loses = {HEAD}
    first = to(0.3)
    assert to(0.6) == first
    model.loses = set()
    assert to(0.3) == first
    assert HEAD in model.got
    assert to(0.6) < first / 4
