"""``asvtk.nn.gated_attention`` as one kernel.

The gate is made and the position bias added while scores are computed: the mask of (utterances x
heads x frames x frames) numbers, which PyTorch's fused attention wants in each block, never exists.
"""

import triton
import triton.language as tl
from torch import Tensor

__all__ = ["attend"]

QUERIES, KEYS, WARPS, STAGES = 64, 32, 4, 3  # the fastest of those tried on one H200


def attend(
    projected: Tensor, heads: int, gate_scale: Tensor | None, bias: Tensor | None, lengths: Tensor | None
) -> Tensor:
    """As ``gated_attention``, for heads whose width is a power of two from 16 on."""
    batch, frames, width = projected.shape
    d = (width if gate_scale is None else width - 2 * heads) // 3
    y = projected.new_empty(batch, frames, d)
    grid = (triton.cdiv(frames, QUERIES), batch * heads)
    unused = projected
    _attend[grid](
        projected,
        y,
        unused if gate_scale is None else gate_scale,
        unused if bias is None else bias,
        unused if lengths is None else lengths,
        frames,
        projected.stride(0),
        projected.stride(1),
        0 if bias is None else bias.stride(0),
        0 if bias is None else bias.stride(1),
        (d // heads) ** -0.5,
        heads,
        d // heads,
        gate_scale is not None,
        lengths is not None,
        QUERIES,
        KEYS,
        num_warps=WARPS,
        num_stages=STAGES,
    )
    return y


@triton.jit
def _attend(
    projected,  # (batch, frames, q k v for each head [, gate halves])
    y,  # (batch, frames, d)
    gate_scale,
    bias,
    lengths,
    frames,
    stride_batch,
    stride_frame,
    stride_bias_head,
    stride_bias_row,
    scale,
    HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    GATED: tl.constexpr,
    RAGGED: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
):
    LOG2E: tl.constexpr = 1.4426950408889634  # exponentials are of base 2
    D: tl.constexpr = HEADS * WIDTH
    utterance, head = tl.program_id(1) // HEADS, tl.program_id(1) % HEADS
    real = frames
    if RAGGED:
        real = tl.load(lengths + utterance).to(tl.int32)
    rows = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    row = tl.minimum(rows, frames - 1)  # rows behind the last one repeat it, and are not stored
    columns = tl.arange(0, WIDTH)
    utterance_base = projected + utterance.to(tl.int64) * stride_batch
    base = utterance_base + head * WIDTH
    q = tl.load(base + row[:, None] * stride_frame + columns)
    gate = tl.zeros([QUERIES], tl.float32)
    bias_rows = bias + head * stride_bias_head + row[:, None] * stride_bias_row
    if GATED:
        halves = utterance_base + 3 * D + head + row * stride_frame
        gate_a = tl.sigmoid(tl.load(halves).to(tl.float32))
        gate_b = tl.sigmoid(tl.load(halves + HEADS).to(tl.float32))
        gate = (gate_a * (gate_b * tl.load(gate_scale + head).to(tl.float32) - 1) + 2) * LOG2E
    highest = tl.full([QUERIES], -float("inf"), tl.float32)
    total = tl.zeros([QUERIES], tl.float32)
    result = tl.zeros([QUERIES, WIDTH], tl.float32)
    whole = real // KEYS * KEYS
    for begin in range(0, whole, KEYS):
        highest, total, result = _hear(
            q,
            gate,
            bias_rows,
            base + D,
            begin,
            real,
            stride_frame,
            scale * LOG2E,
            highest,
            total,
            result,
            WIDTH,
            D,
            GATED,
            KEYS,
            False,
        )
    if whole < real:
        highest, total, result = _hear(
            q,
            gate,
            bias_rows,
            base + D,
            whole,
            real,
            stride_frame,
            scale * LOG2E,
            highest,
            total,
            result,
            WIDTH,
            D,
            GATED,
            KEYS,
            True,
        )
    out = y + (utterance.to(tl.int64) * frames + rows[:, None]) * D + head * WIDTH + columns
    tl.store(out, (result / total[:, None]).to(y.dtype.element_ty), mask=(rows < frames)[:, None])


@triton.jit
def _hear(
    q,
    gate,
    bias_rows,
    keys,
    begin,
    real,
    stride_frame,
    scale,
    highest,
    total,
    result,
    WIDTH: tl.constexpr,
    D: tl.constexpr,
    GATED: tl.constexpr,
    KEYS: tl.constexpr,
    LAST: tl.constexpr,
):
    """One step of the running softmax: a block of keys; only the last block may hold too few."""
    others = begin + tl.arange(0, KEYS)
    other = others
    if LAST:
        other = tl.minimum(others, real - 1)
    places = keys + other[:, None] * stride_frame + tl.arange(0, WIDTH)
    k = tl.load(places)
    v = tl.load(places + D)
    scores = tl.dot(q, tl.trans(k)) * scale
    if GATED:
        scores += gate[:, None] * tl.load(bias_rows + other[None, :]).to(tl.float32)
    if LAST:
        scores = tl.where((others < real)[None, :], scores, -float("inf"))
    new_highest = tl.maximum(highest, tl.max(scores, 1))
    shrink = tl.exp2(highest - new_highest)
    weights = tl.exp2(scores - new_highest[:, None])
    total = total * shrink + tl.sum(weights, 1)
    result = result * shrink[:, None] + tl.dot(weights.to(v.dtype), v)
    return new_highest, total, result
