"""Encoding of many matrices at once by torch, on whatever device they are.

On a GPU it costs next to nothing, and half or a quarter of the bytes go over the bus. The bytes are those
of ``encode_matrix`` (the steps are explained there): each operation is one of IEEE arithmetic, and none
is fused with the next, in which case it would round once less.
"""

import numpy as np
import torch
from torch import Tensor

from asvtk.io.ark.matrices import CODECS, LARGEST, QUARTERS, STEPS, UINT16_STEP, Encoded, quartile_ranks

__all__ = ["as_entries", "encode_batch"]


def encode_batch(matrices: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """Encode matrices of one shape.

    Args:
        matrices: float32, shape (n, frames, dimensions), none of them empty.
        kind: FM, CM2 or CM.

    Returns:
        scales, float32 (n, 2): minimum and range of each matrix; a range of nan says that it is not
        finite, or too wide for the kind. And the numbers, uint8 (n, bytes of a matrix). ``as_entries``
        makes entries of copies of both in the host's memory.
    """
    flat = matrices.flatten(1)
    minimum, maximum = flat.amin(1).double(), flat.amax(1).double()  # nan if there is one
    if kind == "FM":
        # Not their difference: exact numbers may be as far apart as they like.
        span = torch.where(minimum.isfinite() & maximum.isfinite(), 0.0, torch.nan)
        return torch.stack([minimum, span], 1).float(), flat.contiguous().view(torch.uint8)
    maximum = torch.where(minimum == maximum, minimum + (1 + minimum.abs()), maximum)
    fits = (maximum <= LARGEST) & (maximum - minimum <= LARGEST)
    span = torch.where(fits, maximum.float().double() - minimum, torch.nan)
    scales = torch.stack([minimum, span], 1).float()
    quantise = {"CM2": _two_bytes, "CM": _one_byte}[kind]
    return scales, quantise(matrices, *scales.T[..., None, None])


def as_entries(kind: str, shape: tuple[int, int], scales: np.ndarray, bodies: np.ndarray) -> list[Encoded]:
    """Entries of matrices of ``shape`` (frames, dimensions), from what ``encode_batch`` gave, uncopied."""
    head = CODECS[kind].head
    return [
        None if np.isnan(span) else (head(*shape, (minimum, span)), body)
        for (minimum, span), body in zip(scales, bodies, strict=True)
    ]


def _two_bytes(matrices: Tensor, minimum: Tensor, span: Tensor) -> Tensor:
    return _as_uint16(_steps(matrices, minimum, span)).flatten(1).view(torch.uint8)


def _one_byte(matrices: Tensor, minimum: Tensor, span: Tensor) -> Tensor:
    columns = matrices.transpose(1, 2).contiguous()  # (n, dimensions, frames)
    percentiles = _percentiles(columns, minimum, span)
    marks = minimum + (span * UINT16_STEP) * percentiles.float()
    coded = torch.zeros_like(columns, dtype=torch.uint8)
    for segment, (low, high) in enumerate(QUARTERS):
        left, right = marks[..., segment, None], marks[..., segment + 1, None]
        width = right - left
        share = (columns - left).div_(width).mul_(high - low)
        share = torch.where(width == 0, (columns >= right) * float(high - low), share)
        coded += share.clamp_(0, high - low).double().add_(0.5).to(torch.uint8)
    heads = _as_uint16(percentiles).flatten(1).view(torch.uint8)
    return torch.cat([heads, coded.flatten(1)], 1)


def _percentiles(columns: Tensor, minimum: Tensor, span: Tensor) -> Tensor:
    ranks = list(quartile_ranks(columns.shape[-1]))
    steps = _steps(columns.sort(-1).values[..., ranks], minimum, span)
    steps = torch.nn.functional.pad(steps, (0, 4 - len(ranks)))
    last = torch.full_like(steps[..., 0], -1)
    for rank in range(4):
        last = steps[..., rank] = steps[..., rank].maximum(last + 1).clamp(max=65532 + rank)
    return steps


def _steps(numbers: Tensor, minimum: Tensor, span: Tensor) -> Tensor:
    """int32, in steps of range / 65535 from the minimum."""
    # The range stays a tensor: torch multiplies by the reciprocal of a number, which rounds otherwise.
    steps = (numbers - minimum).div_(span).mul_(STEPS)
    return steps.double().add_(0.499).to(torch.int32)


def _as_uint16(steps: Tensor) -> Tensor:
    return steps.to(torch.int16)  # which has the same bits; few operations know torch.uint16
