"""Conformer blocks with head tokens, for padded sequences that begin with a class token.

Source: Gulati et al., "Conformer: convolution-augmented transformer for speech recognition", Interspeech 2020
(arXiv 2005.08100). Head tokens: Truong et al., "Temporal-channel modeling in multi-head self-attention for
synthetic speech detection", Interspeech 2024 (arXiv 2406.17376).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.nn.frames import mean_over_frames
from asvtk.nn.masked_norm import MaskedBatchNorm

__all__ = ["ConformerBlock", "HeadTokenAttention", "sinusoidal_positions"]


class ConformerBlock(nn.Module):
    """Half a feed-forward step, attention with head tokens, convolution, half a feed-forward step, norm.

    Args:
        d_model: width.
        heads: of the attention; they divide ``d_model``.
        expand: hidden width of the feed-forward steps / ``d_model``; the convolution has twice ``d_model``
            channels.
        taps: of the convolution over time, an odd number.
        dropout: behind every step.
    """

    def __init__(self, d_model: int, heads: int, expand: int, taps: int, dropout: float):
        super().__init__()
        self.before, self.after = (_FeedForward(d_model, expand * d_model, dropout) for _ in range(2))
        self.attention_norm = nn.LayerNorm(d_model)
        self.attention = HeadTokenAttention(d_model, heads)
        self.convolution = _Convolution(d_model, 2 * d_model, taps)
        self.norm = nn.LayerNorm(d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(batch, tokens, d_model), the class token first, and the mask of real tokens -> the same shape."""
        x = x + 0.5 * self.dropout(self.before(x))
        x = x + self.dropout(self.attention(self.attention_norm(x), mask))
        x = x + self.dropout(self.convolution(x, mask))
        return self.norm(x + 0.5 * self.dropout(self.after(x)))


class HeadTokenAttention(nn.Module):
    """Multi-head self-attention to which a token for each head's channels is added.

    A head token is made of the mean over time of the channels that the head has, so that attention
    over tokens also relates channels to each other and to time. Behind the attention the class token
    takes in the mean of the head tokens, and that of the frames.
    """

    def __init__(self, d_model: int, heads: int):
        super().__init__()
        self.heads = heads
        d_head = d_model // heads
        self.token_projection = nn.Linear(d_head, d_model)
        self.token_norm = nn.LayerNorm(d_head)
        self.token_position = nn.Parameter(torch.zeros(1, heads, d_model))
        self.query_key_value = nn.Linear(d_model, 3 * d_model, bias=False)
        self.output = nn.Linear(d_model, d_model)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """As in ``ConformerBlock``."""
        tokens = x.shape[1]
        means = mean_over_frames(x, mask).unflatten(1, (self.heads, -1))  # (batch, heads, d_head)
        made = self.token_projection(means).unflatten(2, (self.heads, -1))
        made = F.gelu(self.token_norm(made)).flatten(2) + self.token_position
        seen = F.pad(mask, (0, self.heads), value=True)[:, None, None]
        parts = self.query_key_value(torch.cat([x, made], dim=1)).chunk(3, dim=2)
        query, key, value = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        y = self.output(attended.transpose(1, 2).flatten(2))
        frames, heads = y[:, 1:tokens], y[:, tokens:]
        real = mask[:, 1:].unsqueeze(2)
        mean = (frames * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)
        return torch.cat([y[:, :1] + heads.mean(1, keepdim=True) + mean, frames], dim=1)


class _FeedForward(nn.Sequential):
    def __init__(self, d_model: int, d_hidden: int, dropout: float):
        super().__init__(
            nn.LayerNorm(d_model),
            nn.Linear(d_model, d_hidden),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(d_hidden, d_model),
        )


class _Convolution(nn.Module):
    def __init__(self, d_model: int, channels: int, taps: int):
        super().__init__()
        self.norm = nn.LayerNorm(d_model)
        self.expand = nn.Linear(d_model, 2 * channels)
        # Without a bias, which the norm behind it would undo.
        self.depthwise = nn.Conv1d(channels, channels, taps, padding=taps // 2, groups=channels, bias=False)
        self.batch_norm = MaskedBatchNorm(channels)
        self.merge = nn.Linear(channels, d_model)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        gated = F.glu(self.expand(self.norm(x)), dim=2) * mask.unsqueeze(2)
        y = self.batch_norm(self.depthwise(gated.transpose(1, 2)), mask)
        return self.merge(F.silu(y).transpose(1, 2))


def sinusoidal_positions(frames: int, d_model: int, device=None) -> Tensor:
    """Sine and cosine of each place at falling rates: (frames, d_model).

    Source: Vaswani et al., "Attention is all you need", NeurIPS 2017, section 3.5.
    """
    rates = 10_000.0 ** -(torch.arange(0, d_model, 2, device=device) / d_model)
    angles = torch.arange(frames, device=device).unsqueeze(1) * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :d_model]
