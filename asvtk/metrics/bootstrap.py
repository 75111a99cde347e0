"""Bootstrap confidence intervals, and a paired test between two systems.

B. Efron and R. Tibshirani, "An introduction to the bootstrap", 1993 (percentile intervals). Trials
are resampled one by one within their class and attack. Trials of one speaker resemble each other,
so the true uncertainty about *new speakers* is larger than these intervals say (S. Bengio and
J. Mariéthoz, "A statistical significance test for person authentication", Odyssey 2004).
"""

import numpy as np

from asvtk.io.errors import AsvtkError
from asvtk.metrics.breakdown import factorize
from asvtk.metrics.eer import eer, error_rates

__all__ = ["bootstrap_intervals", "paired_test", "resample_counts", "strata_of"]


def strata_of(bonafide: np.ndarray, attacks: np.ndarray | None) -> np.ndarray:
    """Stratum of each trial, int (n,): bona fide, and each attack by itself."""
    codes = np.zeros(bonafide.size, np.intp) if attacks is None else factorize(attacks)[1]
    return np.where(bonafide, 0, 1 + codes)


def resample_counts(strata: np.ndarray, resamples: int, seed: int):
    """Yield ``resamples`` times how often each trial is drawn, int (n,), from its own stratum.

    The same arguments give the same draws, so two systems may be resampled alike.
    """
    if resamples < 2:
        raise AsvtkError(f"a bootstrap of {resamples} resamples has no spread; ask for 1000")
    rng = np.random.default_rng(seed)
    by_stratum = np.argsort(strata, kind="stable")
    sizes = np.bincount(strata)
    start, size = np.repeat(np.cumsum(sizes) - sizes, sizes), np.repeat(sizes, sizes)
    counts = np.empty(strata.size, np.intp)
    for _ in range(resamples):
        drawn = start + (rng.random(strata.size) * size).astype(np.intp)
        counts[by_stratum] = np.bincount(drawn, minlength=strata.size)
        yield counts


def bootstrap_intervals(
    scores, bonafide, strata, groups: dict, statistics: dict, *, resamples: int, seed: int, confidence=0.95
) -> dict:
    """Percentile intervals of statistics of error rates, for any number of groups of trials.

    Args:
        scores: (n,). bonafide: bool (n,). strata: int (n,), see `strata_of`.
        groups: ``{name: places of its trials, int (m,)}``; each made of whole strata, of both classes, so
            that no resample leaves it without one of them.
        statistics: ``{name: function(frr, far) -> float}``, arrays as in `DetCurve`.
        resamples: how many; 1000 settle two digits of an interval's ends.
        seed: of numpy's default generator.

    Returns:
        ``{group: {statistic: (low, high)}}``

    Raises:
        AsvtkError: fewer than 2 resamples.
    """
    order = _official_order(scores, bonafide)
    ranked = bonafide[order]
    rank = np.empty(order.size, np.intp)
    rank[order] = np.arange(order.size)
    rows = {name: np.sort(rank[members]) for name, members in groups.items()}
    draws = {name: np.empty((len(statistics), resamples)) for name in groups}
    for i, counts in enumerate(resample_counts(strata, resamples, seed)):
        counts = counts[order]
        for name, members in rows.items():
            rates = error_rates(np.repeat(ranked[members], counts[members]))
            draws[name][:, i] = [statistic(*rates) for statistic in statistics.values()]
    tail = (1 - confidence) / 2
    return {
        name: {
            statistic: tuple(np.quantile(values, (tail, 1 - tail)).tolist())
            for statistic, values in zip(statistics, matrix, strict=True)
        }
        for name, matrix in draws.items()
    }


def paired_test(scores_a, scores_b, bonafide, strata, *, resamples: int, seed: int, confidence=0.95) -> dict:
    """Is the EER of system A different from that of system B on the same trials?

    Both are resampled together, so what makes trials hard for both cancels. Two-sided p-value of
    "no difference": twice the share of resamples whose difference has the other sign (or is nil),
    counting one more of either sign so that it is never zero.

    Returns:
        ``difference_percent`` (A - B, in points of EER), ``interval`` (low, high) of it, ``p_value``.
    """
    orders = [_official_order(scores, bonafide) for scores in (scores_a, scores_b)]

    def difference(counts) -> float:
        a, b = (eer(*error_rates(np.repeat(bonafide[order], counts[order])))[0] for order in orders)
        return 100 * (a - b)

    drawn = np.array([difference(counts) for counts in resample_counts(strata, resamples, seed)])
    tail = (1 - confidence) / 2
    smaller_side = min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0))
    return {
        "difference_percent": difference(np.ones(bonafide.size, np.intp)),
        "interval": np.quantile(drawn, (tail, 1 - tail)).tolist(),
        "p_value": min(1.0, 2 * (1 + smaller_side) / (1 + resamples)),
    }


def _official_order(scores, bonafide) -> np.ndarray:
    """Ranks trials by score, bona fide first among ties, as `det_curve` does."""
    return np.lexsort((~bonafide, scores))
