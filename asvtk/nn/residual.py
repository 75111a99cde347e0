"""Residual convolutional encoders of time-frequency images."""

from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.nn.frames import frame_mask

__all__ = ["ResidualBlock", "ResidualEncoder", "StridedEncoder"]


class ResidualBlock(nn.Module):
    """x + two 3 x 3 convolutions, each behind batch normalisation and SELU.

    Source: He et al., "Identity mappings in deep residual networks", ECCV 2016, figure 1 (b).
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1):
        super().__init__()
        self.stride = stride
        self.norm1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False)
        self.shortcut = nn.Identity()
        if channels_in != channels_out or stride > 1:
            self.shortcut = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(batch, channels_in, bands, columns) and 1 at real columns, (batch, 1, 1, columns).

        The convolutions pad with zeros; padding columns are zero as well when they see them, so that
        an utterance meets the same surroundings alone and in a batch.
        """
        y = self.conv1(F.selu(self.norm1(x)) * mask)
        y = self.conv2(F.selu(self.norm2(y)) * mask[..., :: self.stride])
        return self.shortcut(x) + y


class ResidualEncoder(nn.Module):
    """Residual blocks; behind each of the first ones max-pooling halves the columns.

    Batch normalisation keeps scores independent of the composition of batches: when scoring, it uses the
    averages that training left. In training its statistics count padding columns, where there are any, as
    zeros; the field trains on crops of equal length, which have none.

    Args:
        channels: of each block's output.
        halvings: how many times the columns are halved, less often than there are blocks.
    """

    def __init__(self, channels: tuple[int, ...], halvings: int):
        super().__init__()
        self.halvings = halvings
        self.columns_per_frame = 2**halvings
        pairs = zip((1, *channels[:-1]), channels, strict=True)
        self.blocks = nn.ModuleList(ResidualBlock(before, after) for before, after in pairs)
        self.norm = nn.BatchNorm2d(channels[-1])

    def forward(self, image: Tensor, lengths: Tensor) -> Tensor:
        """Encode.

        Args:
            image: shape (batch, 1, bands, columns), ``columns_per_frame`` columns a frame; zero at
                padding.
            lengths: real frames, shape (batch,).

        Returns:
            shape (batch, columns / columns_per_frame, channels * bands).
        """
        frames = frame_mask(lengths, image.shape[-1] // self.columns_per_frame)
        mask = frames.repeat_interleave(self.columns_per_frame, dim=1)[:, None, None].to(image.dtype)
        x = image
        for index, block in enumerate(self.blocks):
            x = block(x, mask)
            if index < self.halvings:
                x, mask = F.max_pool2d(x, (1, 2)), mask[..., ::2]
        return F.selu(self.norm(x)).flatten(1, 2).transpose(1, 2)


class StridedEncoder(nn.Module):
    """A 5 x 5 convolution, then residual blocks; each of them halves both axes of the image.

    Halving by stride from the first convolution on, it needs a fraction of ``ResidualEncoder``'s time.
    Batch normalisation as there.

    Args:
        channels_in: of the image.
        channels: of the convolution's output, and of each block's.
    """

    def __init__(self, channels_in: int, channels: tuple[int, ...]):
        super().__init__()
        self.columns_per_frame = 2 ** len(channels)
        self.stem = nn.Conv2d(channels_in, channels[0], 5, 2, padding=2, bias=False)
        self.blocks = nn.ModuleList(
            ResidualBlock(*pair, stride=2) for pair in zip(channels, channels[1:], strict=False)
        )
        self.norm = nn.BatchNorm2d(channels[-1])

    def bands(self, bands: int) -> int:
        """How many bands are left of so many."""
        return -(-bands // self.columns_per_frame)

    def forward(self, image: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode.

        Args:
            image: shape (batch, channels_in, bands, columns).
            lengths: real columns, shape (batch,).

        Returns:
            shape (batch, ceil(columns / columns_per_frame), channels * bands left), and real frames a row.
        """
        mask = frame_mask(lengths, image.shape[-1])[:, None, None].to(image.dtype)
        x, mask = self.stem(image * mask), mask[..., ::2]
        for block in self.blocks:
            x, mask = block(x, mask), mask[..., ::2]
        frames = -(-lengths // self.columns_per_frame)
        return F.selu(self.norm(x)).flatten(1, 2).transpose(1, 2), frames
