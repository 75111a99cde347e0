"""Bootstrap confidence intervals, and a paired test between two systems.

B. Efron and R. Tibshirani, "An introduction to the bootstrap", 1993 (percentile intervals). Trials
are resampled one by one within their class and attack. Trials of one speaker resemble each other,
so the true uncertainty about *new speakers* is larger than these intervals say (S. Bengio and
J. Mariéthoz, "A statistical significance test for person authentication", Odyssey 2004). For that, trials
are resampled in whole groups, as of a speaker: the cluster bootstrap (A. Davison and D. Hinkley,
"Bootstrap methods and their application", 1997, section 3.8; N. Poh and S. Bengio, "Performance
generalization in biometric authentication using joint user-specific and sample bootstraps", IEEE TPAMI 2007).
"""

import numpy as np

from asvtk.io.errors import AsvtkError, listing
from asvtk.metrics.breakdown import factorize
from asvtk.metrics.eer import eer, error_rates

__all__ = [
    "bootstrap_intervals",
    "clusters_of",
    "official_order",
    "paired_test",
    "resample_counts",
    "strata_of",
]


def strata_of(bonafide: np.ndarray, attacks: np.ndarray | None) -> np.ndarray:
    """Stratum of each trial, int (n,): bona fide, and each attack by itself."""
    codes = np.zeros(bonafide.size, np.intp) if attacks is None else factorize(attacks)[1]
    return np.where(bonafide, 0, 1 + codes)


def clusters_of(values, utterances) -> np.ndarray:
    """Number of the group of each trial, int (n,), from a column of a protocol.

    A trial without a value (``-``) is a group of its own, named by its utterance: of ASVspoof 5's codec_seed,
    the source itself then is in the group of what was coded from it.

    Raises:
        AsvtkError: all trials are in one group.
    """
    names, codes = factorize(values)
    if "-" in names:
        strings, none = np.asarray(values), np.flatnonzero(np.asarray(codes) == names.index("-"))
        strings = strings.copy()
        strings[none] = np.asarray(utterances[none])
        names, codes = factorize(strings)
    if len(names) < 2:
        raise AsvtkError(
            f"all trials are in one group ({listing(names)}): groups drawn anew from one have no spread; "
            "expected a column of at least two values"
        )
    return np.asarray(codes, np.intp)


def _resample_clusters(bonafide: np.ndarray, clusters: np.ndarray, resamples: int, seed: int):
    """As `resample_counts`, whole groups at a time: from those that hold the same classes.

    So every resample has both classes; attacks are no strata, as a group may hold several.
    """
    holds = [
        np.bincount(clusters[of_class], minlength=clusters.max() + 1) > 0
        for of_class in (bonafide, ~bonafide)
    ]
    for counts in resample_counts(2 * holds[0] + holds[1], resamples, seed):
        yield counts[clusters]


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
    scores,
    bonafide,
    strata,
    groups: dict,
    statistics: dict,
    *,
    resamples: int,
    seed: int,
    confidence=0.95,
    clusters: np.ndarray | None = None,
) -> dict:
    """Percentile intervals of statistics of error rates, for any number of groups of trials.

    Args:
        scores: (n,). bonafide: bool (n,). strata: int (n,), see `strata_of`.
        groups: ``{name: places of its trials, int (m,)}``; each made of whole strata, of both classes, so
            that no resample leaves it without one of them.
        statistics: ``{name: function(frr, far) -> float}``, arrays as in `DetCurve`.
        resamples: how many; 1000 settle two digits of an interval's ends.
        seed: of numpy's default generator.
        clusters: int (n,), see `clusters_of`; these are drawn whole, and ``strata`` play no part.

    Returns:
        ``{group: {statistic: (low, high)}}``, without groups that some resample left without a class.

    Raises:
        AsvtkError: fewer than 2 resamples.
    """
    order = official_order(scores, bonafide)
    ranked = bonafide[order]
    rank = np.empty(order.size, np.intp)
    rank[order] = np.arange(order.size)
    rows = {name: np.sort(rank[members]) for name, members in groups.items()}
    draws = {name: np.empty((len(statistics), resamples)) for name in groups}
    for i, counts in enumerate(_draws(bonafide, strata, clusters, resamples, seed)):
        counts = counts[order]
        for name, members in list(rows.items()):
            drawn = np.repeat(ranked[members], counts[members])
            if clusters is not None and (drawn.all() or not drawn.any()):
                del rows[name], draws[name]
                continue
            rates = error_rates(drawn)
            draws[name][:, i] = [statistic(*rates) for statistic in statistics.values()]
    tail = (1 - confidence) / 2
    return {
        name: {
            statistic: tuple(np.quantile(values, (tail, 1 - tail)).tolist())
            for statistic, values in zip(statistics, matrix, strict=True)
        }
        for name, matrix in draws.items()
    }


def _draws(bonafide, strata, clusters, resamples: int, seed: int):
    if clusters is None:
        return resample_counts(strata, resamples, seed)
    return _resample_clusters(bonafide, clusters, resamples, seed)


def paired_test(
    scores_a, scores_b, bonafide, strata, *, resamples: int, seed: int, confidence=0.95, clusters=None
) -> dict:
    """Is the EER of system A different from that of system B on the same trials?

    Both are resampled together, so what makes trials hard for both cancels. Two-sided p-value of
    "no difference": twice the share of resamples whose difference has the other sign (or is nil),
    counting one more of either sign so that it is never zero.

    Returns:
        ``difference_percent`` (A - B, in points of EER), ``interval`` (low, high) of it, ``p_value``.
    """
    orders = [official_order(scores, bonafide) for scores in (scores_a, scores_b)]

    def difference(counts) -> float:
        a, b = (eer(*error_rates(np.repeat(bonafide[order], counts[order])))[0] for order in orders)
        return 100 * (a - b)

    drawn = np.array([difference(counts) for counts in _draws(bonafide, strata, clusters, resamples, seed)])
    tail = (1 - confidence) / 2
    smaller_side = min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0))
    return {
        "difference_percent": difference(np.ones(bonafide.size, np.intp)),
        "interval": np.quantile(drawn, (tail, 1 - tail)).tolist(),
        "p_value": min(1.0, 2 * (1 + smaller_side) / (1 + resamples)),
    }


def official_order(scores, bonafide) -> np.ndarray:
    """Ranks trials by score, bona fide first among ties, as `det_curve` does."""
    return np.lexsort((~bonafide, scores))
