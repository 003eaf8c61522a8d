"""What headers and config.json show to be broken in a model, before anything is read, merged or asked.

A target that is broken makes a merged model that is: an error. Of a donor, what is merged counts: a warning.
"""

from collections.abc import Iterator

from adamms.architectures.spec import Architecture
from adamms.checkpoint.adapters.adapted import AdaptedCheckpoint
from adamms.checkpoint.adapters.tying import EMBEDDINGS, HEAD, TIES
from adamms.checkpoint.reader import Checkpoint
from adamms.errors import AdammsError
from adamms.mapping.content.sketch import SketchedModel
from adamms.mapping.specs.fusion import settings
from adamms.mapping.specs.model import Model
from adamms.models.registration import ties_embeddings

# The last words of a class that has a head.
WITH_HEAD = ("ForCausalLM", "ForConditionalGeneration")


def check_target(where: str, described: Model | SketchedModel) -> None:
    """Raise AdammsError for the first thing that is broken in the target, with its key."""
    wrapped = described.wrapped if isinstance(described, Model) else {}
    for stored, name in wrapped.items():
        raise AdammsError(
            f"{where}: {described.checkpoint}: {len(wrapped)} tensors have a prefix of what trained the "
            f"model, first {stored!r} for {name!r}; neither transformers nor vLLM loads it, nor what is "
            f"merged into it. Save the model without its wrapper, or rename the tensors; as a donor it can "
            f"be read as it is"
        )
    for problem in problems(described):
        raise AdammsError(f"{where}: {problem}")


def problems(described: Model | SketchedModel) -> Iterator[str]:
    """Everything that is broken in a model, with a way on."""
    checkpoint = _stored(described.checkpoint)
    yield from empty_tensors(checkpoint)
    embeddings, heads = (_named(described, kind) for kind in ("embed", "head"))
    derived = isinstance(described, Model) and not isinstance(described.architecture, Architecture)
    if isinstance(described, Model) and not derived:  # of a derived one `describe` knows what there must be
        for kind, found in (("embeddings", embeddings), ("final norm", _named(described, "final_norm"))):
            if not found:
                yield f"{checkpoint}: incomplete: no {kind}. If it is whole, save it with transformers"
    yield from _vocabulary(checkpoint, embeddings, heads)
    classes = checkpoint.config.get("architectures") or [""]
    has_own = not heads and classes[0].endswith(WITH_HEAD) and checkpoint.config.get(TIES) is not True
    if has_own and not derived and ties_embeddings(checkpoint.config) is False:
        yield (
            f"{checkpoint}: incomplete: no head ({HEAD}) is stored, and {classes[0]} has one of its own "
            f'unless config.json ties it to the embeddings; if it is tied, write "{TIES}": true there'
        )


def empty_tensors(checkpoint: Checkpoint) -> Iterator[str]:
    """What a checkpoint says whose parameters were elsewhere when it was saved."""
    empty = [name for name, entry in checkpoint.tensors.items() if entry.shape and entry.elements == 0]
    if empty:
        yield (
            f"{checkpoint}: {len(empty)} of {len(checkpoint.tensors)} tensors are empty, first {empty[0]} of "
            f"shape {list(checkpoint.tensors[empty[0]].shape)}. DeepSpeed's ZeRO-3 leaves such files where "
            f"the weights were not gathered: make whole ones with its zero_to_fp32.py, or save with "
            f"stage3_gather_16bit_weights_on_model_save"
        )


def _vocabulary(checkpoint: Checkpoint, embeddings: list[str], heads: list[str]) -> Iterator[str]:
    """The rows of embeddings and head against vocab_size, as the classes that load them build them.

    Embeddings alone may have more: those of Llama 3.2 Vision have 8 rows for image tokens.
    """
    said = [size for size in settings(checkpoint.config, "vocab_size") if isinstance(size, int)]
    for name in (*embeddings, *heads) if said else ():
        rows = next(iter(checkpoint.tensors[name].shape), 0)
        more = name in embeddings and rows > max(said) and bool(heads)
        if rows not in said and not more:
            yield (
                f"{checkpoint}: {name} has {rows} rows, vocab_size of config.json is {said[0]}: transformers "
                f"and vLLM refuse such a model. If the weights are right, write vocab_size {rows} there"
            )


def _named(described: Model | SketchedModel, kind: str) -> list[str]:
    """Names of the tensors of a role; without roles by how they end."""
    if isinstance(described, Model):
        labels, stored = described.labels, _stored(described.checkpoint).tensors
        return [name for name in stored if any(part.kind == kind for part in labels[name].parts)]
    ending = {"embed": EMBEDDINGS, "head": HEAD}[kind]
    found = [name for name in described.checkpoint.tensors if f".{name}".endswith(f".{ending}")]
    return found if len(found) == 1 else []


def _stored(checkpoint: Checkpoint) -> Checkpoint:
    """The files' own tensors: what an adapter adds to them goes with no config.json."""
    return checkpoint.base if isinstance(checkpoint, AdaptedCheckpoint) else checkpoint
