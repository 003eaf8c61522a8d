"""Which tokens of a CogVLM prompt are the image's, their positions, and which expert each goes to.

Pure functions of the token types: 1 for the image's tokens (begin marker, patches, end marker), else 0.
Source: Wang et al., arXiv:2311.03079, section 2; the published modeling_cogvlm.py.
"""

from typing import NamedTuple

import torch

TEXT, IMAGE = 0, 1


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
    """The position of every token: all patches of an image share one, everything else counts on.

    Args:
        types: token types, (batch, length).
        mask: 1 for tokens, 0 for padding, (batch, length); None for no padding. Padding has position 0.

    Returns:
        (batch, length), from 0 at the first token that is not padding.
    """
    image = types == IMAGE
    edge = image.new_zeros(len(image), 1)
    before, after = torch.cat((edge, image[:, :-1]), 1), torch.cat((image[:, 1:], edge), 1)
    patch = image & before & after  # the first and the last of an image's tokens are its markers
    step = ~(patch & torch.cat((edge, patch[:, :-1]), 1))
    if mask is not None:
        step &= mask.bool()
    return (step.long().cumsum(1) - 1).clamp(min=0)


def to_vision_expert(types: torch.Tensor) -> torch.Tensor:
    """Which tokens go to the vision expert: those of the image that an image token follows, (batch, length).

    The end marker is thereby the language expert's.
    """
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
