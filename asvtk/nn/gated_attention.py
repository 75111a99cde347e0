"""Self-attention with WavLM's gated relative position bias.

    softmax(q k^T / sqrt(d) + gate_i * bias_ij) v,    gate = sigmoid(a) (scale * sigmoid(b) - 1) + 2

where ``a`` and ``b`` are projections of the query's frame, and the bias depends on the distance of j
from i alone.

Source: Chen et al., "WavLM: Large-scale self-supervised pre-training for full stack speech
processing", IEEE JSTSP 16, 2022, section III-A; the gate's form is that of the published weights.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from asvtk.nn.frames import frame_mask
from asvtk.nn.kernels import kernels_serve

__all__ = ["gated_attention", "position_bias"]


def gated_attention(
    projected: Tensor,
    heads: int,
    gate_scale: Tensor | None = None,
    bias: Tensor | None = None,
    lengths: Tensor | None = None,
) -> Tensor:
    """Self-attention with a gated relative position bias.

    Args:
        projected: queries, keys and values of all heads side by side, and with a gate also ``a`` and
            ``b`` of all heads: shape (batch, frames, 3 * d [+ 2 * heads]).
        heads: number of heads.
        gate_scale: shape (heads,); None: no position bias.
        bias: as ``position_bias`` gives it.
        lengths: real frames, shape (batch,); keys behind them are not looked at. None: all are real.

    Returns:
        shape (batch, frames, d).
    """
    if kernels_serve(projected):
        from asvtk.nn.kernels.attention import attend

        return attend(projected, heads, gate_scale, bias, lengths)
    batch, frames, width = projected.shape
    d = (width if gate_scale is None else width - 2 * heads) // 3
    qkv = projected[..., : 3 * d]
    if width * projected.element_size() % 16:  # fused kernels want rows that begin at multiples of 16 bytes
        qkv = qkv.contiguous()
    q, k, v = qkv.view(batch, frames, 3, heads, d // heads).permute(2, 0, 3, 1, 4)
    mask = None
    if gate_scale is not None:
        a, b = projected[..., 3 * d :].float().sigmoid().chunk(2, dim=-1)  # (batch, frames, heads)
        gate = (a * (b * gate_scale - 1) + 2).transpose(1, 2).unsqueeze(-1)
        mask = gate.to(bias.dtype) * bias
    if lengths is not None:
        real = frame_mask(lengths, frames)[:, None, None, :]
        mask = real if mask is None else mask.masked_fill(~real, -torch.inf)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return y.transpose(1, 2).reshape(batch, frames, d)


def position_bias(embedding: Tensor, longest: int, frames: int, dtype: torch.dtype) -> Tensor:
    """The bias of every pair of frames.

    Half of the buckets are for each sign of the distance; a bucket for every short distance, then
    logarithmically growing ones.

    Args:
        embedding: bias by bucket, shape (buckets, heads).
        longest: from this distance on it is the same.
        frames: number of frames.
        dtype: of the result.

    Returns:
        shape (heads, frames, frames); rows are aligned in memory as fused kernels want them.
    """
    buckets, heads = embedding.shape
    half = buckets // 2
    exact = half // 2
    places = torch.arange(frames, device=embedding.device)
    distances = places - places.unsqueeze(1)
    size = distances.abs()
    steps = torch.log(size.clamp_min(1).float() / exact) / math.log(longest / exact) * (half - exact)
    far = (exact + steps).long().clamp_max(half - 1)
    bucket = torch.where(size < exact, size, far) + half * (distances > 0)
    aligned = embedding.new_empty(heads, frames, frames + -frames % 16, dtype=dtype)[..., :frames]
    return aligned.copy_(embedding[bucket].permute(2, 0, 1))
