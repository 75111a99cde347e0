"""Timelines and segments: windows' log-likelihood ratios -> where a recording is spoofed."""

import math

import numpy as np

from asvtk.inference.detection import NO_SPEECH, Segment
from asvtk.io.datadir import BONAFIDE, SPOOF

__all__ = ["cells_of_windows", "find_segments"]

#: seconds that one stretch is expected to last: the rarer changes are, the more it takes to find one
_STRETCH = 60.0
#: seconds without speech that do not end a segment
_PAUSE = 3.0


def cells_of_windows(
    starts: np.ndarray, values: np.ndarray, window: float, hop: float, duration: float
) -> np.ndarray:
    """Timeline: the mean of all windows that cover a cell of a hop; nan where none does.

    Args:
        starts: of the windows, seconds, (windows,).
        values: LLRs or scores of the windows, (windows,).
        window, hop, duration: seconds.

    Returns:
        (cells,) float64, where the last cell may be shorter than a hop.
    """
    cells = max(1, math.ceil(duration / hop - 1e-9))
    sums, counts = np.zeros(cells + 1), np.zeros(cells + 1)
    # A window counts for a cell whose middle it covers.
    first = np.clip(np.ceil(starts / hop - 0.5 - 1e-9).astype(int), 0, cells)
    last = np.clip(np.ceil((starts + window) / hop - 0.5 - 1e-9).astype(int), first, cells)
    last = np.where(starts + window >= duration - 1e-6, cells, last)  # the last cell may be short
    np.add.at(sums, first, values)
    np.add.at(sums, last, -values)
    np.add.at(counts, first, 1)
    np.add.at(counts, last, -1)
    sums, counts = np.cumsum(sums)[:cells], np.rint(np.cumsum(counts)[:cells])
    return np.divide(sums, counts, out=np.full(cells, np.nan), where=counts > 0)


def find_segments(
    llr: np.ndarray, speech: np.ndarray, threshold: float, window: float, hop: float, duration: float
) -> tuple[Segment, ...]:
    """Cut a recording where bona fide speech and spoofs meet, and where nobody speaks.

    The most likely sequence of a two-state Markov chain (A. J. Viterbi, "Error bounds for convolutional codes
    and an asymptotically optimum decoding algorithm", IEEE Transactions on Information Theory 1967), whose
    stretches last a minute in the mean. Cells share the windows that cover them: each counts for the share
    of a window that a hop is.

    Args:
        llr: timeline of log-likelihood ratios, nan where there is none, (cells,).
        speech: whether somebody speaks in a cell, bool (cells,).
        threshold: bona fide lies above it.
        window, hop, duration: seconds.
    """
    heard = _without_pauses(speech & np.isfinite(llr), round(_PAUSE / hop))
    llr = np.where(np.isfinite(llr), llr, threshold)
    evidence = np.where(heard, llr - threshold, 0.0) * min(1.0, hop / window)
    is_bonafide = _most_likely(
        evidence, change=math.log(max(hop, 1e-3) / _STRETCH) if hop < _STRETCH else -1.0
    )
    labels = [
        (BONAFIDE if good else SPOOF) if here else NO_SPEECH
        for here, good in zip(heard, is_bonafide, strict=True)
    ]
    segments, begin = [], 0
    for cell in range(1, len(labels) + 1):
        if cell == len(labels) or labels[cell] != labels[begin]:
            here = slice(begin, cell)
            mean = float(llr[here].mean()) if labels[begin] != NO_SPEECH else None
            segments.append(Segment(begin * hop, min(cell * hop, duration), labels[begin], mean))
            begin = cell
    return tuple(segments)


def _without_pauses(heard: np.ndarray, longest: int) -> np.ndarray:
    """``heard`` (cells,), with gaps between speech filled that are no longer than so many cells."""
    filled, last = heard.copy(), None
    for cell in np.flatnonzero(heard):
        if last is not None and cell - last - 1 <= longest:
            filled[last:cell] = True
        last = cell
    return filled


def _most_likely(evidence: np.ndarray, change: float) -> np.ndarray:
    """Viterbi path over cells: bool (cells,), True = bona fide.

    Args:
        evidence: log-likelihood ratio of each cell, positive = bona fide, (cells,).
        change: log probability of a change from one cell to the next.
    """
    stay = math.log1p(-math.exp(change))
    best = {True: 0.0, False: 0.0}
    came_from = []
    for value in evidence:
        steps = {
            state: max((best[before] + (stay if before == state else change), before) for before in best)
            for state in best
        }
        came_from.append({state: before for state, (_, before) in steps.items()})
        best = {state: steps[state][0] + (value if state else -value) / 2 for state in best}
    state = best[True] >= best[False]
    path = [state]
    for origins in reversed(came_from[1:]):
        state = origins[state]
        path.append(state)
    return np.array(path[::-1] if len(evidence) else [], bool)
