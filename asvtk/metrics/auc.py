"""Area under the ROC curve, its variance, and a paired test of two systems.

E. DeLong, D. DeLong and D. Clarke-Pearson, "Comparing the areas under two or more correlated receiver
operating characteristic curves: a nonparametric approach", Biometrics 1988; by ranks instead of pairs as in
X. Sun and W. Xu, "Fast implementation of DeLong's algorithm for comparing the areas under correlated receiver
operating characteristic curves", IEEE Signal Processing Letters 2014. Trials are taken for independent: where
many are of one speaker, the grouped bootstrap is the better judge.
"""

import math
from typing import NamedTuple

import numpy as np

from asvtk.io.errors import AsvtkError

__all__ = ["Auc", "auc", "delong_test"]

_Z = 1.959963984540054  # 97.5 % of the normal distribution lie below


class Auc(NamedTuple):
    """Share of pairs of a bona fide trial and a spoof that are in order, ties counting half; in [0, 1]."""

    value: float
    variance: float

    @property
    def interval(self) -> list[float]:
        """Both ends of the 95 % interval, normal, within [0, 1]."""
        half = _Z * math.sqrt(self.variance)
        return [max(0.0, self.value - half), min(1.0, self.value + half)]


def auc(bonafide, spoof) -> Auc:
    """AUC and DeLong's variance of it.

    Args:
        bonafide, spoof: scores (n_bonafide,) and (n_spoof,), higher = bona fide.

    Raises:
        AsvtkError: one of the two is empty.
    """
    of_bonafide, of_spoof = _placements(bonafide, spoof)
    return Auc(float(np.mean(of_bonafide)), _variance_of_mean(of_bonafide) + _variance_of_mean(of_spoof))


def delong_test(scores_a, scores_b, bonafide) -> dict:
    """Is the AUC of system A different from that of system B on the same trials?

    Args:
        scores_a, scores_b: (n,), higher = bona fide. bonafide: bool (n,).

    Returns:
        ``auc`` (of A and B), ``difference`` (A - B), ``interval`` (95 %, of the difference) and the two-sided
        ``p_value``; without any variance it is 1 if the two are equal, else 0.

    Raises:
        AsvtkError: one class has no trial.
    """
    placements = [_placements(scores[bonafide], scores[~bonafide]) for scores in (scores_a, scores_b)]
    values = [float(np.mean(of_bonafide)) for of_bonafide, _ in placements]
    difference = values[0] - values[1]
    variance = sum(_variance_of_mean(a - b) for a, b in zip(*placements, strict=True))
    half = _Z * math.sqrt(variance)
    p_value = float(difference == 0)
    if variance > 0:
        p_value = math.erfc(abs(difference) / math.sqrt(2 * variance))
    return {
        "auc": values,
        "difference": difference,
        "interval": [difference - half, difference + half],
        "p_value": p_value,
    }


def _placements(bonafide, spoof):
    """For each trial the share of the other class on its right side, ties counting half (V10 and V01)."""
    bonafide, spoof = np.asarray(bonafide), np.asarray(spoof)
    if not bonafide.size or not spoof.size:
        raise AsvtkError(
            f"AUC of {bonafide.size} bona fide and {spoof.size} spoof trials: needs some of each"
        )
    below = _rank(np.sort(spoof), bonafide) / spoof.size
    return below, 1 - _rank(np.sort(bonafide), spoof) / bonafide.size


def _rank(ranked: np.ndarray, values: np.ndarray) -> np.ndarray:
    """How many of ``ranked`` lie below each value, those equal to it counting half."""
    return (np.searchsorted(ranked, values) + np.searchsorted(ranked, values, side="right")) / 2


def _variance_of_mean(values: np.ndarray) -> float:
    """Nil of one value, which tells of no spread."""
    return float(np.var(values, ddof=1) / values.size) if values.size > 1 else 0.0
