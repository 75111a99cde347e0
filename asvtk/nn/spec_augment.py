"""Masks over parts of time-frequency images, in training."""

import torch
from torch import Tensor, nn

__all__ = ["SpecAugment"]


class SpecAugment(nn.Module):
    """Set random runs of bands and of frames to zero, in training; each utterance gets its own.

    Source: Park et al., "SpecAugment: a simple data augmentation method for automatic speech recognition",
    Interspeech 2019, without time warping.

    Args:
        bands, frames: the longest run, as a share of all; runs are drawn evenly from nothing up to that.
        count: runs of each kind.
    """

    def __init__(self, bands: float, frames: float, count: int = 2):
        super().__init__()
        self.bands, self.frames, self.count = bands, frames, count

    def forward(self, image: Tensor) -> Tensor:
        """(batch, layers, frames, bands), zero on average -> the same shape."""
        if not self.training or not (self.bands or self.frames):
            return image
        for axis, share in ((2, self.frames), (3, self.bands)):
            size = image.shape[axis]
            places = torch.arange(size, device=image.device)
            for _ in range(self.count):
                begin, run = torch.rand(2, len(image), 1, device=image.device) * size
                mask = (places >= begin) & (places < begin + share * run)
                image = image.masked_fill(mask[:, None, :, None] if axis == 2 else mask[:, None, None], 0.0)
        return image
