"""The ``model`` section of a configuration: fields, defaults and limits of each back-end.

They stand apart from the back-ends, as a configuration is read and checked without torch.
"""

from dataclasses import dataclass
from typing import Literal

from asvtk.io.audio import SAMPLE_RATE
from asvtk.nn.config import MixerName

__all__ = [
    "AasistConfig",
    "AttentiveLayersConfig",
    "BackEndConfig",
    "CascadeMambaConfig",
    "ConvMoeMambaConfig",
    "DualStreamConfig",
    "GraphConfig",
    "LogisticConfig",
    "MhfaConfig",
    "MoeMambaConfig",
    "Nes2NetConfig",
    "PlainMambaConfig",
    "SlsConfig",
    "SslAasistConfig",
    "TcmConfig",
]


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


@dataclass(frozen=True)
class CascadeMambaConfig(BackEndConfig):
    name = "cascade_mamba"
    combine: Literal["sum", "gate", "concat"] = "gate"  # of Mamba's two directions
    fusion: Literal["cascade", "concat"] = "cascade"  # of the three layers; concat: side by side


@dataclass(frozen=True)
class PlainMambaConfig(BackEndConfig):
    name = "plain_mamba"
    stack: int = 1  # neighbouring frames joined into one; 2 brings 10 ms frames to the SSL models' 20 ms

    def __post_init__(self):
        super().__post_init__()
        self._require_positive("stack")


@dataclass(frozen=True)
class MoeMambaConfig(BackEndConfig):
    name = "moe_mamba"
    stack: int = 1  # neighbouring frames joined into one; 2 brings 10 ms frames to the SSL models' 20 ms
    experts: int = 4  # 1: one dense feed-forward network and no router
    top_k: int = 2  # experts per frame
    d_expert: int = 288  # hidden width of an expert
    balance_weight: float = 0.01  # load-balance loss, against routing collapse
    z_weight: float = 0.001  # router z-loss, against growing router logits

    def __post_init__(self):
        super().__post_init__()
        self._require_positive("stack", "experts", "d_expert")
        if not 1 <= self.top_k <= self.experts:
            raise ValueError(f"top_k {self.top_k} must lie between 1 and experts ({self.experts})")


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


@dataclass(frozen=True)
class DualStreamConfig(MoeMambaConfig):
    name = "dual_stream"
    streams: Literal["both", "features", "audio"] = "both"
    fusion: Literal["gated", "concat", "attention"] = "gated"  # of both streams
    filters: int = 70  # of the audio stream
    taps: int = 129  # of a filter: 8 ms
    hop: Literal[10, 20, 40, 80] = 10  # samples between a filter's outputs; twice as many halve the cost
    min_width: float = 10.0  # Hz, narrowest band that a filter may learn
    channels: tuple[int, ...] = (32, 32, 64, 64, 64, 64)  # of the six residual blocks
    audio_stack: int = 1  # neighbouring frames (20 ms) of the audio stream joined into one

    def __post_init__(self):
        super().__post_init__()
        self._require_positive("filters", "audio_stack")
        if self.filters > 8000 or self.taps > 2 * SAMPLE_RATE:
            raise ValueError(f"expected at most 8000 filters (one a Hz) and {2 * SAMPLE_RATE} taps")
        if self.taps < self.hop or self.taps % 2 == 0:  # fewer than hop would leave samples unheard
            raise ValueError(f"taps {self.taps} must be odd and not fewer than hop ({self.hop})")
        if not 0 < self.min_width < SAMPLE_RATE / 4:
            raise ValueError(f"min_width must lie between 0 and {SAMPLE_RATE // 4} Hz")
        if len(self.channels) != 6 or min(self.channels) < 1:
            raise ValueError("channels must be 6 positive numbers, one for each residual block")
        if self.streams == "both" and self.fusion == "attention":
            self._require_whole_heads()


@dataclass(frozen=True)
class GraphConfig:
    """Configuration that AASIST on audio and AASIST on features share."""

    channels: tuple[int, ...] = (32, 32, 64, 64, 64, 64)  # of the residual blocks
    d_graph: int = 64  # width of the nodes of the spectral and the temporal graph
    d_stack: int = 32  # width of the nodes in the heterogeneous stacks
    spectral_ratio: float = 0.5  # share of the spectral nodes that pooling keeps
    temporal_ratio: float = 0.7  # of the temporal ones
    stack_ratio: float = 0.5  # of both, between the two layers of a stack
    spectral_temperature: float = 2.0  # of the attention; high = even
    temporal_temperature: float = 2.0
    stack_temperature: float = 100.0

    def __post_init__(self):
        if not self.channels or min(*self.channels, self.d_graph, self.d_stack) < 1:
            raise ValueError("channels, d_graph and d_stack must be positive")
        for knob in ("spectral_ratio", "temporal_ratio", "stack_ratio"):
            if not 0 < getattr(self, knob) <= 1:
                raise ValueError(f"{knob} must lie in (0, 1]")
        if not min(self.spectral_temperature, self.temporal_temperature, self.stack_temperature) > 0:
            raise ValueError("temperatures must be positive")


