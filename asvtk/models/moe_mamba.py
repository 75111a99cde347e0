"""MoE-Mamba (S3): blocks of bidirectional Mamba and a mixture of experts.

Learned weighted sum of the front-end's layers -> projection -> blocks of bidirectional Mamba and a
mixture of experts -> pooling over time -> embedding. On WavLM layers it is the reports'
WavLM-MoE-Mamba; it takes the features of any front-end.
"""

from torch import Tensor, nn

from asvtk.models.backend_config import MoeMambaConfig
from asvtk.models.base import BackEnd, Batch, Output
from asvtk.models.mamba_blocks import EmbeddingHead, FeatureProjection, FeedForward, MixerBlock
from asvtk.nn.frames import frame_mask
from asvtk.nn.moe import MixtureOfExperts
from asvtk.nn.pooling import GlobalMvn
from asvtk.nn.rms_norm import RMSNorm

__all__ = ["MoeMamba", "MoeMambaConfig", "MoeMambaStack"]


class MoeMamba(BackEnd):
    """MoE-Mamba back-end, for features of ``layers`` layers with ``d_in`` numbers a frame."""

    Config = MoeMambaConfig

    def __init__(self, config: MoeMambaConfig, layers: int, d_in: int):
        super().__init__()
        self.config = config
        self.d_embedding = config.d_embedding
        self.mvn = GlobalMvn(layers, d_in)
        self.features = FeatureProjection(layers, d_in, config.stack, config.d_model)
        self.blocks = MoeMambaStack(config)
        self.head = EmbeddingHead(config)

    def forward(self, batch: Batch) -> Output:
        x, lengths = self.features(self.mvn(batch.features), batch.lengths)
        x, auxiliary = self.blocks(x, lengths)
        return Output(self.head(x, lengths), auxiliary)

    @property
    def moe_layers(self) -> list[MixtureOfExperts]:
        """The routed layers, first block first; empty where the feed-forward networks are dense."""
        return self.blocks.moe_layers


class MoeMambaStack(nn.ModuleList):
    """Stack of MoE-Mamba blocks: (x, lengths) -> x, and the weighted router losses, averaged over blocks."""

    def __init__(self, config: MoeMambaConfig):
        super().__init__(MoeMambaBlock(config) for _ in range(config.blocks))
        self.config = config

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        mask = frame_mask(lengths, x.shape[1])
        auxiliary = x.new_zeros(())
        for block in self:
            x, balance, z = block(x, lengths, mask)
            auxiliary = auxiliary + self.config.balance_weight * balance + self.config.z_weight * z
        return x, auxiliary / len(self)

    @property
    def moe_layers(self) -> list[MixtureOfExperts]:
        return [block.experts for block in self if isinstance(block.experts, MixtureOfExperts)]


class MoeMambaBlock(MixerBlock):
    """Two residual steps, each normalised first: the mixer mixes frames, the experts mix numbers."""

    def __init__(self, config: MoeMambaConfig):
        super().__init__(config)
        self.experts_norm = RMSNorm(config.d_model)
        if config.experts > 1:
            self.experts = MixtureOfExperts(config.d_model, config.d_expert, config.experts, config.top_k)
        else:
            self.experts = FeedForward(config.d_model, config.d_expert)

    def forward(self, x: Tensor, lengths: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = super().forward(x, lengths)
        if isinstance(self.experts, MixtureOfExperts):
            transformed, balance, z = self.experts(self.experts_norm(x), mask)
        else:
            transformed, balance, z = self.experts(self.experts_norm(x)), x.new_zeros(()), x.new_zeros(())
        return x + self.dropout(transformed), balance, z
