"""What a signal is: evidence in, a number against every candidate for every example out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from adamms.errors import AdammsError
from adamms.search.difference import Difference
from adamms.search.evidence import Evidence
from adamms.search.resampling import Array


class Signal(ABC):
    """Says without labels what speaks against every candidate.

    Attributes:
        because: why the winner wins, for people.
        counts_changes: whether D counts answers that change between neighbours, as the paper's does.
    """

    because: ClassVar[str] = "the least speaks against it"
    counts_changes: ClassVar[bool] = False

    @property
    def needs(self) -> tuple[str, ...]:
        """Some of PARENTS, DONORS, CONTROL, DISTURBED, TOKENS, SURENESS, SCORES, SCORES_OF_ALL, TOKEN_IDS."""
        return ()

    @property
    def neighbours(self) -> tuple[int, ...]:
        """Steps along the grid to the candidates that it compares a candidate with, e.g. (-1, 1)."""
        return ()

    @property
    def alone(self) -> bool:
        """Whether it judges a candidate without the answers of other candidates."""
        return False

    @property
    def looks_at(self) -> tuple[int, ...] | None:
        """Steps along the grid to those on whose answers D of a candidate depends; None: to all."""
        return () if self.alone else self.neighbours or None

    @property
    def across(self) -> bool:
        """Whether it looks at `Evidence.likeness`, how like answers to a task are answers to another one."""
        return False

    @abstractmethod
    def differences(self, evidence: Evidence, examples: Sequence[str], difference: Difference) -> Array:
        """What each example says against each candidate, at least 0; shape (candidates, examples).

        D of a candidate is the sum of its row. Examples count alike, so they can be resampled.

        Args:
            examples: of one task.
            difference: between two answers.

        Raises:
            AdammsError: the evidence lacks what the signal needs.
        """


def check_given(evidence: Evidence, field_name: str) -> None:
    """Raise AdammsError unless the evidence has that field."""
    if not getattr(evidence, field_name):
        raise AdammsError(f"this signal needs evidence that is not there: {field_name}")
