"""Calibration and fusion: scores of one or several systems -> one log-likelihood ratio per trial.

A score ranks trials; a log-likelihood ratio (LLR, natural logarithm, ln p(x | bona fide) / p(x | spoof))
also says how much to believe it, so its threshold follows from priors and costs alone (`DcfCosts`).
Cosines of OC-Softmax, and most networks' logits, are no LLRs: act DCF and Cllr mean little before this.

Training is prior-weighted linear logistic regression, for one system (calibration) and for several
(fusion) alike: N. Brümmer and J. du Preez, "Application-independent evaluation of speaker detection",
Computer Speech and Language 2006; S. Pigeon, P. Druyts and P. Verlinde, "Applying logistic regression
to the fusion of the NIST'99 1-speaker submissions", Digital Signal Processing 2000.
"""

import json
from dataclasses import dataclass
from math import isfinite, log

import numpy as np

from asvtk.io.errors import AsvtkError, listing
from asvtk.io.scores import ScoreTable, refuse_non_finite
from asvtk.io.stamps import digest
from asvtk.io.text import read_json
from asvtk.metrics.dcf import ASVSPOOF_5, DcfCosts, act_dcf, cllr, min_dcf
from asvtk.metrics.eer import det_curve, eer

__all__ = [
    "Calibration",
    "DevStatistics",
    "effective_prior",
    "min_cllr",
    "pav_llr",
    "quality",
    "train_calibration",
    "trials_digest",
]

#: Strength of the ridge on standardised weights. Far below what any set of trials can resolve; it is
#: there for separable sets and for systems that are copies of each other, which have no optimum without.
_RIDGE = 1e-8


def effective_prior(costs: DcfCosts = ASVSPOOF_5) -> float:
    """The one prior of bona fide speech that weighs both errors as priors and costs together do.

    ``(1 - p_spoof) c_miss / ((1 - p_spoof) c_miss + p_spoof c_fa)``; for ASVspoof 5 (p_spoof 0.05,
    c_miss 1, c_fa 10) it is 0.95 / 1.45 = 0.655. Minus its log odds is ``costs.threshold``.
    """
    return costs.of_misses / (costs.of_misses + costs.of_false_alarms)


