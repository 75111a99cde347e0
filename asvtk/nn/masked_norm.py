"""Batch normalisation of padded sequences."""

import torch
from torch import Tensor, nn

__all__ = ["MaskedBatchNorm"]


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation whose statistics are, in training, those of the real frames alone.

    In evaluation it uses the averages that training left, so that what a frame gets does not depend
    on the batch's composition.
    """

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Normalise; padding becomes zero.

        Args:
            x: shape (batch, features, frames).
            mask: True at real frames, shape (batch, frames).
        """
        mask = mask.unsqueeze(1)
        mean, variance = self.running_mean, self.running_var
        if self.training:
            share = mask / mask.sum()
            mean = (x * share).sum((0, 2))
            variance = ((x - mean.unsqueeze(1)).square() * share).sum((0, 2))
            with torch.no_grad():
                self.num_batches_tracked += 1
                weight = (1 / self.num_batches_tracked).clamp_min(self.momentum)  # no trace of the 0 and 1
                self.running_mean.lerp_(mean, weight)
                self.running_var.lerp_(variance, weight)
        gain = self.weight * (variance + self.eps).rsqrt()
        return (x * gain.unsqueeze(1) + (self.bias - mean * gain).unsqueeze(1)) * mask
