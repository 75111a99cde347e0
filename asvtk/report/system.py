"""One system on one set of trials, as all parts of a report see it."""

from typing import NamedTuple

import numpy as np

from asvtk.metrics.dcf import ASVSPOOF_5
from asvtk.metrics.eer import DetCurve, eer
from asvtk.metrics.tdcf import AsvErrorRates, legacy_weights

__all__ = ["OperatingPoint", "System", "operating_points", "short_names", "tag"]

_SUFFIXES = (".gz", ".txt", ".csv", ".tsv")


class System(NamedTuple):
    """A system's scores on one set, and what `asvtk.metrics.evaluate` says of them.

    Attributes:
        name: for people.
        number: place among the systems of the report, from 0: it keeps letter and colour in all sets.
        results: object of one set, as in ``results.json``.
        bonafide, spoof: scores, each 1-D, higher = bona fide.
    """

    name: str
    number: int
    results: dict
    bonafide: np.ndarray
    spoof: np.ndarray


class OperatingPoint(NamedTuple):
    """A cut of a DET curve that a metric picks: ``frr`` and ``far`` in [0, 1], and the metric's value."""

    metric: str
    cut: int
    frr: float
    far: float
    value: float


def operating_points(curve: DetCurve, asv: dict | None) -> list:
    """The cuts at the EER, at the min t-DCF (legacy; only with ``asv``) and at the min DCF.

    Args:
        curve: of `det_curve`.
        asv: error rates of the ASV, ``results["asv"]``, or None.
    """
    rate, cut = eer(curve.frr, curve.far)
    points = [("EER", cut, 100 * rate)]
    weights = [("min DCF", ASVSPOOF_5.of_misses, ASVSPOOF_5.of_false_alarms)]
    if asv is not None:
        legacy = legacy_weights(AsvErrorRates(**{field: asv[field] for field in AsvErrorRates._fields}))
        weights.insert(0, ("min t-DCF legacy", legacy.c1, legacy.c2))
    for metric, of_misses, of_false_alarms in weights:
        cost = of_misses * curve.frr + of_false_alarms * curve.far
        best = int(np.argmin(cost))
        points.append((metric, best, float(cost[best]) / min(of_misses, of_false_alarms)))
    return [
        OperatingPoint(metric, cut, float(curve.frr[cut]), float(curve.far[cut]), value)
        for metric, cut, value in points
    ]


def tag(number: int) -> str:
    """A, B, ... Z, AA, AB ...: a system's letter, so that nothing depends on colour alone."""
    return (tag(number // 26 - 1) if number >= 26 else "") + chr(ord("A") + number % 26)


def short_names(paths) -> list:
    """Names of score files or experiments: the last part of the path, or all of it where two are alike."""
    names = []
    for path in paths:
        name = str(path).rstrip("/").rpartition("/")[2]
        for suffix in _SUFFIXES:
            name = name.removesuffix(suffix) or name
        names.append(name)
    return [str(path) if names.count(name) > 1 else name for path, name in zip(paths, names, strict=True)]
