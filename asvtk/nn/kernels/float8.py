"""``asvtk.nn.float8.quantise_rows`` as one kernel: each row is read and written once."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from asvtk.nn.kernels.norm import gelu_of

__all__ = ["quantise"]


def quantise(x: Tensor, gelu: bool) -> tuple[Tensor, Tensor]:
    """(rows, d) -> the rows in 8 bits, and the scale of each, (rows, 1)."""
    rows, d = x.shape
    y = torch.empty_like(x, dtype=torch.float8_e4m3fn)
    scale = torch.empty(rows, 1, device=x.device)
    _quantise[(rows,)](x, y, scale, d, triton.next_power_of_2(d), gelu, num_warps=4)
    return y, scale


@triton.jit
def _quantise(x, y, scale, D: tl.constexpr, BLOCK: tl.constexpr, GELU: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    value = tl.load(x + row * D + column, mask=column < D, other=0.0).to(tl.float32)
    if GELU:
        value = gelu_of(value)
    own = tl.maximum(tl.max(tl.abs(value), 0) / 448.0, 1e-12)
    tl.store(scale + row, own)
    tl.store(y + row * D + column, (value / own).to(tl.float8e4nv), mask=column < D)
