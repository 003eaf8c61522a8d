"""The pairs that the factory can build: which architectures and language, their parts, their files.

Another pair is another entry of `PAIRS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from adamms.demo import anatomy, llamas, models
from adamms.demo.anatomy import Anatomy
from adamms.demo.language import SENTENCES, WORDS, Language
from adamms.demo.stages import Key


@dataclass(frozen=True)
class Member:
    """A multimodal model of a pair.

    Args:
        build: makes it for a language, freshly initialised.
        dissect: tells its parts.
        names: beginnings of its parameters' names -> what stands for them in its files.
        processor: makes its processor, for a language.
    """

    build: Callable[[Language], Any]
    dissect: Callable[[Any], Anatomy]
    names: Mapping[str, str]
    processor: Callable[[Language], Any]


@dataclass(frozen=True)
class Pair:
    """Ancestor, target and donor.

    Args:
        mark: distinguishes its stages and checkpoints from another pair's; empty for the first pair.
        language: what they are asked and answer.
        ancestor: makes the language model for a language, freshly initialised.
    """

    mark: Key
    language: Language
    ancestor: Callable[[Language], Any]
    target: Member
    donor: Member


_QWEN2 = Pair(
    mark={},
    language=WORDS,
    ancestor=models.ancestor,
    target=Member(models.target, anatomy.qwen2_vl, models.TARGET_NAMES, models.target_processor),
    donor=Member(models.donor, anatomy.llava_onevision, models.DONOR_NAMES, models.donor_processor),
)
PAIRS: Mapping[str, Pair] = {
    "qwen2": _QWEN2,
    "llama": Pair(
        mark={"pair": "llama"},
        language=WORDS,
        ancestor=llamas.ancestor,
        target=Member(llamas.target, anatomy.mplug_owl2, {}, llamas.target_processor),
        donor=Member(llamas.donor, anatomy.llava, models.LLAVA_NAMES, llamas.donor_processor),
    ),
    "sentences": replace(_QWEN2, mark={"pair": "sentences"}, language=SENTENCES),
}
