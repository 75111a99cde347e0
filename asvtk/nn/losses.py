"""Losses that carry their own scoring rule. Higher score = bona fide.

A loss is a module: what it learns (a class vector) is part of the model and of its checkpoints, and
``score`` needs no labels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["LOSSES", "LOSS_CONFIGS", "OcSoftmax", "OcSoftmaxConfig"]


@dataclass(frozen=True)
class OcSoftmaxConfig:
    name = "oc_softmax"
    r_real: float = 0.9  # bona fide embeddings are pushed above this cosine
    r_fake: float = 0.5  # spoofed ones below this
    alpha: float = 20.0  # sharpness

    def __post_init__(self):
        if not -1 <= self.r_fake < self.r_real <= 1:
            raise ValueError("expected -1 <= r_fake < r_real <= 1")
        if not self.alpha > 0:
            raise ValueError("alpha must be positive")


class OcSoftmax(nn.Module):
    """One-class softmax: bona fide speech in a cone around one learned vector, the rest outside.

    Source: Zhang, Jiang and Duan, "One-class learning towards synthetic voice spoofing detection",
    IEEE SPL 28, 2021, equation 4.
    """

    def __init__(self, config: OcSoftmaxConfig, d_embedding: int):
        super().__init__()
        self.config = config
        self.centre = nn.Parameter(torch.empty(d_embedding))
        nn.init.uniform_(self.centre, -0.25, 0.25)

    def score(self, embedding: Tensor) -> Tensor:
        """Cosine to the centre: (batch, d_embedding) -> (batch,), float32."""
        return F.normalize(embedding.float(), dim=-1) @ F.normalize(self.centre.float(), dim=0)

    def forward(self, embedding: Tensor, bonafide: Tensor) -> Tensor:
        """Mean loss.

        Args:
            embedding: shape (batch, d_embedding).
            bonafide: True for bona fide, shape (batch,).
        """
        cosine = self.score(embedding)
        shortfall = torch.where(bonafide, self.config.r_real - cosine, cosine - self.config.r_fake)
        return F.softplus(self.config.alpha * shortfall).mean()


LOSSES = {OcSoftmaxConfig: OcSoftmax}
LOSS_CONFIGS = {config.name: config for config in LOSSES}
