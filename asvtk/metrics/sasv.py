"""Spoofing-robust speaker verification (SASV): trials of a target, of another speaker, and of a spoof.

ASVspoof 5 reports it in track 2. Such a trial is accepted if the right person speaks in flesh and blood:
nontarget trials (another person) and spoofs are rejected. Three measures, by what a system gives:

* one score for the whole decision: **a-DCF**, architecture-agnostic detection cost (H.-j. Shim, J.-w. Jung,
  T. Kinnunen et al., "a-DCF: an architecture agnostic metric with application to spoofing-robust speaker
  verification", Odyssey 2024, eq. 5 and 6), and the EERs of SASV 2022 (J.-w. Jung et al., "SASV 2022: the
  first spoofing-aware speaker verification challenge", Interspeech 2022);
* a CM score and an ASV score: **t-EER**, tandem equal error rate (T. Kinnunen et al., "t-EER: parameter-free
  tandem evaluation of countermeasures and biometric comparators", IEEE TIFS 2023), and the min t-DCF of
  `asvtk.metrics.tdcf` with this ASV's own error rates.
"""

from typing import NamedTuple

import numpy as np

from asvtk.io.errors import AsvtkError
from asvtk.metrics.eer import compute_eer
from asvtk.metrics.tdcf import RevisitedCosts

__all__ = ["ASVSPOOF_5_TRACK_2", "TandemEer", "min_a_dcf", "of_one_score", "t_eer"]


#: the official values: priors and costs are those of the revisited t-DCF
ASVSPOOF_5_TRACK_2 = RevisitedCosts()


class TandemEer(NamedTuple):
    """Concurrent t-EER in [0, 1], and the thresholds where it is taken; trials above both are accepted."""

    rate: float
    cm_threshold: float
    asv_threshold: float


class _Cuts(NamedTuple):
    """Shares rejected of each class, (n + 1,) each, at the cuts of n ranked trials, and thresholds."""

    rejected: list
    thresholds: np.ndarray


def _cuts(*classes) -> _Cuts:
    """Cut k rejects the k lowest; among trials of one score those of the earlier class go first.

    With the class to be accepted named first, ties count against the system, as in `det_curve`.
    """
    if not all(map(len, classes)):
        raise AsvtkError(
            f"{', '.join(str(len(scores)) for scores in classes)} trials of each class; expected at least one"
        )
    scores = np.concatenate(classes)
    order = np.argsort(scores, kind="stable")
    ends = np.cumsum([len(scores) for scores in classes])
    of_class = np.searchsorted(ends, order, side="right")
    rejected = [
        np.concatenate([[0], np.cumsum(of_class == place)]) / len(of) for place, of in enumerate(classes)
    ]
    scores = scores[order]
    return _Cuts(rejected, np.concatenate([[np.nextafter(scores[0], -np.inf)], scores]))


def min_a_dcf(target, nontarget, spoof, costs: RevisitedCosts = ASVSPOOF_5_TRACK_2):
    """Minimum normalised a-DCF of one score per trial.

    a-DCF(t) = C_miss P_target Pmiss(t) + C_fa P_nontarget Pfa_nontarget(t) + C_fa_spoof P_spoof Pfa_spoof(t),
    divided by its value for the better of accepting all and rejecting all.

    Args:
        target, nontarget, spoof: scores, 1-D, higher = target's own speech.

    Returns:
        (cost, threshold): trials that score above the threshold are accepted.

    Raises:
        AsvtkError: a class has no trial.
    """
    (miss, *correct), thresholds = _cuts(target, nontarget, spoof)
    fa, fa_spoof = (1 - rejected for rejected in correct)
    cost = (
        costs.c_miss * costs.p_target * miss
        + costs.c_fa * costs.p_nontarget * fa
        + costs.c_fa_spoof * costs.p_spoof * fa_spoof
    )
    best = int(np.argmin(cost))
    accepting_all = costs.c_fa * costs.p_nontarget + costs.c_fa_spoof * costs.p_spoof
    normaliser = min(costs.c_miss * costs.p_target, accepting_all)  # the better of two that ignore the audio
    return float(cost[best] / normaliser), float(thresholds[best])


