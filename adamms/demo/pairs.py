"""The pairs of architectures that the factory can build: which models, their parts, their files.

Another pair is another entry of `PAIRS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
        names: beginnings of its parameters' names -> what stands for them in its files.
        processor: makes its processor.
    """

    build: Callable[[], Any]
    dissect: Callable[[Any], Anatomy]
    names: Mapping[str, str]
    processor: Callable[[], Any]


@dataclass(frozen=True)
class Pair:
    """Ancestor, target and donor.

    Args:
        mark: distinguishes its stages and checkpoints from another pair's; empty for the first pair.
        ancestor: makes the language model, freshly initialised.
    """

    mark: Key
    ancestor: Callable[[], Any]
    target: Member
    donor: Member


PAIRS: Mapping[str, Pair] = {
    "qwen2": Pair(
        mark={},
        ancestor=models.ancestor,
        target=Member(models.target, anatomy.qwen2_vl, models.TARGET_NAMES, models.target_processor),
        donor=Member(models.donor, anatomy.llava_onevision, models.DONOR_NAMES, models.donor_processor),
    ),
    "llama": Pair(
        mark={"pair": "llama"},
        ancestor=llamas.ancestor,
        target=Member(llamas.target, anatomy.mplug_owl2, {}, llamas.target_processor),
        donor=Member(llamas.donor, anatomy.llava, models.LLAVA_NAMES, llamas.donor_processor),
    ),
}
