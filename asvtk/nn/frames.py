"""Padded frame sequences: masks, reversal, stacking."""

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["frame_mask", "reverse_frames", "stack_frames"]


def frame_mask(lengths: Tensor, frames: int) -> Tensor:
    """True at real frames: (batch,) -> (batch, frames)."""
    return torch.arange(frames, device=lengths.device) < lengths.unsqueeze(1)


def reverse_frames(x: Tensor, lengths: Tensor) -> Tensor:
    """Reverse the real frames of each row and leave the padding behind them.

    Args:
        x: shape (batch, frames, d).
        lengths: real frames per row, shape (batch,).
    """
    frames = torch.arange(x.shape[1], device=x.device)
    mirrored = lengths.unsqueeze(1) - 1 - frames
    source = torch.where(mirrored >= 0, mirrored, frames)
    return x.gather(1, source.unsqueeze(-1).expand_as(x))


def stack_frames(x: Tensor, lengths: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Join every ``count`` neighbouring frames into one; an incomplete last group gets zeros.

    Args:
        x: shape (batch, frames, d); padding is replaced by zeros, so that no group depends on it.
        lengths: real frames per row, shape (batch,).

    Returns:
        shape (batch, ceil(frames / count), count * d), and the new lengths.
    """
    if count == 1:
        return x, lengths
    x = x * frame_mask(lengths, x.shape[1]).unsqueeze(-1)
    x = F.pad(x, (0, 0, 0, -x.shape[1] % count))
    return x.reshape(x.shape[0], -1, count * x.shape[2]), (lengths + count - 1) // count
