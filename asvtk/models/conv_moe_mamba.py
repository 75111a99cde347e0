"""Convolutional MoE-Mamba: MoE-Mamba behind a small residual encoder of time-frequency images.

The front-end's layers are the channels of an image. A strided residual encoder sees patterns of time
and frequency together, and hands sequences of 160 ms frames to the blocks of bidirectional Mamba and mixtures
of experts. Few weights: it is meant for corpora of some hundred utterances, and for CPUs.
"""

from dataclasses import dataclass

from torch import nn

from asvtk.models.base import BackEnd, Batch, Output
from asvtk.models.mamba_blocks import EmbeddingHead
from asvtk.models.moe_mamba import MoeMambaConfig, MoeMambaStack
from asvtk.nn.moe import MixtureOfExperts
from asvtk.nn.pooling import GlobalMvn, subtract_mean
from asvtk.nn.residual import StridedEncoder
from asvtk.nn.spec_augment import SpecAugment, shift_frames

__all__ = ["ConvMoeMamba", "ConvMoeMambaConfig"]


@dataclass(frozen=True)
class ConvMoeMambaConfig(MoeMambaConfig):
    name = "conv_moe_mamba"
    channels: tuple[int, ...] = (12, 16, 24, 32)  # of the encoder; each halves time and frequency
    shift: bool = True  # training rotates utterances along time
    mask_bands: float = 0.15  # longest run of bands that training masks, as a share; twice an utterance
    mask_frames: float = 0.1  # longest run of frames

    def __post_init__(self):
        super().__post_init__()
        if self.stack != 1:
            raise ValueError("stack must be 1: the encoder joins frames already")
        if len(self.channels) < 1 or min(self.channels) < 1:
            raise ValueError("channels must be positive numbers, one or more")
        if not (0 <= self.mask_bands < 1 and 0 <= self.mask_frames < 1):
            raise ValueError("mask_bands and mask_frames must lie in [0, 1)")


class ConvMoeMamba(BackEnd):
    """Convolutional MoE-Mamba back-end, for features of ``layers`` layers with ``d_in`` numbers a frame."""

    Config = ConvMoeMambaConfig

    def __init__(self, config: ConvMoeMambaConfig, layers: int, d_in: int):
        super().__init__()
        self.config = config
        self.d_embedding = config.d_embedding
        self.mvn = GlobalMvn(layers, d_in)
        self.mask = SpecAugment(config.mask_bands, config.mask_frames)
        self.encoder = StridedEncoder(layers, config.channels)
        self.projection = nn.Linear(config.channels[-1] * self.encoder.bands(d_in), config.d_model)
        self.blocks = MoeMambaStack(config)
        self.head = EmbeddingHead(config)

    def forward(self, batch: Batch) -> Output:
        # Without the mean of each band over the utterance, which is what a steady channel adds.
        features = subtract_mean(self.mvn(batch.features), batch.lengths)
        if self.training and self.config.shift:
            features = shift_frames(features, batch.lengths)
        x, lengths = self.encoder(self.mask(features).transpose(2, 3), batch.lengths)
        x, auxiliary = self.blocks(self.projection(x), lengths)
        return Output(self.head(x, lengths), auxiliary)

    @property
    def moe_layers(self) -> list[MixtureOfExperts]:
        """The routed layers, first block first; empty where the feed-forward networks are dense."""
        return self.blocks.moe_layers
