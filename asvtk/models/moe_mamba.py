"""System S3: MoE-Mamba.

Learned weighted sum of the front-end's layers -> projection -> blocks of bidirectional Mamba and a
mixture of experts -> pooling over time -> embedding. On WavLM layers it is the reports'
WavLM-MoE-Mamba; it takes the features of any front-end.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from asvtk.models.base import Inputs, Output, System
from asvtk.nn.frames import frame_mask, stack_frames
from asvtk.nn.mamba import BiMamba
from asvtk.nn.moe import MixtureOfExperts
from asvtk.nn.pooling import AttentiveStatisticsPooling, GlobalMvn, WeightedLayerSum

__all__ = ["MoeMamba", "MoeMambaConfig"]


@dataclass(frozen=True)
class MoeMambaConfig:
    name = "moe_mamba"
    stack: int = 1  # neighbouring frames joined into one; 2 brings 10 ms frames to the SSL models' 20 ms
    d_model: int = 144  # width after the projection
    blocks: int = 3
    d_state: int = 16  # states per channel of the scan
    d_conv: int = 4  # taps of the causal convolution
    expand: int = 2  # inner width of Mamba / d_model
    experts: int = 4
    top_k: int = 2  # experts per frame
    d_expert: int = 288  # hidden width of an expert
    d_embedding: int = 144
    dropout: float = 0.1
    balance_weight: float = 0.01  # load-balance loss, against routing collapse
    z_weight: float = 0.001  # router z-loss, against growing router logits

    def __post_init__(self):
        if not 1 <= self.top_k <= self.experts:
            raise ValueError(f"top_k {self.top_k} must lie between 1 and experts ({self.experts})")
        for knob in ("stack", "d_model", "blocks", "d_state", "d_conv", "expand", "d_expert", "d_embedding"):
            if getattr(self, knob) < 1:
                raise ValueError(f"{knob} must be positive")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must lie in [0, 1)")


class MoeMamba(System):
    """The system, for features of ``layers`` layers with ``d_in`` numbers a frame."""

    def __init__(self, config: MoeMambaConfig, layers: int, d_in: int):
        super().__init__()
        self.config = config
        self.d_embedding = config.d_embedding
        self.mvn = GlobalMvn(layers, d_in)
        self.layer_sum = WeightedLayerSum(layers)
        self.projection = nn.Linear(config.stack * d_in, config.d_model)
        self.blocks = nn.ModuleList(MoeMambaBlock(config) for _ in range(config.blocks))
        self.norm = nn.RMSNorm(config.d_model)
        self.pooling = AttentiveStatisticsPooling(config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.embedding = nn.Linear(2 * config.d_model, config.d_embedding)

    def forward(self, inputs: Inputs) -> Output:
        x, lengths = self.layer_sum(self.mvn(inputs.features)), inputs.lengths
        x, lengths = stack_frames(x, lengths, self.config.stack)
        x = self.projection(x)
        mask = frame_mask(lengths, x.shape[1])
        auxiliary = x.new_zeros(())
        for block in self.blocks:
            x, balance, z = block(x, lengths, mask)
            auxiliary = auxiliary + self.config.balance_weight * balance + self.config.z_weight * z
        pooled = self.pooling(self.norm(x), mask)
        return Output(self.embedding(self.dropout(pooled)), auxiliary / self.config.blocks)


class MoeMambaBlock(nn.Module):
    """Two residual steps, each normalised first: BiMamba mixes frames, the experts mix numbers."""

    def __init__(self, config: MoeMambaConfig):
        super().__init__()
        self.mixer_norm = nn.RMSNorm(config.d_model)
        self.mixer = BiMamba(
            d_model=config.d_model, d_state=config.d_state, d_conv=config.d_conv, expand=config.expand
        )
        self.experts_norm = nn.RMSNorm(config.d_model)
        self.experts = MixtureOfExperts(config.d_model, config.d_expert, config.experts, config.top_k)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, lengths: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = x + self.dropout(self.mixer(self.mixer_norm(x), lengths))
        transformed, balance, z = self.experts(self.experts_norm(x), mask)
        return x + self.dropout(transformed), balance, z
