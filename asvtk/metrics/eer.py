"""Error rates at every threshold, and the equal error rate in its two conventions.

A trial is accepted as bona fide when its score is **above** the threshold. FRR is the share of bona
fide trials rejected (Pmiss), FAR the share of spoofs accepted (Pfa).
"""

import math
from typing import NamedTuple

import numpy as np

from asvtk.io.errors import AsvtkError

__all__ = ["DetCurve", "compute_eer", "det_curve", "eer", "error_rates", "rocch_eer"]


class DetCurve(NamedTuple):
    """Error rates of the n + 1 ways to cut n ranked trials: cut k rejects the k lowest.

    Attributes:
        frr: (n + 1,) share of bona fide trials rejected, rising from 0 to 1.
        far: (n + 1,) share of spoofs accepted, falling from 1 to 0.
        thresholds: (n + 1,) score of the last trial rejected; for cut 0 a little below the lowest
            (-inf below the lowest double).
    """

    frr: np.ndarray
    far: np.ndarray
    thresholds: np.ndarray


def det_curve(bonafide, spoof) -> DetCurve:
    """Sweep the threshold over all scores in the official convention of ASVspoof.

    Among trials of one score, bona fide ones are rejected first, and cuts between them count:
    ties are held against the system, up to an EER of 100 % when all scores are equal.

    Args:
        bonafide, spoof: scores (n_bonafide,) and (n_spoof,), higher = bona fide. Sorting a subset
            costs next to nothing when these are sorted already.

    Raises:
        AsvtkError: one of the two is empty.
    """
    if len(bonafide) == 0 or len(spoof) == 0:
        raise AsvtkError(
            f"{len(bonafide)} bona fide and {len(spoof)} spoof trials: error rates need at least one of each"
        )
    scores = np.concatenate([bonafide, spoof])
    order = np.argsort(scores, kind="stable")  # stable: bona fide stays first among ties
    scores = scores[order]
    below = min(scores[0] - 1e-3, math.nextafter(scores[0], -math.inf))
    return DetCurve(*error_rates(order < len(bonafide)), np.concatenate([[below], scores]))


def error_rates(is_bonafide: np.ndarray):
    """FRR and FAR, each (n + 1,), from the ranked trials' labels, bool (n,), lowest score first."""
    rejected_bonafide = np.concatenate([[0], np.cumsum(is_bonafide)])
    rejected_spoof = np.arange(rejected_bonafide.size) - rejected_bonafide
    frr = rejected_bonafide / rejected_bonafide[-1]
    far = (rejected_spoof[-1] - rejected_spoof) / rejected_spoof[-1]
    return frr, far


def eer(frr: np.ndarray, far: np.ndarray):
    """Equal error rate as the official tools give it, and the cut where it is taken.

    It is the mean of FRR and FAR at the first cut where they differ least; no interpolation.

    Returns:
        (rate in [0, 1], index of the cut).
    """
    cut = int(np.argmin(np.abs(frr - far)))
    return float((frr[cut] + far[cut]) / 2), cut


def rocch_eer(frr: np.ndarray, far: np.ndarray) -> float:
    """Equal error rate on the convex hull of the ROC, in [0, 0.5]: ties favour nobody.

    What a system reaches when it may also choose between two thresholds at random (Brümmer and du
    Preez, "The BOSARIS toolkit", 2011, section on ROCCH-EER).

    Only the hull's edge across the diagonal FRR = FAR matters: starting from the two trivial
    systems, move one end to the point farthest below the edge until no point lies below.
    """
    left, right = 0, frr.size - 1  # FRR < FAR at the left end, FRR >= FAR at the right one
    while True:
        across, down = frr[right] - frr[left], far[left] - far[right]
        between = slice(left, right + 1)
        height = down * (frr[between] - frr[left]) + across * (far[between] - far[left])
        lowest = left + int(np.argmin(height))
        if lowest in (left, right) or height[lowest - left] > -1e-14:  # no lower than rounding goes
            return float((frr[left] * down + far[left] * across) / (across + down))
        if frr[lowest] < far[lowest]:
            left = lowest
        else:
            right = lowest


def compute_eer(bonafide, spoof):
    """EER in the official convention and its threshold, from two arrays of scores.

    Returns:
        (rate in [0, 1], threshold): trials that score above the threshold are accepted.
    """
    curve = det_curve(bonafide, spoof)
    rate, cut = eer(curve.frr, curve.far)
    return rate, float(curve.thresholds[cut])
