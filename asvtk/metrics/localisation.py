"""How well the spoofed parts of recordings are found: by segments, by time, by intervals, and by files.

numpy alone. Times are in seconds; a list of intervals is float64 (n, 2), start and end of each, in order and
without overlap.

* **Segment EER**: L. Zhang et al., "The PartialSpoof Database and Countermeasures for the Detection of Short
  Fake Speech Segments Embedded in an Utterance", IEEE/ACM TASLP 2023: recordings are cut into segments of a
  fixed length, each a trial, all recordings pooled. A segment is a spoof if any of it is spoofed.
* **Time and intervals**: precision, recall and F1 of spoofed seconds, and of spoofed intervals, of which a
  predicted and a true one match where their intersection is at least half of their union.
"""

import math
from typing import NamedTuple

import numpy as np

from asvtk.metrics.eer import det_curve, eer, rocch_eer

__all__ = [
    "LEAST_IOU",
    "RESOLUTIONS",
    "SHARES",
    "Localised",
    "localisation",
    "match_intervals",
    "merge_intervals",
    "overlap",
    "segment_labels",
    "segment_scores",
]

#: seconds of a segment
RESOLUTIONS = (0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
#: intersection over union from which two intervals are the same
LEAST_IOU = 0.5
#: share of spoofed speech in a file: above the first bound, up to the second
SHARES = ((0.0, 0.1), (0.1, 0.25), (0.25, 0.5), (0.5, 1.0))
#: seconds between two spoofed parts below which they are one: files name times in milliseconds
_JOINED = 0.002
#: share of a segment that is rounding
_ROUNDING = 1e-6


class Localised(NamedTuple):
    """A recording, and what was said of it.

    Attributes:
        duration: seconds.
        spoofed: intervals (n, 2) that are spoofed in truth.
        predicted: intervals (m, 2) that were said to be; None: the detector says nothing of intervals.
        starts, ends, values: each (cells,): the timeline, nan where it says nothing; None: there is none.
        score: of the whole recording, higher = bona fide; None: there is none.
    """

    duration: float
    spoofed: np.ndarray
    predicted: np.ndarray | None
    starts: np.ndarray | None = None
    ends: np.ndarray | None = None
    values: np.ndarray | None = None
    score: float | None = None


def merge_intervals(intervals) -> np.ndarray:
    """Intervals, any (n, 2) in order, with neighbours that touch (to 2 ms) made one: (m, 2)."""
    intervals = np.asarray(intervals, np.float64).reshape(-1, 2)
    if not len(intervals):
        return intervals
    begins = np.append(True, intervals[1:, 0] - intervals[:-1, 1] > _JOINED)
    ends = np.append(begins[1:], True)
    return np.stack([intervals[begins, 0], intervals[ends, 1]], axis=1)


def overlap(intervals: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Seconds that each of ``intervals`` (n, 2) shares with all of ``others`` (m, 2): (n,)."""
    if not len(others):
        return np.zeros(len(intervals))
    times = others.ravel()
    covered = np.repeat(np.append(0, np.cumsum(others[:, 1] - others[:, 0])), 2)[1:-1]
    until = np.interp(intervals, times, covered)  # seconds of the others before each end
    return until[:, 1] - until[:, 0]


def segment_edges(duration: float, resolution: float) -> np.ndarray:
    """Start and end of each segment, (n, 2); the last one may be shorter."""
    count = max(1, math.ceil(duration / resolution - _ROUNDING))
    edges = np.arange(count + 1) * resolution
    edges[-1] = duration
    return np.stack([edges[:-1], edges[1:]], axis=1)


def segment_labels(edges: np.ndarray, spoofed: np.ndarray, majority: bool = False) -> np.ndarray:
    """Which segments are spoofs, bool (n,).

    As PartialSpoof has it, a segment is a spoof if **any** of it is spoofed.

    Args:
        edges: of the segments, (n, 2).
        spoofed: intervals (m, 2).
        majority: it is one if more than half of it is spoofed.
    """
    length = edges[:, 1] - edges[:, 0]
    return overlap(edges, spoofed) > (0.5 if majority else _ROUNDING) * length


def segment_scores(edges: np.ndarray, starts: np.ndarray, ends: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The value of the timeline's cell that the middle of each segment lies in, (n,); nan where none does.

    Args:
        edges: of the segments, (n, 2).
        starts, ends, values: of the cells, each (cells,), by time.
    """
    if not len(starts):
        return np.full(len(edges), np.nan)
    middle = edges.mean(axis=1)
    cell = np.maximum(np.searchsorted(starts, middle, side="right") - 1, 0)
    inside = (starts[cell] <= middle) & (middle < ends[cell])
    return np.where(inside, values[cell], np.nan)


def match_intervals(predicted: np.ndarray, spoofed: np.ndarray, least: float = LEAST_IOU) -> int:
    """How many pairs of a predicted (m, 2) and a true (n, 2) interval have an IoU of ``least`` or more.

    Each interval is in one pair at most. From 0.5 on only ties compete for a partner, and by time they
    make the most pairs.
    """
    matched, place = 0, 0
    for start, end in predicted:
        for at in range(place, len(spoofed)):
            first, last = spoofed[at]
            if first >= end:
                break
            shared = min(end, last) - max(start, first)
            if shared > 0 and shared >= least * (max(end, last) - min(start, first)) - 1e-9:
                matched, place = matched + 1, at + 1
                break
    return matched


def localisation(recordings: list[Localised], majority: bool = False) -> dict:
    """All measures of a set of recordings.

    Args:
        recordings: with scores, or all without; then there are no values of segments and files. And with
            predicted intervals, or all without; then there are none of time and intervals.
        majority: see `segment_labels`.

    Returns:
        Plain Python values, ready for `json`; rates in [0, 1] but where the name says percent, null where a
        value does not exist. ``segments``: milliseconds -> EER of segments of that length, the numbers
        of both classes, and of those ``left_out`` for want of a value; ``time`` and ``intervals``: precision,
        recall and F1 of spoofed time (in s) and intervals; ``files``: EER of all files, and per
        share of spoofed speech, against all bona fide files.
    """
    scored = any(recording.values is not None for recording in recordings)
    located = any(recording.predicted is not None for recording in recordings)
    return {
        "n_files": len(recordings),
        "seconds": float(sum(recording.duration for recording in recordings)),
        "segment_label": "majority" if majority else "any",
        "segments": {
            str(round(1000 * resolution)): _segments(recordings, resolution, majority)
            for resolution in (RESOLUTIONS if scored else ())
        },
        "time": _of_time(recordings) if located else None,
        "intervals": _of_intervals(recordings) if located else None,
        "files": _files(recordings) if scored else None,
    }


def _segments(recordings: list[Localised], resolution: float, majority: bool) -> dict:
    labels, scores = [], []
    for recording in recordings:
        edges = segment_edges(recording.duration, resolution)
        labels.append(segment_labels(edges, recording.spoofed, majority))
        scores.append(segment_scores(edges, recording.starts, recording.ends, recording.values))
    labels, scores = np.concatenate(labels), np.concatenate(scores)
    judged = np.isfinite(scores)
    left_out = {
        "left_out_bonafide": int(np.sum(~judged & ~labels)),
        "left_out_spoof": int(np.sum(~judged & labels)),
    }
    return _eer(scores[judged & ~labels], scores[judged & labels]) | left_out


def _of_time(recordings: list[Localised]) -> dict:
    true = sum(_seconds(of.spoofed) for of in recordings)
    said = sum(_seconds(of.predicted) for of in recordings)
    both = sum(float(overlap(of.predicted, of.spoofed).sum()) for of in recordings)
    return {**_rates(both, said, true), "true": true, "predicted": said, "both": both}


def _of_intervals(recordings: list[Localised]) -> dict:
    true, said = sum(len(of.spoofed) for of in recordings), sum(len(of.predicted) for of in recordings)
    both = sum(match_intervals(of.predicted, of.spoofed) for of in recordings)
    return {**_rates(both, said, true), "true": true, "predicted": said, "both": both, "iou": LEAST_IOU}


def _seconds(intervals: np.ndarray) -> float:
    return float((intervals[:, 1] - intervals[:, 0]).sum())


def _rates(both: float, said: float, true: float) -> dict:
    return {
        "precision": both / said if said else None,
        "recall": both / true if true else None,
        "f1": 2 * both / (said + true) if said + true else None,
    }


def _files(recordings: list[Localised]) -> dict:
    share = np.array([_seconds(of.spoofed) / of.duration for of in recordings])
    share = np.minimum(share, 1)  # times are rounded
    score = np.array([math.nan if of.score is None else of.score for of in recordings])
    judged = np.isfinite(score)
    bonafide = score[judged & (share == 0)]
    left_out = {
        "left_out_bonafide": int(np.sum(~judged & (share == 0))),
        "left_out_spoof": int(np.sum(~judged & (share > 0))),
    }
    per_share = {}
    for low, high in SHARES:
        chosen = (share > low) & (share <= high)
        found = _eer(bonafide, score[judged & chosen])
        per_share[f"{low:.0%} to {high:.0%}"] = found | {"left_out_spoof": int(np.sum(~judged & chosen))}
    return {**_eer(bonafide, score[judged & (share > 0)]), **left_out, "per_share": per_share}


def _eer(bonafide: np.ndarray, spoof: np.ndarray) -> dict:
    found = dict.fromkeys(("eer_percent", "eer_rocch_percent", "threshold"))
    if bonafide.size and spoof.size:
        curve = det_curve(bonafide, spoof)
        rate, cut = eer(curve.frr, curve.far)
        found["eer_percent"] = 100 * rate
        found["eer_rocch_percent"] = 100 * rocch_eer(curve.frr, curve.far)
        found["threshold"] = float(curve.thresholds[cut])
    return {**found, "n_bonafide": int(bonafide.size), "n_spoof": int(spoof.size)}
