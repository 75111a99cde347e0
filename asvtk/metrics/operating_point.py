"""Operating points: a threshold for an error that one is willing to make, or carried over from dev."""

import math

import numpy as np

from asvtk.io.errors import AsvtkError
from asvtk.io.text import parse_float
from asvtk.metrics.eer import DetCurve, det_curve, eer

__all__ = ["DEV_EER", "OPERATING_POINTS", "errors_at", "operating_point", "point_of"]

OPERATING_POINTS = ("eer", "far", "frr")
#: name in ``results.json`` of the threshold at the EER of dev
DEV_EER = "dev_eer"


def operating_point(curve: DetCurve, kind: str, rate: float | None = None) -> dict:
    """Threshold at the EER, or the best one whose FAR (or FRR) does not exceed ``rate``.

    Unlike the sweep of the official EER, a threshold cannot pass between trials of one score, so
    only cuts between different scores are looked at. Choose it on development trials: on the trials
    that it was chosen on, its error rates flatter it.

    Args:
        curve: of `det_curve`.
        kind: ``eer``, ``far`` or ``frr``.
        rate: bound for far and frr, in [0, 1].

    Returns:
        ``threshold`` (accept above it), and the ``frr`` and ``far`` that it really gives.

    Raises:
        AsvtkError: unknown kind, a rate outside [0, 1], or no double is low enough.
    """
    cuts = np.flatnonzero(np.append(curve.thresholds[1:] != curve.thresholds[:-1], True))
    frr, far, thresholds = (values[cuts] for values in curve)
    if kind == "eer":
        # All scores equal: both cuts are as bad, and a verdict that costs nobody a false acceptance is taken.
        best = len(cuts) - 1 if len(cuts) == 2 else eer(frr, far)[1]
    elif kind not in OPERATING_POINTS or rate is None or not 0 <= rate <= 1:
        raise AsvtkError(
            f"operating point {kind}{'' if rate is None else f'={rate}'} is unknown; expected eer, far=RATE "
            "or frr=RATE with a rate from 0 to 1, as far=0.01, or a threshold, as 0.5"
        )
    elif kind == "far":
        best = np.flatnonzero(far <= rate)[0]
    else:
        best = np.flatnonzero(frr <= rate)[-1]
    if not math.isfinite(thresholds[best]):
        raise AsvtkError(f"operating point {kind}: no number lies below the lowest score, {thresholds[1]}")
    return {"threshold": float(thresholds[best]), "frr": float(frr[best]), "far": float(far[best])}


def point_of(bonafide, spoof, text: str) -> dict:
    """The operating point that a user names: ``eer``, ``far=R``, ``frr=R`` or a threshold.

    Args:
        bonafide, spoof: scores (n_bonafide,) and (n_spoof,).

    Returns:
        see `operating_point`.

    Raises:
        AsvtkError: it is none of these, a rate outside [0, 1], or a threshold that is not finite.
    """
    kind, equals, rate = text.partition("=")
    try:
        if equals or kind in OPERATING_POINTS:
            return operating_point(det_curve(bonafide, spoof), kind, parse_float(rate) if equals else None)
        return errors_at(bonafide, spoof, parse_float(text))
    except ValueError:
        raise AsvtkError(
            f"operating point {text}: expected eer, far=RATE, frr=RATE or a threshold, as 0.5"
        ) from None


def errors_at(bonafide, spoof, threshold: float) -> dict:
    """Error rates of a threshold from elsewhere; trials that score above it are accepted.

    Args:
        bonafide, spoof: scores (n_bonafide,) and (n_spoof,), at least one of each.

    Returns:
        ``threshold``, ``frr`` (bona fide rejected) and ``far`` (spoofs accepted), in [0, 1].

    Raises:
        AsvtkError: the threshold is nan or infinite.
    """
    if not math.isfinite(threshold):
        raise AsvtkError(f"the threshold is {threshold}; expected a finite number")
    frr, far = np.mean(np.asarray(bonafide) <= threshold), np.mean(np.asarray(spoof) > threshold)
    return {"threshold": float(threshold), "frr": float(frr), "far": float(far)}
