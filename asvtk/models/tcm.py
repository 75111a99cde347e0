"""Conformer with temporal-channel modelling (TCM).

Projection of each frame -> batch norm of the map, SELU -> positions, and a class token before the first
frame -> Conformer blocks whose attention has a token for each head -> the class token is the embedding.

Source: Truong et al., "Temporal-channel modeling in multi-head self-attention for synthetic speech
detection", Interspeech 2024 (arXiv 2406.17376), after Rosello et al., "A Conformer-based classifier for
variable-length utterance processing in anti-spoofing", Interspeech 2023.
"""

import torch
from torch import nn
from torch.nn import functional as F

from asvtk.models.backend_config import TcmConfig
from asvtk.models.base import BackEnd, Batch, Output
from asvtk.nn.conformer import ConformerBlock, sinusoidal_positions
from asvtk.nn.frames import frame_mask
from asvtk.nn.masked_norm import MaskedMapNorm
from asvtk.nn.pooling import GlobalMvn, build_layer_sum

__all__ = ["Tcm", "TcmConfig"]


class Tcm(BackEnd):
    """TCM Conformer back-end, for features of ``layers`` layers with ``d_in`` numbers a frame.

    Of several layers it takes a learned weighted sum.
    """

    Config = TcmConfig

    def __init__(self, config: TcmConfig, layers: int, d_in: int):
        super().__init__()
        self.config = config
        self.d_embedding = config.d_model
        self.mvn = GlobalMvn(layers, d_in)
        self.layer_sum = build_layer_sum(layers)
        self.projection = nn.Linear(d_in, config.d_model)
        self.norm = MaskedMapNorm()
        self.class_token = nn.Parameter(torch.rand(1, config.d_model))
        self.blocks = nn.ModuleList(
            ConformerBlock(config.d_model, config.heads, config.expand, config.taps, config.dropout)
            for _ in range(config.blocks)
        )

    def forward(self, batch: Batch) -> Output:
        x = self.projection(self.layer_sum(self.mvn(batch.features)))
        mask = frame_mask(batch.lengths, x.shape[1])
        x = F.selu(self.norm(x, mask)) + sinusoidal_positions(x.shape[1], x.shape[2], x.device)
        x = torch.cat([self.class_token.expand(x.shape[0], 1, -1), x], dim=1)
        mask = F.pad(mask, (1, 0), value=True)
        for block in self.blocks:
            x = block(x, mask)
        embedding = x[:, 0]
        return Output(embedding, embedding.new_zeros(()))
