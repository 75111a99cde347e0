"""Building blocks of the Mamba back-ends: projection, mixers, feed-forward, embedding head.

Every step that is not a matter of single frames is called with the real frames per row, ``lengths``.
"""

from torch import Tensor, nn

from asvtk.models.backend_config import BackEndConfig
from asvtk.nn.frames import frame_mask, stack_frames
from asvtk.nn.mixers import build_mixer
from asvtk.nn.pooling import AttentiveStatisticsPooling, build_layer_sum
from asvtk.nn.rms_norm import RMSNorm

__all__ = ["BackEndConfig", "EmbeddingHead", "FeatureProjection", "FeedForward", "MixerBlock", "MixerStack"]


class FeatureProjection(nn.Module):
    """Normalised features of one or many layers -> one sequence of the model's width.

    Args:
        layers, d_in: shape of the features.
        stack: neighbouring frames joined into one.
        d_model: width of the sequence.
    """

    def __init__(self, layers: int, d_in: int, stack: int, d_model: int):
        super().__init__()
        self.stack = stack
        self.layer_sum = build_layer_sum(layers)
        self.projection = nn.Linear(stack * d_in, d_model)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, layers, frames, d_in) -> (batch, ceil(frames / stack), d_model), and new lengths."""
        x, lengths = stack_frames(self.layer_sum(features), lengths, self.stack)
        return self.projection(x), lengths


class MixerBlock(nn.Module):
    """Residual mixer block: x + mixer(norm(x))."""

    def __init__(self, config: BackEndConfig):
        super().__init__()
        self.mixer_norm = RMSNorm(config.d_model)
        self.mixer = build_mixer(
            config.mixer,
            config.d_model,
            combine=config.combine,
            d_state=config.d_state,
            d_conv=config.d_conv,
            expand=config.expand,
            heads=config.heads,
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return x + self.dropout(self.mixer(self.mixer_norm(x), lengths))


class FeedForward(nn.Sequential):
    """Feed-forward network of each frame: linear, GELU, linear."""

    def __init__(self, d_model: int, d_hidden: int):
        super().__init__(nn.Linear(d_model, d_hidden), nn.GELU(), nn.Linear(d_hidden, d_model))


class TransformerBlock(MixerBlock):
    """x + attention(norm(x)), then x + feed_forward(norm(x)).

    Mamba blocks transform frames as well as mix them; attention alone would be no match for them.
    With a feed-forward step four times as wide both have 12 d_model^2 weights.
    """

    def __init__(self, config: BackEndConfig):
        super().__init__(config)
        self.feed_forward_norm = RMSNorm(config.d_model)
        self.feed_forward = FeedForward(config.d_model, 4 * config.d_model)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        x = super().forward(x, lengths)
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))


class MixerStack(nn.ModuleList):
    """Stack of blocks without experts: (x, lengths) -> x."""

    def __init__(self, config: BackEndConfig):
        block = TransformerBlock if config.mixer == "transformer" else MixerBlock
        super().__init__(block(config) for _ in range(config.blocks))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        for block in self:
            x = block(x, lengths)
        return x


class EmbeddingHead(nn.Module):
    """Embedding of an utterance from its sequence: attentive statistics, one linear layer."""

    def __init__(self, config: BackEndConfig):
        super().__init__()
        self.norm = RMSNorm(config.d_model)
        self.pooling = AttentiveStatisticsPooling(config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.embedding = nn.Linear(2 * config.d_model, config.d_embedding)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(batch, frames, d_model) -> (batch, d_embedding)."""
        pooled = self.pooling(self.norm(x), frame_mask(lengths, x.shape[1]))
        return self.embedding(self.dropout(pooled))