@dataclass(frozen=True, kw_only=True)
class DevStatistics:
    """The trials that a calibration was trained on, and how its LLRs do on them (see `quality`)."""

    trials: str  #: `trials_digest`
    n_bonafide: int
    n_spoof: int
    eer_percent: float
    min_dcf: float
    act_dcf: float
    cllr: float
    min_cllr: float


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A trained calibration or fusion, ``llr = offset + sum_k weights[k] * score_k``.

    Attributes:
        systems: a name per system, in the order of the weights.
        weights: LLR per unit of each system's score, **as the system gives it**: where ``negated``, the
            weight carries the sign, so nobody has to remember to flip scores again.
        negated: per system, was it declared to mean the opposite (higher = spoof)?
        offset: LLR where all scores are 0.
        prior: effective prior of bona fide speech that training weighted the classes with.
        dev: statistics of the training trials.
        warnings: what a reader should doubt, in words.
    """

    systems: tuple[str, ...]
    weights: tuple[float, ...]
    negated: tuple[bool, ...]
    offset: float
    prior: float
    dev: DevStatistics
    warnings: tuple[str, ...] = ()

    def __post_init__(self):
        if not len(self.systems) == len(self.weights) == len(self.negated) > 0:
            raise ValueError("systems, weights and negated must have one entry per system")
        if not all(map(isfinite, (*self.weights, self.offset))) or not 0 < self.prior < 1:
            raise ValueError("weights and offset must be finite numbers, and the prior between 0 and 1")

    def apply(self, scores) -> np.ndarray:
        """Log-likelihood ratios of trials.

        Args:
            scores: (n_systems, n_trials), as the systems gave them, in the order of ``systems``.

        Returns:
            (n_trials,) float64, natural logarithm, higher = bona fide. Each depends on its own trial
            only, to the last bit.

        Raises:
            AsvtkError: another number of systems, or a score that is not finite.
        """
        scores = np.asarray(scores, dtype=np.float64)
        if scores.ndim != 2 or len(scores) != len(self.weights):
            raise AsvtkError(
                f"scores of shape {scores.shape}; expected ({len(self.weights)}, trials), a row for each of "
                f"{listing(self.systems)}"
            )
        _refuse_non_finite(scores)
        with np.errstate(over="ignore", invalid="ignore"):
            llr = _llr(self.weights, self.offset, scores)
        beyond = np.flatnonzero(~np.isfinite(llr))
        if beyond.size:
            raise AsvtkError(
                f"the LLRs of {beyond.size} trials leave the range of a double (trial {beyond[0] + 1}: "
                f"scores {listing(scores[:, beyond[0]])}): these scores are no kin of those in training"
            )
        return llr

    def save(self, path) -> None:
        """Write as JSON; `load` gives the same numbers back to the last bit."""
        from asvtk.io.atomic import write_text
        from asvtk.io.config import to_mapping

        write_text(path, json.dumps(to_mapping(self), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path) -> "Calibration":
        """Read what `save` wrote.

        Raises:
            AsvtkError: unreadable file, no JSON, or not the JSON of a calibration.
        """
        from asvtk.io.config import build

        return build(cls, read_json(path), f"{path} (expected what `asvtk calibrate` wrote as --model)")


def train_calibration(tables: list[ScoreTable], *, prior: float | None = None, negate=None) -> Calibration:
    """Train a calibration (one table) or a fusion (several) on development trials.

    Each class weighs as much as the prior says, whatever its number of trials: the minimised cost is
    ``prior * mean over bona fide of ln(1 + exp(-x)) + (1 - prior) * mean over spoofs of ln(1 + exp(x))``
    with ``x = llr + ln(prior / (1 - prior))``.

    Args:
        tables: one per system, the same labelled trials in the same order; ``source`` names the system.
        prior: effective prior of bona fide speech in (0, 1); None = that of ASVspoof 5.
        negate: bool per system, True where higher scores mean spoof; None = nowhere.

    Raises:
        AsvtkError: no labels, one class only, tables of other trials, scores that are not finite or all
            equal, a prior outside (0, 1), scikit-learn missing, or a single system whose scores
            fall where they should rise.
    """
    prior = effective_prior() if prior is None else float(prior)
    if not 0 < prior < 1:
        raise AsvtkError(f"prior {prior}: the prior of bona fide speech must lie between 0 and 1")
    negate = [False] * len(tables) if negate is None else list(map(bool, negate))
    _refuse_unusable(tables, negate)
    bonafide, systems = tables[0].bonafide, tuple(table.source for table in tables)
    signs = np.where(negate, -1.0, 1.0)
    scores = np.stack([table.scores for table in tables]).astype(np.float64) * signs[:, None]
    weights, offset = _logistic_regression(scores, bonafide, prior)

    warnings = _polarity_warnings(scores, bonafide, systems, weights)
    n_bonafide = int(np.count_nonzero(bonafide))
    llr = _llr(weights, offset, scores)
    if llr[bonafide].min() >= llr[~bonafide].max():
        warnings.append(
            f"{listing(systems)}: the two classes are separated without an error, so these trials do not "
            "tell how large LLRs should be (a minimal ridge keeps them finite). Trust their order, not their "
            "size, or train on a development set with errors."
        )
    dev = DevStatistics(
        trials=trials_digest(tables[0].utterances),
        n_bonafide=n_bonafide,
        n_spoof=bonafide.size - n_bonafide,
        **quality(llr, bonafide),
    )
    return Calibration(
        systems=systems,
        weights=tuple((weights * signs).tolist()),
        negated=tuple(negate),
        offset=offset,
        prior=prior,
        dev=dev,
        warnings=tuple(warnings),
    )


def trials_digest(utterances) -> str:
    """SHA-256 of a set of utterances, in any order; tells whether scores are of the training trials."""
    return digest(sorted(map(str, utterances)))


def quality(scores: np.ndarray, bonafide: np.ndarray) -> dict:
    """What shows calibration: ``cllr - min_cllr`` and ``act_dcf - min_dcf`` are lost by the lack of it.

    Args:
        scores: (n,), taken for LLRs by ``act_dcf`` and ``cllr``. bonafide: bool (n,), both classes.

    Returns:
        eer_percent, min_dcf, act_dcf (costs of ASVspoof 5), cllr, min_cllr (bits); plain floats.
    """
    of_bonafide, of_spoof = scores[bonafide], scores[~bonafide]
    curve = det_curve(of_bonafide, of_spoof)
    return {
        "eer_percent": 100 * eer(curve.frr, curve.far)[0],
        "min_dcf": min_dcf(curve.frr, curve.far),
        "act_dcf": act_dcf(of_bonafide, of_spoof),
        "cllr": cllr(of_bonafide, of_spoof),
        "min_cllr": min_cllr(of_bonafide, of_spoof),
    }


def min_cllr(bonafide, spoof) -> float:
    """Cllr in bits after the best monotone recalibration of these very scores, in [0, 1].

    It measures discrimination alone; ``cllr - min_cllr`` is the calibration loss (Brümmer and du
    Preez 2006). Raises AsvtkError when one of the two is empty.
    """
    return cllr(*pav_llr(bonafide, spoof))


def pav_llr(bonafide, spoof):
    """LLRs by pool adjacent violators (PAV): for **diagnosis**, as it is trained on what it judges.

    Args:
        bonafide, spoof: scores (n_bonafide,) and (n_spoof,), higher = bona fide; ties share one LLR.

    Returns:
        LLRs (n_bonafide,) and (n_spoof,), never falling as the score rises; infinite where scores
        belong to one class only. No prior enters: every prior gives the same LLRs.
    """
    from scipy.optimize import isotonic_regression

    n_bonafide, n_spoof = len(bonafide), len(spoof)
    if not n_bonafide or not n_spoof:
        raise AsvtkError(f"{n_bonafide} bona fide and {n_spoof} spoof trials: PAV needs at least one of each")
    values, place = np.unique(np.concatenate([bonafide, spoof]), return_inverse=True)
    of_bonafide = np.bincount(place[:n_bonafide], minlength=values.size)
    of_spoof = np.bincount(place[n_bonafide:], minlength=values.size)
    together = (of_bonafide + of_spoof).astype(np.float64)
    edges = isotonic_regression(of_bonafide / together, weights=together).blocks
    with np.errstate(divide="ignore"):  # a block of one class only
        llr = np.log(np.add.reduceat(of_bonafide, edges[:-1]) / n_bonafide)
        llr -= np.log(np.add.reduceat(of_spoof, edges[:-1]) / n_spoof)
    llr = np.repeat(llr, np.diff(edges))[place]
    return llr[:n_bonafide], llr[n_bonafide:]


def _llr(weights, offset: float, scores: np.ndarray) -> np.ndarray:
    llr = np.full(scores.shape[1], offset)
    for weight, row in zip(weights, scores, strict=True):  # no matrix product: its rounding may vary
        llr += weight * row
    return llr


def _logistic_regression(scores: np.ndarray, bonafide: np.ndarray, prior: float):
    """Weights (n_systems,) and offset of the LLR, from scores (n_systems, n_trials)."""
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise AsvtkError(
            "calibration needs scikit-learn, which is not installed: pip install scikit-learn"
        ) from None
    # The classes weigh alike in the mean and the scale too: then twice the spoofs change nothing at all.
    n_bonafide = np.count_nonzero(bonafide)
    of_trial = np.where(bonafide, prior / n_bonafide, (1 - prior) / (bonafide.size - n_bonafide))
    # Differences of scores of 1e308 leave the range of a double, those of a quarter of them do not; and a
    # power of two changes no digit.
    unit = 2.0 ** np.minimum(0, 1000 - np.frexp(np.abs(scores).max(axis=1, keepdims=True))[1])
    scores = scores * unit
    mean = (scores * of_trial).sum(axis=1, keepdims=True)
    centred = scores - mean
    # The square of a very large or small score leaves the range of a double, that of a ratio does not.
    widest = np.abs(centred).max(axis=1, keepdims=True)
    scale = widest * np.sqrt(((centred / widest) ** 2 * of_trial).sum(axis=1, keepdims=True))
    # Newton steps reach the optimum to rounding, so affine changes of the scores cancel to rounding.
    model = LogisticRegression(C=1 / _RIDGE, solver="newton-cholesky", tol=1e-10, max_iter=1000)
    model.fit((centred / scale).T, bonafide, sample_weight=of_trial)
    weights = model.coef_[0] / scale[:, 0]
    offset = float(model.intercept_[0] - weights @ mean[:, 0] - log(prior / (1 - prior)))
    return weights * unit[:, 0], offset


def _polarity_warnings(scores, bonafide, systems, weights) -> list:
    """Refuse a single system of negative weight; warn of such weights in a fusion."""
    if len(weights) == 1 and not weights[0] > 0:
        raise AsvtkError(
            f"{systems[0]}: bona fide trials score no higher than spoofs (the weight would be "
            f"{weights[0]:.4g}). Higher must mean bona fide; if these scores mean the opposite, say --negate "
            "(or drop it)."
        )
    warnings = []
    for number, (name, weight, row) in enumerate(zip(systems, weights, scores, strict=True), 1):
        if weight >= 0:
            continue
        if row[bonafide].mean() < row[~bonafide].mean():
            why = (
                "Its scores look sign-flipped; if higher means spoof there, declare it: "
                f"--negate {number} (or drop it)."
            )
        else:
            why = (
                "Its scores rise with bona fide speech, so it only corrects the others; such a fusion "
                "seldom carries over to other data. Consider leaving this system out."
            )
        warnings.append(f"{name} has the negative weight {weight:.4g} in the fusion. {why}")
    return warnings


def _refuse_unusable(tables: list[ScoreTable], negate: list) -> None:
    if not tables or len(negate) != len(tables):
        raise AsvtkError(f"{len(tables)} systems and {len(negate)} signs; expected one sign per system")
    first = tables[0]
    if first.bonafide is None:
        raise AsvtkError(
            f"{first.source}: the dev scores carry no labels (bonafide or spoof), and training needs them; "
            "name the protocol, key or data directory of these trials (--dev-protocol)"
        )
    for table in tables:
        if not np.array_equal(table.utterances, first.utterances):
            raise AsvtkError(f"{table.source} and {first.source}: not the same trials in the same order")
        refuse_non_finite(table.source, table.utterances, table.scores)
    n_bonafide = int(np.count_nonzero(first.bonafide))
    if n_bonafide in (0, first.bonafide.size):
        raise AsvtkError(
            f"{first.source}: all {first.bonafide.size} trials are {'bona fide' if n_bonafide else 'spoof'}; "
            "training needs both classes. Is this the whole dev set?"
        )
    for table in tables:
        if table.scores.min() == table.scores.max():
            raise AsvtkError(
                f"{table.source}: all {table.scores.size} scores are equal ({table.scores[0]}), which leaves "
                "nothing to calibrate. Find out why the model gave them, or leave this system out."
            )


def _refuse_non_finite(scores: np.ndarray) -> None:
    bad = np.argwhere(~np.isfinite(scores))
    if len(bad):
        places = (f"system {k + 1}, trial {i + 1} ({scores[k, i]})" for k, i in bad.tolist())
        raise AsvtkError(
            f"{len(bad)} of {scores.size} scores to calibrate are nan or infinite: {listing(places)}. Find "
            "out why the model gave them, then score these utterances again."
        )