def t_eer(cm: tuple, asv: tuple) -> TandemEer:
    """Concurrent tandem equal error rate of a CM and an ASV that must both accept a trial.

    With independent decisions, the tandem misses Pmiss_cm + (1 - Pmiss_cm) Pmiss_asv of the targets and
    accepts (1 - Pmiss_cm) Pfa_asv of the nontargets and Pfa_cm Pfa_spoof_asv of the spoofs. Where all three
    are equal lies the concurrent t-EER, which no share of spoofs changes. It is looked for on the path
    of equal errors at a share of one half (for each ASV threshold the CM's cut where misses and false
    acceptances differ least): the point where the two false acceptances are nearest in ratio, that is
    Pfa_asv / Pfa_spoof_asv and Pfa_cm / (1 - Pmiss_cm) differ least. The rate is that of the spoofs.

    Args:
        cm: CM scores of target, nontarget and spoof trials, 1-D each, higher = bona fide.
        asv: ASV scores of the same, higher = target.

    Raises:
        AsvtkError: a class has no trial, or so few that no point of the path is there.
    """
    (miss_cm, rejected_spoof), cm_thresholds = _cuts(np.concatenate(cm[:2]), cm[2])
    fa_cm = 1 - rejected_spoof
    (miss_asv, rejected, rejected_spoof), asv_thresholds = _cuts(*asv)
    fa_asv, fa_spoof_asv = 1 - rejected, 1 - rejected_spoof

    def excess(cut):
        """Misses less false acceptances of the tandem; they rise with the CM's cut."""
        passed = 1 - miss_cm[cut]
        return 1 - passed * (1 - miss_asv) - (passed * fa_asv + fa_cm[cut] * fa_spoof_asv) / 2

    # The first CM cut where misses prevail, for all ASV thresholds by one bisection.
    low, high = np.zeros(miss_asv.size, np.intp), np.full(miss_asv.size, miss_cm.size - 1)
    while (low < high).any():
        middle = (low + high) // 2
        prevail = excess(middle) >= 0
        high = np.where(prevail, middle, high)
        low = np.where(prevail, low, np.minimum(middle + 1, high))
    before = np.maximum(low - 1, 0)
    cut = np.where(np.abs(excess(before)) <= np.abs(excess(low)), before, low)
    exists = (fa_spoof_asv > 0) & (miss_cm[cut] < 1)
    if not exists.any():
        raise AsvtkError("t-EER: no two thresholds give equal errors; are there more than a few trials?")
    ratio = fa_asv[exists] / fa_spoof_asv[exists] - fa_cm[cut[exists]] / (1 - miss_cm[cut[exists]])
    at = np.flatnonzero(exists)[np.argmin(np.abs(ratio))]
    return TandemEer(
        rate=float(fa_cm[cut[at]] * fa_spoof_asv[at]),
        cm_threshold=float(cm_thresholds[cut[at]]),
        asv_threshold=float(asv_thresholds[at]),
    )


def of_one_score(target, nontarget, spoof) -> dict:
    """What one score does as the whole decision of speaker verification.

    Args:
        target, nontarget, spoof: scores, 1-D, higher = target's own speech.

    Returns:
        ``a_dcf`` and ``a_dcf_threshold`` (see `min_a_dcf`); in percent the EERs of SASV 2022:
        ``sasv_eer_percent`` (target against the two others together), ``sv_eer_percent`` (against
        nontarget) and ``spf_eer_percent`` (against spoof).

    Raises:
        AsvtkError: a class has no trial.
    """
    cost, threshold = min_a_dcf(target, nontarget, spoof)
    return {
        "a_dcf": cost,
        "a_dcf_threshold": threshold,
        "sasv_eer_percent": 100 * compute_eer(target, np.concatenate([nontarget, spoof]))[0],
        "sv_eer_percent": 100 * compute_eer(target, nontarget)[0],
        "spf_eer_percent": 100 * compute_eer(target, spoof)[0],
    }
