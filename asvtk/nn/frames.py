"""Frame sequences, padded: cut from audio, masks, means, reversal, stacking, rows of one length at a time."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from asvtk.nn.exporting import is_exporting

__all__ = [
    "by_length",
    "cut_frames",
    "frame_mask",
    "mean_over_frames",
    "power_by_products",
    "reverse_frames",
    "stack_frames",
]


def cut_frames(audio: Tensor, length: int, shift: int) -> Tensor:
    """Frames of ``length`` samples every ``shift``: (batch, samples) -> (batch, frames, length).

    ``unfold``; in an exported graph, where that would be a table of all indices, slices of what both lengths
    are made of, side by side.
    """
    if not is_exporting():
        return audio.unfold(1, length, shift)
    step, samples = math.gcd(length, shift), audio.shape[1]
    last, stride = (samples - length) // shift * (shift // step), shift // step
    pieces = audio[:, : samples - samples % step].unflatten(1, (-1, step))
    return torch.cat([pieces[:, k : k + last + 1 : stride] for k in range(length // step)], dim=2)


def power_by_products(frames: Tensor, fft: int) -> Tensor:
    """Power spectra of frames by products of matrices, for exported graphs: (..., length) -> (..., bins).

    ONNX Runtime's transform (1.32) of 400 samples is a hundred times less exact than a product, which shows
    in bands 80 dB below the loudest.

    Args:
        frames: no longer than ``fft``, to which zeros fill them up.
        fft: size of the spectrum; of its bins the first ``fft // 2 + 1`` are given.
    """
    turns = np.outer(np.arange(frames.shape[-1]), np.arange(fft // 2 + 1)) % fft / fft
    parts = (torch.from_numpy(wave(2 * np.pi * turns)).to(frames.dtype) for wave in (np.cos, np.sin))
    real, imaginary = (frames @ part for part in parts)
    return real.square() + imaginary.square()


def frame_mask(lengths: Tensor, frames: int) -> Tensor:
    """True at real frames: (batch,) -> (batch, frames)."""
    return torch.arange(frames, device=lengths.device) < lengths.unsqueeze(1)


def mean_over_frames(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the real frames.

    Args:
        x: shape (batch, frames, d).
        mask: True at real frames, shape (batch, frames).

    Returns:
        shape (batch, d).
    """
    return (x * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)


def by_length(function: Callable[[Tensor], Tensor], x: Tensor, lengths: Tensor | None) -> Tensor:
    """Apply a function to the rows of each length together, without their padding.

    For what has no masked form that gives the same: rows that are padded get what they get alone. (In
    training, batch norm then sees the rows of one length at a time.) What is recorded, compiled or exported
    has no padded rows: there lengths are not looked at.

    Args:
        function: (rows, length, ...) -> (rows, d).
        x: shape (batch, time, ...).
        lengths: real entries of the time axis, shape (batch,). None: no row is padded.

    Returns:
        shape (batch, d); the shortest rows are computed first.
    """
    recorded = x.is_cuda and torch.cuda.is_current_stream_capturing()
    if torch.compiler.is_compiling() or recorded:
        lengths = None  # a recording cannot ask for a number
    distinct = [x.shape[1]] if lengths is None else sorted(set(lengths.tolist()))
    if len(distinct) == 1:
        return function(x[:, : distinct[0]])
    groups = [(lengths == length).nonzero().squeeze(1) for length in distinct]
    parts = [function(x[rows, :length]) for rows, length in zip(groups, distinct, strict=True)]
    return torch.cat(parts)[torch.cat(groups).argsort()]


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
