"""LiNeS: shares that grow linearly with depth, so that early layers stay nearer to the target.

    share(layer) = share * (first + (last - first) * layer / (L - 1))        layer = 0 .. L - 1

Source: Wang et al., "LiNeS: Post-training Layer Scaling Prevents Forgetting and Enhances Model Merging"
(arXiv:2410.17146): lambda(l) = alpha + beta * (l - 1) / (L - 1) scales task vectors by layer. Here `first` is
alpha / share and `last` is (alpha + beta) / share.

Two differences. LiNeS scales what is added to the ancestor, the sum of all models' task vectors; here the
donors' shares are scaled and the target, which has the rest, takes the ancestor's place. And LiNeS scales all
that is in no layer like the first (the authors' `LiNeS_scaling`); here the head and the final norm count as
the last layer, as in `merge.rules`.
"""

from dataclasses import dataclass
from typing import ClassVar

from adamms.mapping.plan import Slot
from adamms.merge.method import Statistics
from adamms.merge.rules import Share, Shares, at_depth
from adamms.merge.schedule import Schedule


@dataclass(frozen=True)
class Lines(Schedule):
    """Shares that grow with depth.

    Args:
        first: factor in the first layer, and of the embeddings.
        last: factor in the last layer, and of the head and the final norm.
    """

    first: Share
    last: Share

    name: ClassVar[str] = "lines"
    formula: ClassVar[str] = "shares grow linearly with depth"

    def shares(self, slot: Slot, layers: int, shares: Shares, found: Statistics | None) -> dict[str, float]:
        factor = at_depth((self.first, self.last), slot, 0, layers - 1)
        return {name: factor * share for name, share in shares.items()}
