"""Layer weighting, mean and variance normalisation, and attentive statistics pooling."""

import torch
from torch import Tensor, nn

from asvtk.nn.frames import frame_mask

__all__ = ["AttentiveStatisticsPooling", "GlobalMvn", "WeightedLayerSum", "build_layer_sum", "subtract_mean"]


class GlobalMvn(nn.Module):
    """Global mean and variance normalisation, over the training set, of each number of each layer.

    The statistics are buffers, filled once before training: they are part of the model, and what an
    utterance gets does not depend on its batch.
    """

    def __init__(self, layers: int, d_in: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(layers, 1, d_in))
        self.register_buffer("scale", torch.ones(layers, 1, d_in))

    def fit(self, utterances) -> None:
        """Take the statistics of an iterable of features, each of shape (layers, frames, d_in)."""
        count, total, square = 0, 0.0, 0.0
        for features in utterances:
            features = features.double()
            count += features.shape[1]
            total = total + features.sum(1, keepdim=True)
            square = square + features.square().sum(1, keepdim=True)
        mean = total / count
        variance = (square / count - mean.square()).clamp_min(1e-10)
        self.mean.copy_(mean)
        self.scale.copy_(variance.rsqrt())

    def forward(self, features: Tensor) -> Tensor:
        """(batch, layers, frames, d_in) -> the same shape."""
        return (features - self.mean) * self.scale


def subtract_mean(features: Tensor, lengths: Tensor) -> Tensor:
    """Subtract from each number its mean over the utterance's real frames.

    Args:
        features: shape (batch, layers, frames, d).
        lengths: real frames, shape (batch,).
    """
    mask = frame_mask(lengths, features.shape[2])[:, None, :, None].to(features.dtype)
    mean = (features * mask).sum(2, keepdim=True) / lengths.view(-1, 1, 1, 1).to(features.dtype)
    return features - mean


class WeightedLayerSum(nn.Module):
    """Learned convex combination of layers: softmax(w) . layers."""

    def __init__(self, layers: int):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(layers))

    def forward(self, features: Tensor) -> Tensor:
        """(batch, layers, frames, d) -> (batch, frames, d)."""
        return torch.einsum("l,bltd->btd", self.logits.softmax(0), features)


def build_layer_sum(layers: int) -> nn.Module:
    """``WeightedLayerSum``, where there are several layers: a single one has no weight to learn."""
    return WeightedLayerSum(layers) if layers > 1 else nn.Flatten(1, 2)


class AttentiveStatisticsPooling(nn.Module):
    """Attention-weighted mean and standard deviation over the real frames.

    Source: Okabe, Koshinaka and Shinoda, "Attentive statistics pooling for deep speaker embedding",
    Interspeech 2018.
    """

    def __init__(self, d_model: int, d_attention: int = 64):
        super().__init__()
        # The last has no bias: it would shift all scores of a softmax alike, which changes nothing.
        self.attention = nn.Sequential(
            nn.Linear(d_model, d_attention), nn.Tanh(), nn.Linear(d_attention, 1, bias=False)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(batch, frames, d_model) and the mask of real frames -> (batch, 2 * d_model)."""
        scores = self.attention(x).float().squeeze(-1).masked_fill(~mask, -torch.inf)
        weights = scores.softmax(-1).unsqueeze(-1).to(x.dtype)
        mean = (weights * x).sum(1)
        variance = (weights * (x - mean.unsqueeze(1)).square()).sum(1)
        return torch.cat([mean, (variance + 1e-6).sqrt()], dim=-1)
