"""Building blocks of the Mamba back-ends: projection, mixers, feed-forward, embedding head, configuration.

Every step that is not a matter of single frames is called with the real frames per row, ``lengths``.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from asvtk.nn.frames import frame_mask, stack_frames
from asvtk.nn.mixers import MixerName, build_mixer
from asvtk.nn.pooling import AttentiveStatisticsPooling, build_layer_sum
from asvtk.nn.rms_norm import RMSNorm

__all__ = ["BackEndConfig", "EmbeddingHead", "FeatureProjection", "FeedForward", "MixerBlock", "MixerStack"]


@dataclass(frozen=True)
class BackEndConfig:
    """Configuration that all Mamba back-ends share; each adds its own fields."""

    d_model: int = 144  # numbers a frame, from the projection to the pooling
    blocks: int = 3
    mixer: MixerName = "mamba"  # what mixes frames; the others are there for comparison
    combine: Literal["sum", "gate", "concat"] = "sum"  # of Mamba's two directions
    d_state: int = 16  # Mamba: states per channel of the scan
    d_conv: int = 4  # Mamba: taps of the causal convolution
    expand: int = 2  # Mamba: inner width / d_model
    heads: int = 4  # of attention
    d_embedding: int = 144
    dropout: float = 0.1

    def __post_init__(self):
        self._require_positive("d_model", "blocks", "d_state", "d_conv", "expand", "heads", "d_embedding")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must lie in [0, 1)")
        if self.mixer == "transformer":
            self._require_whole_heads()

    def _require_positive(self, *knobs: str) -> None:
        for knob in knobs:
            if getattr(self, knob) < 1:
                raise ValueError(f"{knob} must be positive")

    def _require_whole_heads(self) -> None:
        if self.d_model % (2 * self.heads):
            raise ValueError(f"d_model {self.d_model} must be a multiple of 2 * heads ({2 * self.heads})")


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
