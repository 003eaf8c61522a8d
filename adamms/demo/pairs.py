"""The pairs of architectures that the factory can build: which models, their parts, their files.

Another pair is another entry of `PAIRS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adamms.demo import anatomy, llamas, models
from adamms.demo.anatomy import Anatomy
from adamms.demo.stages import Key


@dataclass(frozen=True)
class Member:
    """A multimodal model of a pair.

    Args:
        build: makes it, freshly initialised.
        dissect: tells its parts.
        save: writes it and its processor as a checkpoint folder.
    """

    build: Callable[[], Any]
    dissect: Callable[[Any], Anatomy]
    save: Callable[[Any, Path], None]


@dataclass(frozen=True)
class Pair:
    """Ancestor, target and donor.

    Args:
        mark: distinguishes its stages and checkpoints from another pair's; empty for the first pair.
        ancestor: makes the language model, freshly initialised.
        save_ancestor: writes it and its tokenizer as a checkpoint folder.
    """

    mark: Key
    ancestor: Callable[[], Any]
    save_ancestor: Callable[[Any, Path], None]
    target: Member
    donor: Member


PAIRS: Mapping[str, Pair] = {
    "qwen2": Pair(
        mark={},
        ancestor=models.ancestor,
        save_ancestor=models.save_ancestor,
        target=Member(models.target, anatomy.qwen2_vl, models.save_target),
        donor=Member(models.donor, anatomy.llava_onevision, models.save_donor),
    ),
    "llama": Pair(
        mark={"pair": "llama"},
        ancestor=llamas.ancestor,
        save_ancestor=models.save_ancestor,
        target=Member(llamas.target, anatomy.mplug_owl2, llamas.save_target),
        donor=Member(llamas.donor, anatomy.llava, llamas.save_donor),
    ),
}
