"""Convolutional MoE-Mamba: MoE-Mamba behind a small residual encoder of time-frequency images.

The front-end's layers are the channels of an image. A strided residual encoder sees patterns of time
and frequency together, and hands sequences of 160 ms frames to the blocks of bidirectional Mamba and mixtures
of experts. Few weights: it is meant for corpora of some hundred utterances, and for CPUs.
"""

from torch import nn

from asvtk.models.backend_config import ConvMoeMambaConfig
from asvtk.models.base import BackEnd, Batch, Output
from asvtk.models.mamba_blocks import EmbeddingHead
from asvtk.models.moe_mamba import MoeMambaStack
from asvtk.nn.moe import MixtureOfExperts
from asvtk.nn.pooling import GlobalMvn, subtract_mean
from asvtk.nn.residual import StridedEncoder
from asvtk.nn.spec_augment import SpecAugment, shift_frames

__all__ = ["ConvMoeMamba", "ConvMoeMambaConfig"]


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
