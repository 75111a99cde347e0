"""Detection cost and calibration of a countermeasure alone, as ASVspoof 5 (track 1) reports them.

X. Wang et al., "ASVspoof 5: crowdsourced speech data, deepfakes, and adversarial attacks at scale",
ASVspoof workshop 2024, section on metrics.
"""

from math import log
from typing import NamedTuple

import numpy as np

__all__ = ["ASVSPOOF_5", "DcfCosts", "act_dcf", "cllr", "min_dcf", "min_dcf_cut"]


class DcfCosts(NamedTuple):
    """Prior of a spoof and costs of the two errors."""

    p_spoof: float = 0.05
    c_miss: float = 1.0
    c_fa: float = 10.0

    @property
    def of_misses(self) -> float:
        return self.c_miss * (1 - self.p_spoof)

    @property
    def of_false_alarms(self) -> float:
        return self.c_fa * self.p_spoof

    @property
    def threshold(self) -> float:
        """Bayes threshold for log-likelihood ratios ln p(x | bona fide) / p(x | spoof)."""
        return -log(self.of_misses / self.of_false_alarms)


ASVSPOOF_5 = DcfCosts()  #: the official values


def min_dcf(frr: np.ndarray, far: np.ndarray, costs: DcfCosts = ASVSPOOF_5) -> float:
    """Normalised detection cost at the best threshold; ``frr`` and ``far`` as in `DetCurve`."""
    return min_dcf_cut(frr, far, costs)[0]


def min_dcf_cut(frr: np.ndarray, far: np.ndarray, costs: DcfCosts = ASVSPOOF_5):
    """(min DCF, index of the first cut that has it)."""
    cost = costs.of_misses * frr + costs.of_false_alarms * far
    cut = int(np.argmin(cost))
    return float(cost[cut] / _normaliser(costs)), cut


def act_dcf(bonafide, spoof, costs: DcfCosts = ASVSPOOF_5) -> float:
    """Normalised detection cost at the Bayes threshold, taking the scores for log-likelihood ratios.

    Far above `min_dcf` (even above 1) when the scores are not calibrated; then it says so, no more.
    """
    miss, false_alarm = np.mean(bonafide < costs.threshold), np.mean(spoof >= costs.threshold)
    return float((costs.of_misses * miss + costs.of_false_alarms * false_alarm) / _normaliser(costs))


def cllr(bonafide, spoof) -> float:
    """Cost of log-likelihood ratios in bits: 0 perfect, 1 no information, above 1 misleading.

    N. Brümmer and J. du Preez, "Application-independent evaluation of speaker detection", Computer
    Speech and Language 2006. The scores are taken for natural log-likelihood ratios.
    """
    of_bonafide = np.mean(np.logaddexp(0, -np.asarray(bonafide)))
    of_spoof = np.mean(np.logaddexp(0, np.asarray(spoof)))
    return float((of_bonafide + of_spoof) / 2 / log(2))


def _normaliser(costs: DcfCosts) -> float:
    return min(costs.of_misses, costs.of_false_alarms)
