"""A threshold to work with, chosen by the error that one is willing to make."""

import numpy as np

from asvtk.io.errors import AsvtkError
from asvtk.metrics.eer import DetCurve, eer

__all__ = ["OPERATING_POINTS", "operating_point"]

OPERATING_POINTS = ("eer", "far", "frr")


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
        AsvtkError: unknown kind, or a rate outside [0, 1].
    """
    cuts = np.flatnonzero(np.append(curve.thresholds[1:] != curve.thresholds[:-1], True))
    frr, far, thresholds = (values[cuts] for values in curve)
    if kind == "eer":
        _, best = eer(frr, far)
    elif kind not in OPERATING_POINTS or rate is None or not 0 <= rate <= 1:
        raise AsvtkError(
            f"operating point {kind}{'' if rate is None else f'={rate}'} is unknown; expected eer, far=RATE "
            "or frr=RATE with a rate from 0 to 1, as far=0.01"
        )
    elif kind == "far":
        best = np.flatnonzero(far <= rate)[0]
    else:
        best = np.flatnonzero(frr <= rate)[-1]
    return {"threshold": float(thresholds[best]), "frr": float(frr[best]), "far": float(far[best])}
