"""Multi-head self- and cross-attention with rotary positions."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.nn.frames import frame_mask

__all__ = ["Attention"]


class Attention(nn.Module):
    """Multi-head attention with rotary positions; every frame may look at every real frame.

    Source: Vaswani et al., "Attention is all you need", NeurIPS 2017; positions after Su et al.,
    "RoFormer", arXiv 2104.09864, section 3.2.2: they need no parameters and no longest length.

    Args:
        d_model: width; every head gets an even part of it.
        heads: how many.

    Raises:
        ValueError: the parts would not be even whole numbers.
    """

    def __init__(self, d_model: int, heads: int):
        super().__init__()
        if d_model % (2 * heads):
            raise ValueError(f"d_model {d_model} must be a multiple of 2 * heads ({2 * heads})")
        self.heads = heads
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key_value = nn.Linear(d_model, 2 * d_model, bias=False)
        self.output = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, context: Tensor, lengths: Tensor) -> Tensor:
        """Let ``x`` look at ``context``.

        Args:
            x, context: shape (batch, frames, d_model), on one time axis.
            lengths: real frames of ``context``, shape (batch,).

        Returns:
            shape of ``x``.
        """
        query = _rotate(self._split(self.query(x)))
        key, value = (self._split(part) for part in self.key_value(context).chunk(2, dim=-1))
        visible = frame_mask(lengths, context.shape[1])[:, None, None]
        attended = F.scaled_dot_product_attention(query, _rotate(key), value, attn_mask=visible)
        return self.output(attended.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        """(batch, frames, d_model) -> (batch, heads, frames, d_head)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def _rotate(x: Tensor) -> Tensor:
    """Turn each pair of numbers by an angle that grows with time: products then see time differences."""
    frames, d_head = x.shape[-2:]
    rates = 10_000.0 ** -(torch.arange(0, d_head, 2, device=x.device) / d_head)
    angles = torch.arange(frames, device=x.device).unsqueeze(1) * rates
    cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)
