"""Linear probes of a frozen encoder's hidden layers: which of them tells bona fide speech from spoofs.

The frames of an utterance are pooled over time, standardised on the training set, and classified by logistic
regression with an L2 penalty (G. Alain and Y. Bengio, "Understanding intermediate layers using linear
classifier probes", 2016, arXiv 1610.01644). The penalty is chosen by cross-validation whose folds share no
speaker (or source), or on dev.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from asvtk.io.errors import AsvtkError
from asvtk.metrics.eer import compute_eer

__all__ = ["STRENGTHS", "LinearProbe", "fit_probe"]

#: values of C, the inverse of the penalty, that are tried
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_FOLDS = 5
#: utterances of the training set that cross-validation sees; the fit itself sees all
_MOST_FOR_CHOICE = 5_000


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe: standardised features -> logit, higher = bona fide."""

    mean: np.ndarray  # (dimensions,)
    scale: np.ndarray
    weights: np.ndarray
    bias: float
    strength: float  # C
    chosen_by: dict  # C -> EER in percent, by which it was chosen

    def score(self, features: np.ndarray) -> np.ndarray:
        """Logits, float64 (utterances,), of features (utterances, dimensions)."""
        return ((features - self.mean) / self.scale) @ self.weights.astype(np.float64) + self.bias


def fit_probe(
    features: np.ndarray,
    bonafide: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    dev: tuple[np.ndarray, np.ndarray] | None = None,
    strengths=STRENGTHS,
    seed: int = 1,
) -> LinearProbe:
    """Fit a probe, both classes weighted alike.

    Args:
        features: of the training set, float32 (utterances, dimensions).
        bonafide: bool (utterances,).
        groups: speaker or source of each utterance, (utterances,): no fold shares one with another.
        dev: features and labels to choose C on, instead of cross-validation.
        strengths: values of C to choose from, the smallest of equally good ones; of one nothing is chosen.
        seed: of the choice of utterances, where there are more than 5,000.

    Raises:
        AsvtkError: one class is missing, in the training set or in all of the other folds.
    """
    _require_both(bonafide, "the training set")
    mean, scale = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
    mean, scale = mean.astype(np.float32), np.maximum(scale, 1e-6).astype(np.float32)
    standard = (features - mean) / scale
    if len(strengths) == 1:
        rates = {}
    elif dev is not None:
        held = (dev[0] - mean) / scale
        rates = _rates(_fits(standard, bonafide, strengths), [(held, dev[1])])
    else:
        rates = _cross_validate(standard, bonafide, groups, strengths, seed)
    best = min(strengths, key=lambda strength: (rates.get(strength), strength))
    (weights, bias), *_ = _fits(standard, bonafide, [best]).values()
    return LinearProbe(mean, scale, weights, bias, best, rates)


def _require_both(bonafide: np.ndarray, where: str) -> None:
    if bonafide.all() or not bonafide.any():
        raise AsvtkError(
            f"{where} holds {'bona fide speech' if bonafide.all() else 'spoofs'} only; a probe needs both"
        )


def _fits(features: np.ndarray, bonafide: np.ndarray, strengths) -> dict:
    """C -> weights and bias; each fit goes on from the one before."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(class_weight="balanced", warm_start=True, max_iter=300, tol=1e-4)
    fits = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last digits of a probe decide nothing
        for strength in sorted(strengths):
            model.set_params(C=strength).fit(features, bonafide)
            fits[strength] = model.coef_[0].copy(), float(model.intercept_[0])
    return fits


def _rates(fits: dict, sets) -> dict:
    """C -> EER in percent of sets (features, labels), all of their scores together."""
    rates = {}
    for strength, (weights, bias) in fits.items():
        scores = np.concatenate([features @ weights + bias for features, _ in sets])
        labels = np.concatenate([labels for _, labels in sets])
        rates[strength] = 100 * compute_eer(scores[labels], scores[~labels])[0]
    return rates


def _cross_validate(features, bonafide, groups, strengths, seed: int) -> dict:
    """C -> EER in percent of the held-out scores of all folds together."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if len(bonafide) > _MOST_FOR_CHOICE:
        chosen = np.random.default_rng(seed).permutation(len(bonafide))[:_MOST_FOR_CHOICE]
        features, bonafide = features[chosen], bonafide[chosen]
        groups = None if groups is None else groups[chosen]
    splitter = StratifiedKFold if groups is None else StratifiedGroupKFold
    folds = min(_FOLDS, int(bonafide.sum()), int((~bonafide).sum()))
    if groups is not None:
        folds = min(folds, len(np.unique(groups)))
    if folds < 2:
        raise AsvtkError("cross-validation needs two groups, and two utterances of each class")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes with few groups, which is told below
        splits = list(splitter(folds, shuffle=True, random_state=seed).split(features, bonafide, groups))
    scores = {strength: np.empty(len(bonafide)) for strength in strengths}
    for train, held in splits:
        _require_both(bonafide[train], "all folds but one hold together, by their groups, a set that")
        for strength, (weights, bias) in _fits(features[train], bonafide[train], strengths).items():
            scores[strength][held] = features[held] @ weights + bias
    return {strength: 100 * compute_eer(of[bonafide], of[~bonafide])[0] for strength, of in scores.items()}
