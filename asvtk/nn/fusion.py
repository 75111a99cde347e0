"""Two sequences into one: gated injection of one layer into the next, and fusion of two streams.

Both sequences have the shape (batch, frames, d_model) and one time axis. A fusion is called with
(a, b, lengths); it brings both streams to one scale first, so that what it learns is which to
listen to and not how loud they are.
"""

import torch
from torch import Tensor, nn

from asvtk.nn.attention import Attention
from asvtk.nn.rms_norm import RMSNorm

__all__ = ["AttentionFusion", "ConcatFusion", "GatedFusion", "GatedInjection"]


class GatedInjection(nn.Module):
    """Gated injection, target + g * V source, with a gate g in (0, 1) for each number, computed from both.

    The target passes unchanged, so that a chain of injections loses no gradient on its way to the
    last layer; and the gates start at 0.73 and V as a rotation, so that a chain of two starts by
    handing half of the first layer, and of its gradient, through.
    """

    def __init__(self, d_model: int):
        super().__init__()
        self.gate = nn.Linear(2 * d_model, d_model)
        self.value = nn.Linear(d_model, d_model)
        nn.init.ones_(self.gate.bias)
        nn.init.orthogonal_(self.value.weight)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        gate = self.gate(torch.cat([source, target], dim=-1)).sigmoid()
        return target + gate * self.value(source)


class GatedFusion(nn.Module):
    """Gated fusion, g * a + (1 - g) * b, with a gate g in (0, 1) for each number, computed from both."""

    def __init__(self, d_model: int):
        super().__init__()
        self.norm_a = RMSNorm(d_model)
        self.norm_b = RMSNorm(d_model)
        self.to_gate = nn.Linear(2 * d_model, d_model)

    def gate(self, a: Tensor, b: Tensor) -> Tensor:
        """The share of ``a`` in each number of each frame: the shape of ``a``."""
        return self.to_gate(torch.cat([self.norm_a(a), self.norm_b(b)], dim=-1)).sigmoid()

    def forward(self, a: Tensor, b: Tensor, lengths: Tensor) -> Tensor:
        gate = self.gate(a, b)
        return gate * self.norm_a(a) + (1 - gate) * self.norm_b(b)


class ConcatFusion(nn.Module):
    """Concatenation fusion: a linear layer over both side by side."""

    def __init__(self, d_model: int):
        super().__init__()
        self.norm_a = RMSNorm(d_model)
        self.norm_b = RMSNorm(d_model)
        self.output = nn.Linear(2 * d_model, d_model)

    def forward(self, a: Tensor, b: Tensor, lengths: Tensor) -> Tensor:
        return self.output(torch.cat([self.norm_a(a), self.norm_b(b)], dim=-1))


class AttentionFusion(nn.Module):
    """Cross-attention fusion, a + attention: each frame of ``a`` asks all real frames of ``b``."""

    def __init__(self, d_model: int, heads: int):
        super().__init__()
        self.norm_a = RMSNorm(d_model)
        self.norm_b = RMSNorm(d_model)
        self.attention = Attention(d_model, heads)

    def forward(self, a: Tensor, b: Tensor, lengths: Tensor) -> Tensor:
        a = self.norm_a(a)
        return a + self.attention(a, self.norm_b(b), lengths)
