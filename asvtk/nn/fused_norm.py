"""Fused residual addition, layer norm and GELU, in one pass over memory where a GPU helps."""

from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.nn.kernels import kernels_serve

__all__ = ["add_norm", "norm_gelu"]


def add_norm(x: Tensor, branch: Tensor, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """A residual step and the norm behind it.

    Args:
        x: the residual stream, shape (..., d).
        branch: what is added, in the precision of matrix products.
        norm: float32 gain and bias.

    Returns:
        the sum, float32, and the sum normalised, in the precision of ``branch``.
    """
    if kernels_serve(branch):
        from asvtk.nn.kernels.norm import normalise

        return normalise(
            x.contiguous(), branch.contiguous(), norm.weight, norm.bias, norm.eps, branch.dtype, gelu=False
        )
    total = x.float() + branch
    return total, norm(total).to(branch.dtype)


def norm_gelu(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """``gelu(norm(x))``, shape and precision of ``x``; ``norm`` in float32."""
    if kernels_serve(x):
        from asvtk.nn.kernels.norm import normalise

        return normalise(x.contiguous(), None, norm.weight, norm.bias, norm.eps, x.dtype, gelu=True)[1]
    return F.gelu(norm(x.float())).to(x.dtype)
