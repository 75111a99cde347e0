"""Tandem detection cost (t-DCF): what a countermeasure does to speaker verification behind it.

Two normalised forms are in use, and their values must not be compared with each other:

* **legacy**, ASVspoof 2019: cost of the CM's own errors alone, 0 for a perfect CM (T. Kinnunen et
  al., "t-DCF: a detection cost function for the tandem assessment of spoofing countermeasures and
  automatic speaker verification", Odyssey 2018; ASVspoof 2019 evaluation plan);
* **revisited**, ASVspoof 2021: also counts the errors of the ASV, so even a perfect CM pays
  C0 / (C0 + min(C1, C2)) (T. Kinnunen et al., "Tandem assessment of spoofing countermeasures and
  automatic speaker verification: fundamentals", IEEE/ACM TASLP 2020).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from asvtk.io.errors import AsvtkError
from asvtk.metrics.eer import compute_eer

__all__ = [
    "ASVSPOOF_2019",
    "ASVSPOOF_2021",
    "AsvErrorRates",
    "LegacyCosts",
    "RevisitedCosts",
    "Weights",
    "asv_error_rates",
    "legacy_weights",
    "min_tdcf",
    "revisited_weights",
]


class LegacyCosts(NamedTuple):
    """Priors of the three kinds of trials, and costs of the errors of ASV and CM, legacy form."""

    p_spoof: float = 0.05
    p_target: float = (1 - 0.05) * 0.99
    p_nontarget: float = (1 - 0.05) * 0.01
    c_miss_asv: float = 1.0
    c_fa_asv: float = 10.0
    c_miss_cm: float = 1.0
    c_fa_cm: float = 10.0


class RevisitedCosts(NamedTuple):
    """Priors of the three kinds of trials, and costs of the errors of the tandem, revisited form."""

    p_spoof: float = 0.05
    p_target: float = (1 - 0.05) * 0.99
    p_nontarget: float = (1 - 0.05) * 0.01
    c_miss: float = 1.0
    c_fa: float = 10.0
    c_fa_spoof: float = 10.0


ASVSPOOF_2019 = LegacyCosts()  #: the official values
ASVSPOOF_2021 = RevisitedCosts()  #: the official values


class AsvErrorRates(NamedTuple):
    """Error rates of the ASV at its own EER threshold, in [0, 1]; it accepts at score >= threshold."""

    eer: float
    threshold: float
    p_fa: float
    p_miss: float
    p_fa_spoof: float

    @property
    def p_miss_spoof(self) -> float:
        return 1 - self.p_fa_spoof


@dataclass(frozen=True)
class Weights:
    """t-DCF(cut) = (c0 + c1 · Pmiss_cm + c2 · Pfa_cm) / normaliser; ``c0`` is nil in the legacy form."""

    c0: float
    c1: float
    c2: float

    def __post_init__(self):
        if min(self.c0, self.c1, self.c2) < 0:
            raise AsvtkError(
                f"t-DCF: a weight is negative (C0 {self.c0:.6g}, C1 {self.c1:.6g}, C2 {self.c2:.6g}): "
                "the ASV is worse than none at these costs. Are its scores the right file, higher = target?"
            )
        if min(self.c1, self.c2) == 0 and self.c0 == 0:
            raise AsvtkError("t-DCF: the ASV rejects every spoof by itself, so no CM matters to it (C2 = 0)")

    @property
    def normaliser(self) -> float:
        """Cost of the better of two CMs that ignore the audio: accept all, or reject all."""
        return self.c0 + min(self.c1, self.c2)


def asv_error_rates(target, nontarget, spoof) -> AsvErrorRates:
    """Error rates of the ASV at the threshold of its EER between ``target`` and ``nontarget``.

    Args:
        target, nontarget, spoof: ASV scores, 1-D, none empty.
    """
    rate, threshold = compute_eer(target, nontarget)
    return AsvErrorRates(
        eer=rate,
        threshold=threshold,
        p_fa=float(np.mean(nontarget >= threshold)),
        p_miss=float(np.mean(target < threshold)),
        p_fa_spoof=float(np.mean(spoof >= threshold)),
    )


def legacy_weights(asv: AsvErrorRates, costs: LegacyCosts = ASVSPOOF_2019) -> Weights:
    """Weights of ASVspoof 2019, where min t-DCF is min over cuts of (C1 Pmiss + C2 Pfa) / min(C1, C2).

    C1 = P_target (C_miss_cm - C_miss_asv Pmiss_asv) - P_nontarget C_fa_asv Pfa_asv
    C2 = P_spoof C_fa_cm (1 - Pmiss_spoof_asv)

    Raises:
        AsvtkError: a weight is negative.
    """
    c1 = (
        costs.p_target * (costs.c_miss_cm - costs.c_miss_asv * asv.p_miss)
        - costs.p_nontarget * costs.c_fa_asv * asv.p_fa
    )
    return Weights(0.0, c1, costs.c_fa_cm * costs.p_spoof * asv.p_fa_spoof)


def revisited_weights(asv: AsvErrorRates, costs: RevisitedCosts = ASVSPOOF_2021) -> Weights:
    """Weights of ASVspoof 2021: min over cuts of (C0 + C1 Pmiss + C2 Pfa) / (C0 + min(C1, C2)).

    C0 = P_target C_miss Pmiss_asv + P_nontarget C_fa Pfa_asv
    C1 = P_target C_miss - C0
    C2 = P_spoof C_fa_spoof Pfa_spoof_asv

    Raises:
        AsvtkError: a weight is negative.
    """
    c0 = costs.p_target * costs.c_miss * asv.p_miss + costs.p_nontarget * costs.c_fa * asv.p_fa
    return Weights(c0, costs.p_target * costs.c_miss - c0, costs.p_spoof * costs.c_fa_spoof * asv.p_fa_spoof)


def min_tdcf(frr: np.ndarray, far: np.ndarray, weights: Weights) -> float:
    """Normalised t-DCF at the best of the CM's thresholds; ``frr`` and ``far`` as in `DetCurve`."""
    return float(np.min(weights.c0 + weights.c1 * frr + weights.c2 * far) / weights.normaliser)
