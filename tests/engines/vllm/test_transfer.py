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

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"


class Workers:
    """Stands in for vLLM's engine: two workers that took nothing of these tensors."""

    def __init__(self, *unread: set[str]) -> None:
        self.swaps = [Swap(stale=False, unread=frozenset(names), size=8) for names in unread]
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
    """A model whose loader takes `rows` of every tensor but the head."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = slice(2, 5)
        self.got: dict[str, torch.Tensor] = {}

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        self.got = {name: weight[self.rows].clone() for name, weight in weights if name != HEAD}


@pytest.fixture
def swap(tmp_path: Path) -> tuple[Loader, Callable[[float], Swap]]:
    """A loader in a worker, and alpha -> what a swap to it did."""
    from adamms.engines.vllm.transfer import Begin, RecipeTransfer

    folders = [tiny.save_llama(tmp_path / name, seed) for seed, name in enumerate(("target", "donor"))]
    model, config = Loader(), SimpleNamespace(parallel_config=None, model_config=None)
    worker = RecipeTransfer(None, config, torch.device("cpu"), model)
    worker.init_transfer_engine(Begin(source_cache="mmap"))

    def to(alpha: float) -> Swap:
        worker.update_weights({"recipe": pickle.dumps(interpolated(*folders, alpha))})
        found = interpolated(*folders, alpha)
        for name, got in model.got.items():
            assert torch.equal(got, found.tensor(name)[model.rows])
        return worker.swap

    return model, to


@real
@pytest.mark.filterwarnings("ignore")  # of vLLM, when it is imported
def test_a_worker_reads_what_its_loader_took_at_first(swap: tuple[Loader, Callable[[float], Swap]]) -> None:
    model, to = swap
    first, later, back = to(0.3), to(0.6), to(0.0)
    assert first.unread == later.unread == back.unread == {HEAD}
    assert later.size == 2 * back.size < first.size / 4
    model.rows = slice(3, 7)
    with pytest.raises(AdammsError, match=r"read other rows of \S+ than the first time"):
        to(0.3)
