"""Which of the target's tensors are of the language model: where donors resemble it in other parts, too.

Of what resembles, the hidden size that config.json declares and the names decide; where neither says
anything, the width of most of what resembles.
"""

from collections import Counter
from collections.abc import Collection

from adamms.mapping.checks.language_config import HIDDEN, number, plain
from adamms.mapping.checks.names import is_foreign
from adamms.mapping.content.places import place_of
from adamms.mapping.content.sketch import Sketch, SketchedModel


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
    layers = _layers(found, width)
    lengths = _lengths(target, found, inside, width)
    return frozenset(
        name
        for name, entry in target.checkpoint.tensors.items()
        if not _is_foreign(name) and _is_inside(name, entry.shape, inside, layers, lengths)
    )


def _is_inside(
    name: str,
    shape: tuple[int, ...],
    inside: Collection[str],
    layers: Collection[str],
    lengths: Collection[int],
) -> bool:
    """In a layer of the language model; beside its layers, or where no names tell, by its shape."""
    layer = place_of(name)[0]
    if layer and layers:
        return layer in layers
    if layers and len(shape) > 1:
        return True
    return name in inside or (len(shape) == 1 and shape[0] in lengths)


def _is_foreign(name: str) -> bool:
    """By the name of its stack of layers: parts of one layer belong together, a CogVLM's for images too."""
    return is_foreign(place_of(name)[0] or name)


def _tensor(sketch: Sketch) -> str:
    """The tensor that it is a sketch of, or a part of."""
    return sketch.name.partition("[")[0]


def _hidden_size(target: SketchedModel, found: Collection[Sketch]) -> int:
    """As config.json declares it of the language model, else the dimension of most of what resembles."""
    parameters = Counter[int]()
    for sketch in found:
        for size in {*sketch.shape}:
            parameters[size] += sketch.shape[0] * sketch.shape[1]
    declared = number(plain(target.checkpoint.config), *HIDDEN)
    if any(declared in sketch.shape for sketch in target.matrices):
        return declared
    return max(parameters, key=lambda size: parameters[size], default=0)


def _layers(found: Collection[Sketch], width: int) -> frozenset[str]:
    """Layers most of whose resembling parameters have the hidden size as a dimension."""
    votes = Counter[str]()
    for sketch in found:
        sign = 1 if width in sketch.shape else -1
        votes[place_of(sketch.name)[0]] += sign * sketch.shape[0] * sketch.shape[1]
    return frozenset(layer for layer, vote in votes.items() if layer and vote > 0)


def _lengths(
    target: SketchedModel, found: Collection[Sketch], inside: Collection[str], width: int
) -> frozenset[int]:
    """Lengths of vectors: the hidden size, or as many as only matrices of the language model have rows."""
    foreign = {sketch.shape[0] for sketch in target.matrices if _tensor(sketch) not in inside}
    return frozenset({width} | {sketch.shape[0] for sketch in found if width in sketch.shape} - foreign)
