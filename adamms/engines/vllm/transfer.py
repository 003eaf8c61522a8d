"""How a candidate gets into vLLM: through its weight transfer, whose update here is a recipe.

Runs in every worker process of vLLM: merges, and hands the result to the model's own loader, which fuses,
shards and repacks. Knows nothing of requests.
"""

import logging
import pickle
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from vllm.distributed.weight_transfer import WeightTransferEngine
from vllm.distributed.weight_transfer.base import WeightTransferInitInfo, WeightTransferUpdateInfo
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

from adamms.engines.vllm.messages import Swap
from adamms.engines.vllm.reads import Reads, joined
from adamms.errors import AdammsError
from adamms.merge.recipe import Recipe
from adamms.merge.sources import Sources

RELOAD_LOGGER = initialize_layerwise_reload.__module__
# vLLM's class -> {name in the file: the name that a reload expects}. Phi-3-vision's two embeddings are one
# parameter. The first load takes either name; from then on vLLM skips the second and misses the first.
TIED = {"Phi3VForCausalLM": {"model.embed_tokens.weight": "model.vision_embed_tokens.wte.weight"}}
# vLLM's class -> a tensor whose block its loader insists on: Molmo2's joins two tensors to one of embeddings.
NEEDED = {"Molmo2ForConditionalGeneration": "model.transformer.wte.embedding"}


@dataclass
class Begin(WeightTransferInitInfo):
    """Where the merge's inputs stay between candidates: `Sources.cache`."""

    source_cache: str


@dataclass
class Update(WeightTransferUpdateInfo):
    """A pickled `Recipe`."""

    recipe: bytes


@dataclass(frozen=True)
class CountedSources(Sources):
    """The same, and the sizes of all that was read, in bytes."""

    sizes: list[int] = field(default_factory=list)

    def note(self, size: int) -> None:
        self.sizes.append(size)  # threads may do so at the same time


class RecipeTransfer(WeightTransferEngine[Begin, Update]):
    """One worker's side of vLLM's weight transfer.

    Attributes:
        swap: what the last update did here.
        wanted: tensor -> the rows that the model's loader read of it when it first got it: all that this
            worker keeps. No others are merged, and tensors without any are left out. See `learn`.
    """

    init_info_cls = Begin
    update_info_cls = Update
    supports_draft_weight_update = False

    def init_transfer_engine(self, init_info: Begin) -> None:
        device = self.device or torch.device("cpu")
        self.wanted: dict[str, list[range]] = {}
        self.sources = CountedSources(device, init_info.source_cache, wanted=self.wanted)
        self.written: set[str] = set()
        self.read: dict[str, list[range]] = {}
        self.swap = Swap(stale=False, unread=frozenset(), size=0, again=False)

    def start_weight_update(self) -> None:
        if self.sources.on_cpu:
            _pack_experts_again(self.model)
        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """As vLLM's, which waits for an accelerator at the end, also where there is none."""
        self.receive_weights(self.parse_update_info(update_info))
        if not self.sources.on_cpu:
            torch.accelerator.synchronize()

    @torch.no_grad()
    def receive_weights(self, update_info: Update) -> None:
        recipe: Recipe = pickle.loads(update_info.recipe)
        merged = set(recipe.mapped)
        kind = type(self.model).__name__
        needed = {NEEDED[kind]} if kind in NEEDED else set()
        names = [
            name
            for name in with_siblings(merged | self.written | needed, recipe.target.tensors)
            if self.wanted.get(name) != []
        ]
        tied = TIED.get(kind, {})
        renamed = {old: new for old, new in tied.items() if new not in recipe.target.tensors}
        workers = None if self.sources.on_cpu else 1
        with Reads() as reads:
            tensors = recipe.tensors(names=names, workers=workers, sources=self.sources)
            given = ((renamed.get(name, name), reads.give(name, tensor)) for name, tensor in tensors)
            self.model.load_weights(given)
        self.read = {name: reads.rows.get(name, []) for name in names}
        more = [name for name in reads.rows if self._reads_more(name)]
        for name in more:
            self.wanted[name] = [range(len(recipe.target.rows(name)))]
        size = sum(self.sources.sizes)
        self.sources.sizes.clear()
        changed, self.written = merged | self.written, merged | (self.written if more else set())
        stale = any(slot.name in changed and not slot.role for slot in recipe.plan.slots)
        self.swap = Swap(stale, frozenset(merged - reads.rows.keys()), size, bool(more))

    def _reads_more(self, name: str) -> bool:
        """Whether rows of the tensor were read just now that are not wanted, and so were not merged."""
        known = self.wanted.get(name)
        return known is not None and joined([*known, *self.read[name]]) != known

    def learn(self) -> None:
        """From now on want of a tensor what was read of it in the last update, if nothing is known of it.

        To be called when no worker has lost anything: what was lost once would never be given again.
        """
        self.wanted |= {name: rows for name, rows in self.read.items() if name not in self.wanted}

    def finish_weight_update(self) -> None:
        with quiet(RELOAD_LOGGER):
            finalize_layerwise_reload(self.model, self.model_config)

    def shutdown(self) -> None:
        """Nothing is held that the worker's end does not free."""


def with_siblings(names: set[str], known: Iterable[str]) -> list[str]:
    """`names`, and the tensors of `known` that vLLM may fuse with one of them into one parameter.

    vLLM fuses neighbours (q, k, v; gate, up; weight, bias; all experts) and must reload a fused layer as
    a whole. So a tensor travels with all that share its parent's parent, an expert with all of its layer.
    """
    if missing := sorted(names - set(known)):
        raise AdammsError(f"the live model has no tensor {missing[0]!r}")
    blocks = {_block(name) for name in names}
    return [name for name in known if _block(name) in blocks]


def _block(name: str) -> tuple[str, ...]:
    """('0', 'mlp') of '0.mlp.up_proj.weight', and of '0.mlp.experts.7.up_proj.weight'."""
    path = name.split(".")
    return tuple(path[: path.index("experts")] if "experts" in path else path[:-2])


def _pack_experts_again(model: Any) -> None:
    """Have vLLM lay out experts for its CPU kernel when it has reloaded them.

    vLLM 0.32 does so only while it makes that kernel, and leaves later weights as they are in the file.
    """
    for layer in model.modules():
        method: Any = getattr(layer, "quant_method", None)
        if getattr(method, "moe_kernel", None) is not None:
            method.moe_kernel = None


@contextmanager
def quiet(logger: str) -> Iterator[None]:
    """Silence this logger's warnings: vLLM warns of every layer that it is not given."""
    level = logging.getLogger(logger).level
    logging.getLogger(logger).setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.getLogger(logger).setLevel(level)
