"""Where the image is in a CogVLM prompt: the tokens' positions, and the expert that each goes to.

Pure functions of the token types: 1 for an image's tokens (begin marker, patches, end marker), else 0.
Source: Wang et al., arXiv:2311.03079, section 2; the published modeling_cogvlm.py.
"""

from typing import NamedTuple

import torch

from adamms.models.causal import IMAGE


class Routing(NamedTuple):
    """The order in which the two experts see the tokens of a batch, flattened.

    Args:
        order: indices of the tokens, those of the vision expert first, (batch * length,).
        inverse: where each token is in that order, (batch * length,).
        vision: how many go to the vision expert.
    """

    order: torch.Tensor
    inverse: torch.Tensor
    vision: int


def positions(types: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """The position of every token. All patches of an image share one; every other token counts.

    Args:
        types: token types, (batch, length).
        mask: 1 for tokens, 0 for padding, (batch, length); None for no padding. Padding has position 0.

    Returns:
        (batch, length), from 0 at the first token that is not padding.

    >>> positions(torch.tensor([[0, 1, 1, 1, 1, 0]]))  # text, begin, two patches, end, text
    tensor([[0, 1, 2, 2, 3, 4]])
    """
    image = types == IMAGE
    edge = image.new_zeros(len(image), 1)
    before, after = torch.cat((edge, image[:, :-1]), 1), torch.cat((image[:, 1:], edge), 1)
    patch = image & before & after  # an image's first and last tokens are its markers
    step = ~(patch & torch.cat((edge, patch[:, :-1]), 1))
    if mask is not None:
        step &= mask.bool()
    return (step.long().cumsum(1) - 1).clamp(min=0)


def to_vision_expert(types: torch.Tensor) -> torch.Tensor:
    """Which tokens go to the vision expert, (batch, length): an image's, but for its end marker."""
    image = types == IMAGE
    return image & torch.cat((image[:, 1:], image.new_zeros(len(image), 1)), 1)


def route(types: torch.Tensor) -> Routing | None:
    """The routing of a batch; None if all its tokens go to the language expert."""
    chosen = to_vision_expert(types).flatten()
    count = int(chosen.sum())
    if count == 0:
        return None
    order = torch.argsort(~chosen, stable=True)
    return Routing(order, torch.argsort(order), count)
