"""Utterances whose second part is another's, of the same class."""

import torch
from torch import Tensor

from asvtk.models import Inputs

__all__ = ["splice"]

#: where an utterance may be parted, as shares of its length
EARLIEST, LATEST = 0.2, 0.8


def splice(inputs: Inputs, bonafide: Tensor, probability: float) -> Inputs:
    """Let some utterances of a batch go on as another of their class.

    A system can then not know an utterance as a whole, by its recording or its speaker, and has to find
    what makes a spoof in each part. It is CutMix (Yun et al., ICCV 2019) along time and within a class, so
    that no label has to be mixed.

    Args:
        inputs: equally long utterances; features and audio are parted at the same time.
        bonafide: True for bona fide, shape (batch,).
        probability: that an utterance is changed; one of each class, which has no other before it in the
            order that is drawn, never is.

    Returns:
        new inputs. All randomness is that of torch's generator on their device, and the host is asked
        for nothing.
    """
    count, device = len(bonafide), bonafide.device
    order = (2 * bonafide + torch.rand(count, device=device)).argsort()
    other = torch.empty_like(order).scatter_(0, order, order.roll(1))
    ends = EARLIEST + (LATEST - EARLIEST) * torch.rand(count, device=device)
    changed = (torch.rand(count, device=device) < probability) & (bonafide[other] == bonafide)
    ends = torch.where(changed, ends, 1.0)

    def parted(x: Tensor | None, time: int) -> Tensor | None:
        if x is None:
            return None
        passed = torch.arange(x.shape[time], device=device) / x.shape[time]
        own = passed < ends.unsqueeze(1)
        shape = [count if axis == 0 else -1 if axis == time else 1 for axis in range(x.dim())]
        return torch.where(own.view(shape), x, x[other])

    return inputs._replace(
        features=parted(
            inputs.features, 2 if inputs.features is not None and inputs.features.ndim == 4 else 1
        ),
        audio=parted(inputs.audio, 1),
    )
