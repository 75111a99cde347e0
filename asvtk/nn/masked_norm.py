"""Batch normalisation of padded sequences and maps."""

import torch
from torch import Tensor, nn

__all__ = ["MaskedBatchNorm", "MaskedMapNorm"]


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


class MaskedMapNorm(nn.Module):
    """Batch normalisation of a map as one channel: one mean, variance, gain and bias for all its numbers."""

    def __init__(self):
        super().__init__()
        self.norm = MaskedBatchNorm(1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Normalise; padding becomes zero.

        Args:
            x: shape (batch, frames, d).
            mask: True at real frames, shape (batch, frames).
        """
        return self.norm(x.flatten(1).unsqueeze(1), mask.repeat_interleave(x.shape[2], 1)).view_as(x)
