"""Attentive probe: logistic regression on a mean over time whose weights are learned with it.

A frame x weighs softmax(q · x) within its utterance, one linear query q (self-attention pooling: P. Safari,
M. India and J. Hernando, "Self-attention encoding and pooling for speaker recognition", Interspeech 2020,
arXiv 2008.01077). It begins as the linear probe of plain means, q = 0, and is trained on that probe's
objective, with q penalised as its weights are. The recipe is fixed, C included.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch

from asvtk.training.probe import LinearProbe, fit_probe

__all__ = ["AttentiveProbe", "fit_attentive_probe"]

_STRENGTH = 1.0  # C; on 298 real clips smaller ones had a higher dev EER
_BATCH = 64
_LR = 1e-3  # highest; it falls to 0 along a cosine
_PASSES = 5
_LEAST_STEPS = 400


@dataclass(frozen=True)
class AttentiveProbe:
    """A fitted probe: frames of an utterance -> logit, higher = bona fide."""

    linear: LinearProbe  # of the weighted mean
    query: np.ndarray  # (dimensions,), for standardised frames

    def score(self, utterances: Iterable[np.ndarray]) -> np.ndarray:
        """Logits, float64 (utterances,), of frames (frames, dimensions) of each utterance."""
        return np.array([self._logit(frames) for frames in utterances], dtype=np.float64)

    def _logit(self, frames: np.ndarray) -> float:
        standard = (frames - self.linear.mean) / self.linear.scale
        energies = standard @ self.query
        attention = np.exp(energies - energies.max())
        return attention @ (standard @ self.linear.weights) / attention.sum() + self.linear.bias


def fit_attentive_probe(
    means: np.ndarray, read: Callable[[int], np.ndarray], bonafide: np.ndarray, seed: int = 1
) -> AttentiveProbe:
    """Fit a probe, both classes weighted alike, by Adam: five passes, or 400 batches of 64 if that is more.

    Args:
        means: plain means over time of the training set, float32 (utterances, dimensions).
        read: number of an utterance -> its frames, float32 (frames, dimensions).
        bonafide: bool (utterances,).
        seed: of the order of the utterances.

    Raises:
        AsvtkError: one class is missing.
    """
    linear = fit_probe(means, bonafide, strengths=(_STRENGTH,))
    weights = torch.tensor(linear.weights, dtype=torch.float32, requires_grad=True)
    bias = torch.tensor(linear.bias, dtype=torch.float32, requires_grad=True)
    query = torch.zeros_like(weights, requires_grad=True)
    count, rng = len(bonafide), np.random.default_rng(seed)
    of_class = torch.tensor([count / (2 * (~bonafide).sum()), count / (2 * bonafide.sum())])
    steps = max(_LEAST_STEPS, _PASSES * -(-count // _BATCH))
    optimizer = torch.optim.Adam([weights, bias, query], lr=_LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    order = np.array([], dtype=int)
    for _ in range(steps):
        while len(order) < _BATCH:
            order = np.concatenate([order, rng.permutation(count)])
        batch, order = order[:_BATCH], order[_BATCH:]
        frames, padding = _pad([(read(number) - linear.mean) / linear.scale for number in batch])
        attention = torch.softmax(frames @ query + padding, 1)
        logits = (attention * (frames @ weights)).sum(1) + bias
        target = torch.from_numpy(bonafide[batch])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, target.float(), weight=of_class[target.long()]
        )
        # As in logistic regression: C times the sum of losses, and half the squares.
        penalty = (weights.square().sum() + query.square().sum()) / (2 * _STRENGTH * count)
        optimizer.zero_grad()
        (loss + penalty).backward()
        optimizer.step()
        schedule.step()
    found = LinearProbe(linear.mean, linear.scale, weights.detach().numpy(), bias.item(), _STRENGTH, {})
    return AttentiveProbe(found, query.detach().numpy())


def _pad(utterances: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames (utterances, most frames, dimensions), and 0, or -inf where there is none, for energies."""
    sequences = [torch.from_numpy(frames) for frames in utterances]
    frames = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True)
    lengths = torch.tensor([len(of) for of in sequences])
    padding = torch.zeros(frames.shape[:2])
    padding[torch.arange(frames.shape[1]) >= lengths[:, None]] = -torch.inf
    return frames, padding
