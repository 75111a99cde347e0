"""Losses that carry their own scoring rule. Higher score = bona fide.

A loss is a module: what it learns (a class vector) is part of the model and of its checkpoints, and
``score`` needs no labels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from asvtk.nn.config import LogitConfig, OcSoftmaxConfig, WeightedCrossEntropyConfig

__all__ = [
    "Logit",
    "LogitConfig",
    "OcSoftmax",
    "OcSoftmaxConfig",
    "WeightedCrossEntropy",
    "WeightedCrossEntropyConfig",
]


def _float32(embedding: Tensor):
    """Within this context autocast, which may be on in training, leaves products their precision."""
    return torch.autocast(embedding.device.type, enabled=False)


class OcSoftmax(nn.Module):
    """One-class softmax: bona fide speech in a cone around one learned vector, the rest outside.

    Source: Zhang, Jiang and Duan, "One-class learning towards synthetic voice spoofing detection",
    IEEE SPL 28, 2021, equation 4.
    """

    Config = OcSoftmaxConfig

    def __init__(self, config: OcSoftmaxConfig, d_embedding: int):
        super().__init__()
        self.config = config
        self.centre = nn.Parameter(torch.empty(d_embedding))
        nn.init.uniform_(self.centre, -0.25, 0.25)

    def score(self, embedding: Tensor) -> Tensor:
        """Cosine to the centre: (batch, d_embedding) -> (batch,), float32."""
        with _float32(embedding):
            return F.normalize(embedding.float(), dim=-1) @ F.normalize(self.centre.float(), dim=0)

    def forward(self, embedding: Tensor, bonafide: Tensor) -> Tensor:
        """Mean loss.

        Args:
            embedding: shape (batch, d_embedding).
            bonafide: True for bona fide, shape (batch,); or its probability, float32, of which the loss is
                the expectation.
        """
        cosine = self.score(embedding)
        if bonafide.is_floating_point():
            of_fake = F.softplus(self.config.alpha * (cosine - self.config.r_fake))
            of_real = F.softplus(self.config.alpha * (self.config.r_real - cosine))
            return torch.lerp(of_fake, of_real, bonafide).mean()
        shortfall = torch.where(bonafide, self.config.r_real - cosine, cosine - self.config.r_fake)
        return F.softplus(self.config.alpha * shortfall).mean()


class WeightedCrossEntropy(nn.Module):
    """Two logits, spoof and bona fide, under class-weighted cross-entropy.

    The score is a logit and never a softmax probability: that saturates, and saturated scores tie.
    """

    Config = WeightedCrossEntropyConfig

    def __init__(self, config: WeightedCrossEntropyConfig, d_embedding: int):
        super().__init__()
        self.config = config
        self.classifier = nn.Linear(d_embedding, 2)  # spoof, bona fide
        # On the device before training begins: a step that copies from the host cannot be recorded.
        weights = torch.tensor([config.spoof_weight, config.bonafide_weight])
        self.register_buffer("weights", weights, persistent=False)

    def _logits(self, embedding: Tensor) -> Tensor:
        with _float32(embedding):
            return self.classifier(embedding.to(self.classifier.weight.dtype)).float()

    def score(self, embedding: Tensor) -> Tensor:
        """(batch, d_embedding) -> (batch,), float32."""
        spoof, bonafide = self._logits(embedding).unbind(-1)
        return bonafide - spoof if self.config.score == "difference" else bonafide

    def forward(self, embedding: Tensor, bonafide: Tensor) -> Tensor:
        """Weighted mean loss; shapes as in ``OcSoftmax``."""
        logits = self._logits(embedding)
        if bonafide.is_floating_point():
            weighted = torch.stack([1 - bonafide, bonafide], dim=1) * self.weights.float()
            return -(weighted * F.log_softmax(logits, dim=-1)).sum() / weighted.sum()
        return F.cross_entropy(logits, bonafide.long(), self.weights.float())


class Logit(nn.Module):
    """Logit of bona fide as the back-end gives it: the sum of its embedding. It has no parameters.

    For back-ends that are logistic models themselves, such as ``asvtk.models.logistic``.
    """

    Config = LogitConfig

    def __init__(self, config: LogitConfig, d_embedding: int):
        super().__init__()
        self.config = config

    def score(self, embedding: Tensor) -> Tensor:
        """(batch, d_embedding) -> (batch,), float32."""
        return embedding.float().sum(-1)

    def forward(self, embedding: Tensor, bonafide: Tensor) -> Tensor:
        """Mean binary cross-entropy; shapes as in ``OcSoftmax``."""
        return F.binary_cross_entropy_with_logits(self.score(embedding), bonafide.float())
