"""Sequence mixers under one interface, exchangeable in back-ends: Mamba, LSTM, attention.

A mixer is called with (x, lengths) and maps (batch, frames, d_model) to the same shape. A frame may
hear all real frames of its row, in both directions of time, and no padding.
"""

import torch
from torch import Tensor, nn

from asvtk.nn.attention import Attention
from asvtk.nn.config import MixerName
from asvtk.nn.frames import reverse_frames
from asvtk.nn.mamba import BiMamba

__all__ = ["BiLstm", "SelfAttention", "build_mixer"]


class BiLstm(nn.Module):
    """Bidirectional LSTM: one per direction, joined by a linear layer.

    Padding stands behind the real frames in both directions, as in ``BiMamba``; packing would have
    to know the lengths on the CPU.
    """

    def __init__(self, d_model: int):
        super().__init__()
        self.forwards = nn.LSTM(d_model, d_model, batch_first=True)
        self.backwards = nn.LSTM(d_model, d_model, batch_first=True)
        self.output = nn.Linear(2 * d_model, d_model)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        forward, _ = self.forwards(x)
        backward, _ = self.backwards(reverse_frames(x, lengths))
        return self.output(torch.cat([forward, reverse_frames(backward, lengths)], dim=-1))


class SelfAttention(Attention):
    """The mixer of a transformer; its feed-forward step is the business of the block around it."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return super().forward(x, x, lengths)


def build_mixer(
    name: MixerName, d_model: int, *, combine: str, d_state: int, d_conv: int, expand: int, heads: int
) -> nn.Module:
    """A fresh mixer.

    Args:
        name: which.
        d_model: width of the frames.
        combine, d_state, d_conv, expand: of ``BiMamba``.
        heads: of ``SelfAttention``.
    """
    if name == "bilstm":
        return BiLstm(d_model)
    if name == "transformer":
        return SelfAttention(d_model, heads)
    return BiMamba(d_model, combine, d_state=d_state, d_conv=d_conv, expand=expand)
