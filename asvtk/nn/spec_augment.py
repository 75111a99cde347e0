"""SpecAugment: masks and time shifts of time-frequency images in training."""

import torch
from torch import Tensor, nn

__all__ = ["SpecAugment", "shift_frames"]


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


def shift_frames(image: Tensor, lengths: Tensor) -> Tensor:
    """Rotate the real frames of each utterance by a random number of them; padding stays behind.

    For audio that is repeated up to its crop's length this is a crop that begins elsewhere.

    Args:
        image: shape (batch, layers, frames, bands).
        lengths: real frames, shape (batch,).
    """
    places = torch.arange(image.shape[2], device=image.device)
    lengths = lengths.unsqueeze(1)
    begin = (torch.rand(lengths.shape, device=image.device) * lengths).long()
    source = torch.where(places < lengths, (places + begin) % lengths, places)
    return image.gather(2, source[:, None, :, None].expand_as(image))
