"""Rounding of features to the formats that the cache stores, as part of an exported graph.

What `asvtk.io.ark.as_stored` gives, by tensors: a back-end that was trained on features of 16 or 8 bits hears
the same from the graph.
"""

from itertools import pairwise

import torch
from torch import Tensor

from asvtk.io.ark.matrices import QUARTERS, STEPS, UINT16_STEP, quartile_ranks

__all__ = ["rounded"]


def rounded(x: Tensor, storage: str) -> Tensor:
    """Features as CM2 or CM keeps them, utterance by utterance.

    Args:
        x: finite, float32 (batch, frames, width), five frames at least.
        storage: ``CM2`` or ``CM``.
    """
    minimum, maximum = x.amin((1, 2), keepdim=True), x.amax((1, 2), keepdim=True)
    maximum = torch.where(maximum == minimum, minimum + (1 + minimum.abs()), maximum)
    span = (maximum.double() - minimum.double()).float()
    if storage == "CM2":
        return _steps(x, minimum, span).float() * (span.double() / STEPS).float() + minimum
    marks, last = [], -1.0
    ordered = x.sort(dim=1).values
    for rank, place in enumerate(quartile_ranks(x.shape[1])):
        step = _steps(ordered[:, place : place + 1], minimum, span)
        step = torch.maximum(step, torch.as_tensor(last + 1)).clamp_max(65532 + rank)
        marks.append(minimum + span * UINT16_STEP * step.float())
        last = step
    coded = torch.zeros_like(x)
    for (low, high), (left, right) in zip(QUARTERS, pairwise(marks), strict=True):
        width = right - left
        share = torch.where(width > 0, (x - left) / width * (high - low), (x >= right) * float(high - low))
        coded = coded + (share.clamp(0, high - low).double() + 0.5).floor().float()
    y = marks[0]
    for (low, high), (left, right) in zip(QUARTERS, pairwise(marks), strict=True):
        y = y + (coded.clamp(low, high) - low) * ((right - left) * (1 / (high - low)))
    return y


def _steps(x: Tensor, minimum: Tensor, span: Tensor) -> Tensor:
    """Whole steps of range / 65535 from the minimum, float64; Kaldi rounds up from 0.501 on."""
    return ((x - minimum) / span * float(STEPS)).double().add(0.499).floor()
