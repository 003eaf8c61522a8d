"""Which of the target's tensors are of the language model: where donors resemble it in other parts, too.

Of what resembles, the hidden size that config.json declares and the names decide; where neither says
anything, the width of most of what resembles.
"""

from collections import Counter
from collections.abc import Collection, Iterable

from adamms.mapping.content.places import place_of
from adamms.mapping.content.sketch import Sketch, SketchedModel
from adamms.mapping.language_config import HIDDEN, number, plain
from adamms.mapping.names import is_foreign


def language_model(target: SketchedModel, resembling: Collection[str]) -> frozenset[str]:
    """Tensors of the target that may be merged.

    Args:
        target: with its names and config.json.
        resembling: its tensors that resemble a donor's.
    """
    matrices = [sketch for sketch in target.matrices if not _is_foreign(sketch.name)]
    found = [sketch for sketch in matrices if _tensor(sketch) in resembling and len(sketch.shape) == 2]
    width = _hidden_size(target, found)
    inside = {_tensor(sketch) for sketch in matrices if len(sketch.shape) == 2 and width in sketch.shape}
    stacks = _stacks(found, width)
    lengths = _lengths(target, found, inside, width)
    return frozenset(
        name
        for name, entry in target.checkpoint.tensors.items()
        if not _is_foreign(name) and _is_inside(name, entry.shape, inside, stacks, lengths)
    )


def _is_inside(
    name: str,
    shape: tuple[int, ...],
    inside: Collection[str],
    stacks: Collection[str],
    lengths: Collection[int],
) -> bool:
    """In the language model's layers or in none; where no names tell, by its shape."""
    if stacks:
        return _stack(name) in ("", *stacks)
    return name in inside or (len(shape) == 1 and shape[0] in lengths)


def _is_foreign(name: str) -> bool:
    """By the name of its stack of layers: parts of one layer belong together, a CogVLM's for images too."""
    return is_foreign(place_of(name)[0] or name)


def _tensor(sketch: Sketch) -> str:
    """The tensor that it is a sketch of, or a part of."""
    return sketch.name.partition("[")[0]


def _stack(name: str) -> str:
    """`model.layers` of what lies in layer `model.layers.3`; "" of what lies in none."""
    return place_of(name)[0].rpartition(".")[0]


def _hidden_size(target: SketchedModel, found: Collection[Sketch]) -> int:
    """As config.json declares it of the language model, else the width of most of what resembles."""
    declared = number(plain(target.checkpoint.config), *HIDDEN)
    if any(declared in sketch.shape for sketch in target.matrices):
        return declared
    return _width(found)


def _width(found: Iterable[Sketch]) -> int:
    """The dimension that most of the parameters have."""
    parameters = Counter[int]()
    for sketch in found:
        for size in {*sketch.shape}:
            parameters[size] += sketch.shape[0] * sketch.shape[1]
    return max(parameters, key=lambda size: parameters[size], default=0)


def _stacks(found: Collection[Sketch], width: int) -> frozenset[str]:
    """Stacks of layers, of which something resembles, that have the hidden size."""
    stacks: dict[str, list[Sketch]] = {}
    for sketch in found:
        stacks.setdefault(_stack(sketch.name), []).append(sketch)
    return frozenset(stack for stack, own in stacks.items() if stack and _width(own) == width)


def _lengths(
    target: SketchedModel, found: Collection[Sketch], inside: Collection[str], width: int
) -> frozenset[int]:
    """Lengths of vectors: the hidden size, or as many as only matrices of the language model have rows."""
    foreign = {sketch.shape[0] for sketch in target.matrices if _tensor(sketch) not in inside}
    return frozenset({width} | {sketch.shape[0] for sketch in found if width in sketch.shape} - foreign)
