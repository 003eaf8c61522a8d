"""Embeddings and head that a base ties to one table, and what is left of that under an adapter.

PEFT gives each module that it trains as a whole (`modules_to_save`) a table of its own: the two are no
longer tied, neither when PEFT runs the adapter nor in what its merge_and_unload writes. With LoRA on the one
table these two differ, see `LORA_ON_A_TIED_TABLE`. Knows no files of PEFT.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from adamms.checkpoint.adapters.adapted import Change
from adamms.checkpoint.quantised.quantised import rows_of
from adamms.checkpoint.reader import Checkpoint
from adamms.checkpoint.tensor_entry import TensorEntry
from adamms.errors import AdammsError

EMBEDDINGS, HEAD = "embed_tokens.weight", "lm_head.weight"
TIES = "tie_word_embeddings"
LORA_ON_A_TIED_TABLE = (
    "LoRA on embeddings that the base ties to its head: the head changes with them, as in what PEFT's "
    "merge_and_unload writes. When PEFT runs the adapter, the head stays the base's: for that, untie the "
    "base before merge_and_unload (clone lm_head.weight, tie_word_embeddings=False), and give the result as "
    "the model"
)
_ROWS = 1024


@dataclass(frozen=True)
class Tied:
    """Names in the checkpoint's files.

    Args:
        embeddings: of the one table.
        head: what the head is stored as, or would be.
    """

    embeddings: str
    head: str


@dataclass(frozen=True)
class Settled:
    """What an adapter makes of a base whose table may be tied.

    Args:
        changes: name -> what the adapter makes of it.
        untied: whether embeddings and head are two tables now.
        note: what there is to say of it; "" if nothing.
    """

    changes: Mapping[str, Change]
    untied: bool = False
    note: str = ""


def is_head(name: str) -> bool:
    return f".{name}".endswith(f".{HEAD}")


def tied_tables(checkpoint: Checkpoint) -> Tied | None:
    """The table that is embeddings and head at once; None if there are two, or it is not clear which."""
    embeddings = [name for name in checkpoint.tensors if f".{name}".endswith(f".{EMBEDDINGS}")]
    heads = [name for name in checkpoint.tensors if is_head(name)]
    said = set(_said(checkpoint.config))
    if len(embeddings) != 1 or len(heads) > 1 or said == {False} or (heads and said != {True}):
        return None
    words = embeddings[0].split(".")
    # language_model.model.embed_tokens -> language_model.lm_head, but model.language_model... -> lm_head
    above = words[: words.index("model")] if "model" in words else []
    return Tied(embeddings[0], heads[0] if heads else ".".join([*above, HEAD]))


def settle(base: Checkpoint, tied: Tied | None, changes: Mapping[str, Change]) -> Settled:
    """What an adapter's `changes` come to on a base whose table may be `tied`.

    Two whole tables of equal values, as PEFT's `ensure_weight_tying` makes them, stay tied.

    Raises:
        AdammsError: LoRA on the head, which is the embeddings' table.
    """
    if tied is None or not {tied.embeddings, tied.head} & changes.keys():
        return Settled(changes)
    table = base.tensors[tied.embeddings]
    embeddings, head = changes.get(tied.embeddings), changes.get(tied.head)
    if head is not None and head.low_rank is not None:
        raise AdammsError(
            f"LoRA on {tied.head}, which the base ties to {tied.embeddings}: PEFT's merge_and_unload would "
            f"change both. Untie the base before (clone lm_head.weight, tie_word_embeddings=False), "
            f"merge_and_unload, and give the result as the model"
        )
    low_rank = embeddings is not None and embeddings.low_rank is not None
    mine = table if embeddings is None or low_rank else embeddings.base
    if same_values(mine, table if head is None else head.base):
        kept = {name: change for name, change in changes.items() if name != tied.head}
        return Settled(kept, note=LORA_ON_A_TIED_TABLE if low_rank else "")
    both = {tied.embeddings: embeddings or Change(table), tied.head: head or Change(table)}
    note = (
        f"the base ties {tied.head} to {tied.embeddings}, and the adapter has a table of its own for one of "
        f"them: as in PEFT's own result they are two tensors, and config.json says {TIES}=false"
    )
    return Settled({**changes, **both}, untied=True, note=note)


def untied_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """config.json of the same model with two tables: the top and every part with a vocabulary say so."""

    def inner(part: Mapping[str, Any]) -> dict[str, Any]:
        found = {key: inner(value) if isinstance(value, Mapping) else value for key, value in part.items()}
        return found | ({TIES: False} if TIES in part or "vocab_size" in part else {})

    return inner(config) | {TIES: False}


def _said(config: Mapping[str, Any]) -> Iterator[bool]:
    """What a config.json and the configurations in it say of tying."""
    if isinstance(config.get(TIES), bool):
        yield config[TIES]
    for part in config.values():
        if isinstance(part, Mapping):
            yield from _said(part)


def same_values(one: TensorEntry, other: TensorEntry) -> bool:
    """Whether the two have the same values, whatever their dtypes."""
    if one == other or one.shape != other.shape:
        return one == other
    tables = [rows_of(entry) for entry in (one, other)]
    parts = (slice(start, start + _ROWS) for start in range(0, one.shape[0], _ROWS))
    return all(bool((tables[0][part].double() == tables[1][part].double()).all()) for part in parts)
