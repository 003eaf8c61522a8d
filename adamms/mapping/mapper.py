"""What the group `mapper` names: whatever makes plans."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from adamms.checkpoint.reader import Checkpoint
from adamms.mapping.plan import Plan


class Mapper(Protocol):
    """Makes plans.

    Attributes:
        reads_weights: whether it needs more than headers: mode=plan then fetches whole models, too.
    """

    reads_weights: ClassVar[bool]

    def describe(self, checkpoint: Checkpoint, architecture: str | None, stage: Any) -> Any:
        """The checkpoint with what its tensors are.

        Args:
            architecture: the name of its format; None where it is to be recognised.
            stage: shows progress where weights are read: (title, total, unit) -> a context.
        """

    def plan(self, target: Any, donors: Mapping[str, Any], ancestor: Any = None) -> Plan:
        """Put every tensor of the described target in a slot."""
