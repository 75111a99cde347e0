"""Cascade-Mamba (S1): gated injection of lower layers into higher ones, then bidirectional Mamba.

Three layers of the front-end, low (acoustics), mid (phonemes), high (semantics) -> a projection each
-> cascade injection: low into mid, and what comes of it into high -> blocks of bidirectional Mamba
whose directions a learned gate mixes -> pooling over time -> embedding. On layers 3, 12 and 24 of
XLS-R it is the Cascade-Mamba of the reports; it takes any three layers.
"""

import torch
from torch import Tensor, nn

from asvtk.io.errors import AsvtkError
from asvtk.models.backend_config import CascadeMambaConfig
from asvtk.models.base import BackEnd, Batch, Output
from asvtk.models.mamba_blocks import EmbeddingHead, MixerStack
from asvtk.nn.fusion import GatedInjection
from asvtk.nn.pooling import GlobalMvn

__all__ = ["CascadeMamba", "CascadeMambaConfig"]


class CascadeMamba(BackEnd):
    """Cascade-Mamba back-end, for features of three layers, low to high, with ``d_in`` numbers a frame.

    Raises:
        AsvtkError: there are not three layers.
    """

    Config = CascadeMambaConfig

    def __init__(self, config: CascadeMambaConfig, layers: int, d_in: int):
        super().__init__()
        if layers != 3:
            raise AsvtkError(
                f"model cascade_mamba: expected exactly 3 layers (low, mid, high), found {layers}; "
                "set frontend.layers, for example to [3, 12, 24]"
            )
        self.config = config
        self.d_embedding = config.d_embedding
        self.mvn = GlobalMvn(layers, d_in)
        self.projections = nn.ModuleList(nn.Linear(d_in, config.d_model) for _ in range(layers))
        self.neck = FUSIONS[config.fusion](config.d_model)  # "neck" in checkpoints
        self.blocks = MixerStack(config)
        self.head = EmbeddingHead(config)

    def forward(self, batch: Batch) -> Output:
        layers = self.mvn(batch.features).unbind(1)
        low, mid, high = (project(x) for project, x in zip(self.projections, layers, strict=True))
        x = self.blocks(self.neck(low, mid, high), batch.lengths)
        return Output(self.head(x, batch.lengths), x.new_zeros(()))


class Cascade(nn.Module):
    """Cascade fusion: low -> inject -> mid -> inject -> high."""

    def __init__(self, d_model: int):
        super().__init__()
        self.into_mid = GatedInjection(d_model)
        self.into_high = GatedInjection(d_model)

    def forward(self, low: Tensor, mid: Tensor, high: Tensor) -> Tensor:
        """Three times (batch, frames, d_model) -> the same shape."""
        return self.into_high(self.into_mid(low, mid), high)


class Concatenation(nn.Module):
    """Concatenation fusion, a linear layer over the three side by side: what the cascade is compared with."""

    def __init__(self, d_model: int):
        super().__init__()
        self.output = nn.Linear(3 * d_model, d_model)

    def forward(self, low: Tensor, mid: Tensor, high: Tensor) -> Tensor:
        return self.output(torch.cat([low, mid, high], dim=-1))


FUSIONS = {"cascade": Cascade, "concat": Concatenation}
