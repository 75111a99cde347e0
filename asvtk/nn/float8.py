"""Linear layers in 8-bit floating point (E4M3), every row scaled by its largest number.

Source: Micikevicius et al., "FP8 formats for deep learning", arXiv 2209.05433. GPUs from Ada and Hopper on
multiply such numbers twice as fast as 16-bit ones; elsewhere the same numbers are multiplied in float32.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.nn.kernels import kernels_serve

__all__ = ["FLOAT8", "Float8Linear", "dtype_of", "quantise_rows", "wide"]

FLOAT8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FLOAT8).max  # 448
_ALIGNED = 16  # what the GPU's products want sizes to be multiples of


def dtype_of(precision: str) -> torch.dtype:
    """The type of ``float8``, or of torch's own names such as ``bfloat16``."""
    return FLOAT8 if precision == "float8" else getattr(torch, precision)


def wide(dtype: torch.dtype) -> torch.dtype:
    """The precision of what stands beside products of ``dtype``: bfloat16 beside those of 8 bits."""
    return torch.bfloat16 if dtype == FLOAT8 else dtype


class Float8Linear(nn.Module):
    """Frozen linear layer, (..., in) -> (..., out), bfloat16 in and out.

    Args:
        weight: (out, in), ``in`` a multiple of 16.
        bias: (out,), or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None):
        super().__init__()
        self.outputs = len(weight)
        missing = -self.outputs % _ALIGNED
        rounded, scale = quantise_rows(F.pad(weight.detach(), (0, 0, 0, missing)))
        bias = weight.new_zeros(self.outputs) if bias is None else bias.detach()
        # No parameters: conversions of a whole module to another type would undo the rounding.
        self.register_buffer("weight", rounded)
        self.register_buffer("scale", scale.T.contiguous())  # (1, out)
        self.register_buffer("bias", F.pad(bias, (0, missing)).bfloat16())

    def forward(self, x: Tensor, gelu: bool = False) -> Tensor:
        """The layer on ``x``, or on ``gelu(x)``."""
        rows, scale = quantise_rows(x.bfloat16().flatten(0, -2), gelu)
        if kernels_serve(x) and torch.cuda.get_device_capability(x.device) >= (8, 9):
            y = torch._scaled_mm(
                rows,
                self.weight.T,
                scale,
                self.scale,
                self.bias,
                out_dtype=torch.bfloat16,
                use_fast_accum=True,
            )
        else:
            y = (F.linear(rows.float(), self.weight.float()) * scale * self.scale + self.bias).bfloat16()
        return y.unflatten(0, x.shape[:-1])[..., : self.outputs]


def quantise_rows(x: Tensor, gelu: bool = False) -> tuple[Tensor, Tensor]:
    """``x`` or ``gelu(x)`` in 8 bits.

    Args:
        x: (rows, d).
        gelu: whether GELU comes first.

    Returns:
        the nearest numbers of the format, (rows, d), and the float32 scale of each row, (rows, 1).
    """
    if kernels_serve(x):
        from asvtk.nn.kernels.float8 import quantise

        return quantise(x.contiguous(), gelu)
    x = F.gelu(x.float()) if gelu else x.float()
    scale = (x.abs().amax(1, keepdim=True) / LARGEST).clamp_min(1e-12)
    return (x / scale).to(FLOAT8), scale