@dataclass(frozen=True)
class AasistConfig(GraphConfig):
    name = "aasist"
    filters: int = 70
    taps: int = 129  # of a filter: 8 ms
    max_masked: int = 20  # in training a random run of fewer neighbouring filters is silenced; 0: none

    def __post_init__(self):
        if not 3 <= self.filters <= 8000 or self.taps < 1 or self.taps % 2 == 0:
            raise ValueError("expected 3 to 8000 filters, one a Hz at most, and an odd number of taps")
        if not 0 <= self.max_masked <= self.filters:
            raise ValueError(f"max_masked must lie between 0 and filters ({self.filters})")
        super().__post_init__()


@dataclass(frozen=True)
class SslAasistConfig(GraphConfig):
    name = "ssl_aasist"
    d_projection: int = 128  # numbers a frame on the map; three neighbours make a band
    temporal_ratio: float = 0.5  # of the temporal nodes that pooling keeps; on audio it is 0.7

    def __post_init__(self):
        super().__post_init__()
        if self.d_projection < 3:
            raise ValueError("d_projection must be 3 or more: three numbers make a band")


@dataclass(frozen=True)
class LogisticConfig:
    name = "logistic"
    statistics: Literal["mean", "mean_std"] = "mean"  # over time, of each number of each layer
    C: float | None = None  # inverse strength of the penalty; null: chosen from candidates
    candidates: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
    folds: int = 5  # of the cross-validation that chooses; all of a speaker's utterances are in one
    balanced: bool = True  # both classes weigh the same, whatever their numbers

    def __post_init__(self):
        if self.C is not None and not self.C > 0:
            raise ValueError("C must be positive, or null to choose it by cross-validation")
        if not self.candidates or not min(self.candidates) > 0:
            raise ValueError("candidates must be positive numbers, one or more")
        if self.folds < 2:
            raise ValueError("folds must be 2 or more")


@dataclass(frozen=True)
class SlsConfig:
    name = "sls"
    columns: int = 67  # parts of an utterance; 1: the hidden layer reads largest numbers of all of it
    d_embedding: int = 1024

    def __post_init__(self):
        if min(self.columns, self.d_embedding) < 1:
            raise ValueError("columns and d_embedding must be positive")


@dataclass(frozen=True)
class MhfaConfig:
    name = "mhfa"
    heads: int = 64  # each weighs the frames in its own way
    d_compressed: int = 128  # numbers a frame that keys and values are compressed to
    d_embedding: int = 256

    def __post_init__(self):
        if min(self.heads, self.d_compressed, self.d_embedding) < 1:
            raise ValueError("heads, d_compressed and d_embedding must be positive")


@dataclass(frozen=True)
class Nes2NetConfig:
    name = "nes2net"
    groups: int = 8  # that the numbers of a frame are split into
    scale: int = 8  # groups that a Res2Net block splits its own into
    dilation: int = 2  # frames between the three taps of convolutions
    squeeze: int = 1  # channels / hidden channels of squeeze and excitation

    def __post_init__(self):
        if min(self.groups, self.scale) < 2:
            raise ValueError("groups and scale must be 2 or more")
        if min(self.dilation, self.squeeze) < 1:
            raise ValueError("dilation and squeeze must be positive")


@dataclass(frozen=True)
class AttentiveLayersConfig:
    name = "attentive_layers"
    d_model: int = 64  # numbers a frame that all layers together are projected to
    d_embedding: int = 64
    dropout: float = 0.1

    def __post_init__(self):
        if min(self.d_model, self.d_embedding) < 1:
            raise ValueError("d_model and d_embedding must be positive")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must lie in [0, 1)")


@dataclass(frozen=True)
class TcmConfig:
    name = "tcm"
    d_model: int = 144
    blocks: int = 4
    heads: int = 4
    expand: int = 4  # hidden width of the feed-forward steps / d_model
    taps: int = 31  # of the convolution over time
    dropout: float = 0.0  # the published network has none

    def __post_init__(self):
        if min(self.d_model, self.blocks, self.heads, self.expand, self.taps) < 1:
            raise ValueError("d_model, blocks, heads, expand and taps must be positive")
        if self.d_model % self.heads:
            raise ValueError(f"d_model {self.d_model} must be a multiple of heads ({self.heads})")
        if self.taps % 2 == 0:
            raise ValueError(f"taps {self.taps}: expected an odd number")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must lie in [0, 1)")
