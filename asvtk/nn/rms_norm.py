"""Root-mean-square normalisation under autocast."""

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["RMSNorm"]


class RMSNorm(nn.RMSNorm):
    """torch's, with a weight that takes the type of its input.

    Under autocast inputs are of half precision and weights are not; torch then leaves its fused kernels
    for slower ones, and warns.

    Source: Zhang & Sennrich, "Root mean square layer normalization", NeurIPS 2019.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)
