"""One system on several corpora: EER of all trials together, mean EER, and the worst corpus.

The pooled EER asks for one threshold that serves all corpora, and weighs them by their trials; the macro EER
grants each its own threshold, and weighs all alike.
"""

import numpy as np

from asvtk.io.errors import AsvtkError
from asvtk.io.scores import ScoreTable
from asvtk.metrics.bootstrap import official_order, resample_counts, strata_of
from asvtk.metrics.eer import compute_eer, eer, error_rates

__all__ = ["across_corpora"]


def across_corpora(tables: dict[str, ScoreTable], *, bootstrap: int = 0, seed: int = 0) -> dict:
    """Pooled, macro and worst EER of one system over corpora.

    Args:
        tables: ``{corpus: labelled trials with scores}``, both classes in each.
        bootstrap: number of resamples for 95 % intervals, 0 = none. Trials are drawn within their corpus,
            class and attack; the worst corpus is sought anew in each resample.
        seed: of the resampling.

    Returns:
        ``per_corpus`` ({corpus: EER in percent}), ``pooled_eer_percent``, ``macro_eer_percent``, ``worst``
        (``corpus`` and ``eer_percent``); with a bootstrap ``intervals`` of pooled, macro and worst, by these
        names, and ``bootstrap``.

    Raises:
        AsvtkError: no corpus, one without labels or of one class, or a bootstrap of one resample.
    """
    if not tables:
        raise AsvtkError("no corpus to average over; name at least one")
    for name, table in tables.items():
        if table.bonafide is None or table.bonafide.all() or not table.bonafide.any():
            raise AsvtkError(f"{name} ({table.source}): expected labelled bona fide and spoof trials")
    corpus = np.repeat(np.arange(len(tables)), [table.scores.size for table in tables.values()])
    scores, bonafide = (
        np.concatenate([getattr(table, of) for table in tables.values()]) for of in ("scores", "bonafide")
    )
    per_corpus = {
        name: 100 * compute_eer(table.scores[table.bonafide], table.scores[~table.bonafide])[0]
        for name, table in tables.items()
    }
    worst = max(per_corpus, key=per_corpus.get)
    results = {
        "per_corpus": per_corpus,
        "pooled_eer_percent": 100 * compute_eer(scores[bonafide], scores[~bonafide])[0],
        "macro_eer_percent": float(np.mean(list(per_corpus.values()))),
        "worst": {"corpus": worst, "eer_percent": per_corpus[worst]},
    }
    if bootstrap:
        strata = _strata(tables)
        order = official_order(scores, bonafide)
        ranked, of_corpus = bonafide[order], [corpus[order] == code for code in range(len(tables))]
        draws = np.empty((3, bootstrap))
        for i, counts in enumerate(resample_counts(strata, bootstrap, seed)):
            counts = counts[order]
            rates = [_eer_percent(ranked[mask], counts[mask]) for mask in of_corpus]
            draws[:, i] = _eer_percent(ranked, counts), np.mean(rates), max(rates)
        ends = np.quantile(draws, (0.025, 0.975), axis=1).T.tolist()
        results["intervals"] = dict(
            zip(("pooled_eer_percent", "macro_eer_percent", "worst"), ends, strict=True)
        )
        results["bootstrap"] = {"resamples": bootstrap, "seed": seed, "confidence": 0.95}
    return results


def _strata(tables: dict) -> np.ndarray:
    """Stratum of each trial of all corpora: corpus, class and attack."""
    strata, first = [], 0
    for table in tables.values():
        strata.append(first + strata_of(table.bonafide, table.attacks))
        first = 1 + int(strata[-1].max())
    return np.concatenate(strata)


def _eer_percent(ranked: np.ndarray, counts: np.ndarray) -> float:
    return 100 * eer(*error_rates(np.repeat(ranked, counts)))[0]
