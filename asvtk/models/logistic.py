"""Logistic regression on statistics of a front-end's layers over time, solved exactly.

Mean, or mean and standard deviation, of each number of each layer over the real frames, standardised on
the training set, then logistic regression with an L2 penalty. There is nothing to tune but the penalty,
and no randomness. The score is the logit, bona fide positive.

Source: Pascu et al., "Towards generalisable and calibrated audio deepfake detection with self-supervised
representations", Interspeech 2024 (arXiv 2309.05384); on layer 9 of XLS-R-2B it is a system of arXiv
2506.09606.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from asvtk.models.backend_config import LogisticConfig
from asvtk.models.base import Batch, FittedBackEnd, Output
from asvtk.nn.frames import frame_mask
from asvtk.nn.pooling import GlobalMvn

__all__ = ["Logistic", "LogisticConfig"]


class Logistic(FittedBackEnd):
    """Logistic-regression back-end, for features of ``layers`` layers with ``d_in`` numbers a frame.

    The embedding has the terms of the logit: each standardised statistic times its weight, and the bias.
    """

    Config = LogisticConfig

    def __init__(self, config: LogisticConfig, layers: int, d_in: int):
        super().__init__()
        self.config = config
        count = layers * d_in * (2 if config.statistics == "mean_std" else 1)
        self.d_embedding = count + 1
        self.mvn = GlobalMvn(layers, d_in)
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("scale", torch.ones(count))
        self.weight = nn.Parameter(nn.init.normal_(torch.empty(count), std=count**-0.5))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, batch: Batch) -> Output:
        terms = (self.summary(batch) - self.mean) * self.scale * self.weight
        embedding = torch.cat([terms, self.bias.expand(terms.shape[0], 1)], dim=1)
        return Output(embedding, embedding.new_zeros(()))

    def summary(self, batch: Batch) -> Tensor:
        """Statistics over the real frames: (batch, layers * d_in), twice as many with deviations."""
        x = self.mvn(batch.features)
        real = frame_mask(batch.lengths, x.shape[2])[:, None, :, None]
        count = batch.lengths.view(-1, 1, 1)
        mean = (x * real).sum(2) / count
        if self.config.statistics == "mean":
            return mean.flatten(1)
        variance = ((x - mean.unsqueeze(2)).square() * real).sum(2) / count
        return torch.cat([mean, (variance + 1e-6).sqrt()], dim=-1).flatten(1)

    @torch.no_grad()
    def fit(self, summaries: Tensor, bonafide: Tensor, groups: Sequence[str]) -> tuple[float, str]:
        """Solve for weights and bias; see ``FittedBackEnd.fit``."""
        x, y = summaries.double().numpy(), bonafide.numpy()
        C, outcome = self.config.C, "C as given"
        if C is None:
            C, outcome = self._choose(x, y, np.asarray(groups))
        mean, scale = _standardisation(x)
        z = (x - mean) * scale
        weight, bias = next(self._solutions(z, y, [C]))
        for own, value in zip((self.mean, self.scale, self.weight), (mean, scale, weight), strict=True):
            own.copy_(torch.from_numpy(value))
        self.bias.fill_(bias)
        return float(_losses(z @ weight + bias, y).mean()), f"logistic regression, C {C:g}: {outcome}"

    def _choose(self, x: np.ndarray, y: np.ndarray, groups: np.ndarray) -> tuple[float, str]:
        """The candidate with the lowest loss on speakers that were left out, and that in words."""
        from sklearn.model_selection import StratifiedGroupKFold

        candidates, folds = sorted(self.config.candidates), self.config.folds
        if len(candidates) == 1:
            return candidates[0], "the only candidate"
        kind = "speakers"
        if min(len(set(groups[y])), len(set(groups[~y]))) < folds:
            # A speaker left out would leave a class without any: repeated rows stay together all the same.
            groups, kind = np.unique(x, axis=0, return_inverse=True)[1].ravel(), "utterances"
        folds = min(folds, len(set(groups[y])), len(set(groups[~y])))
        if folds < 2:
            return 1.0, "too few utterances to choose it"
        logits = np.empty((len(candidates), len(y)))
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
        for kept, left_out in splitter.split(x, y, groups):
            if y[kept].all() or not y[kept].any():
                return 1.0, f"{kind} of one class are too few to choose it"
            mean, scale = _standardisation(x[kept])
            solutions = self._solutions((x[kept] - mean) * scale, y[kept], candidates)
            for row, (weight, bias) in zip(logits, solutions, strict=True):
                row[left_out] = (x[left_out] - mean) * scale @ weight + bias
        losses = [(row[y].mean() + row[~y].mean()) / 2 for row in _losses(logits, y)]
        best = int(np.argmin(losses))
        edge = " (the end of model.candidates: try further ones)" if best in (0, len(losses) - 1) else ""
        return candidates[best], (
            f"of {len(candidates)} candidates the one with the lowest cross-entropy on {kind} left out, "
            f"{losses[best]:.4g} nats over {folds} folds{edge}"
        )

    def _solutions(self, z: np.ndarray, y: np.ndarray, strengths: list[float]) -> Iterator:
        """Weights and bias for each C, lowest first; each is where the search for the next one begins."""
        from sklearn.linear_model import LogisticRegression

        balance = "balanced" if self.config.balanced else None
        solver = LogisticRegression(class_weight=balance, tol=1e-8, max_iter=10_000, warm_start=True)
        for C in strengths:
            solver.set_params(C=C).fit(z, y)
            yield solver.coef_[0].copy(), float(solver.intercept_[0])


def _standardisation(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean, and inverse standard deviation; 0 of what varies by nothing but rounding, beside the others."""
    deviation = x.std(0)
    varies = deviation > np.maximum(1e-4 * np.median(deviation), 1e-6 * np.abs(x).max(0))
    return x.mean(0), np.divide(1, deviation, out=np.zeros_like(deviation), where=varies)


def _losses(logits: np.ndarray, bonafide: np.ndarray) -> np.ndarray:
    """Cross-entropy of each utterance, in nats."""
    return np.logaddexp(0, np.where(bonafide, -logits, logits))
