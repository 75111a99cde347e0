"""Reference and detections -> recordings to measure; what does not name the same recordings is refused."""

import math
from pathlib import PurePath

import numpy as np

from asvtk.io.datadir import BONAFIDE, SPOOF
from asvtk.io.detections import Detection, read_detections
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.rttm import NO_SPEECH, UNDECIDED, Span, read_rttm, require_cover
from asvtk.metrics.localisation import Localised, merge_intervals

__all__ = ["read_localised"]

#: seconds by which a detector's duration of a file may differ from the reference's
_SAME_DURATION = 0.5


def read_localised(reference, detections=None, hypothesis=None) -> list[Localised]:
    """Join the truth with what a detector said of the same recordings.

    Args:
        reference: RTTM file that covers its recordings.
        detections: what ``asvtk detect`` wrote, see ``asvtk.io.detections``; a recording's name is that of
            its file without folder and suffix.
        hypothesis: instead, an RTTM file, also with names of files; what it does not call spoof, and
            recordings that it does not name, count as bona fide.

    Returns:
        the recordings of the reference, by name. Their scores are LLRs if there is any, else uncalibrated
        scores, and there are none with a hypothesis. Nothing is predicted where the detector gave no segments
        of any recording, as one without calibration does.

    Raises:
        AsvtkError: a file that cannot be read, one names recordings that the other does not, or one that is
            of another length there.
    """
    truth = require_cover(reference, read_rttm(reference))
    if detections is None:
        said = _by_stem(hypothesis, read_rttm(hypothesis, (BONAFIDE, SPOOF, NO_SPEECH, UNDECIDED)), truth)
        _refuse_strangers(hypothesis, said, reference, truth)
        return [_from_spans(truth[name], said.get(name, [])) for name in sorted(truth)]
    found = read_detections(detections)
    _refuse_strangers(detections, found, reference, truth)
    _refuse_strangers(reference, truth, detections, found)
    for name, detection in found.items():
        duration = truth[name][-1].end
        if abs(detection.duration - duration) > _SAME_DURATION:
            raise AsvtkError(
                f"{detections}: {name} lasts {detection.duration:.3f} s there, but {duration:.3f} s in "
                f"{reference}: these are two recordings of one name"
            )
    kind = "llr" if any(detection.llr is not None for detection in found.values()) else "score"
    joined = [_from_detection(truth[name], found[name], kind) for name in sorted(truth)]
    if not any(detection.segments for detection in found.values()):
        return [recording._replace(predicted=None) for recording in joined]
    return joined


def _by_stem(path, said: dict[str, list[Span]], truth) -> dict[str, list[Span]]:
    """The same by the names of the reference: a file's may have a folder and a suffix."""
    named = {}
    for name, spans in said.items():
        known = name if name in truth else PurePath(name).stem
        if known in named:
            raise AsvtkError(f"{path}: {name} is the second recording there that is called {known}")
        named[known] = spans
    return named


def _from_spans(truth: list[Span], said: list[Span]) -> Localised:
    duration = truth[-1].end
    return Localised(duration, _spoofed(truth, duration), _spoofed(said, duration))


def _from_detection(truth: list[Span], said: Detection, kind: str) -> Localised:
    score = getattr(said, kind)
    return _from_spans(truth, said.segments)._replace(
        starts=said.starts, ends=said.ends, values=said.values, score=math.nan if score is None else score
    )


def _spoofed(spans: list[Span], duration: float) -> np.ndarray:
    inside = (span for span in spans if span.label == SPOOF and span.start < duration)
    return merge_intervals([(span.start, min(span.end, duration)) for span in inside])


def _refuse_strangers(path, names, other, known) -> None:
    """Raise AsvtkError if ``path`` names recordings that ``other`` does not."""
    if strangers := sorted(names.keys() - known.keys()):
        raise AsvtkError(
            f"{other}: says nothing of {len(strangers)} of the {len(names)} recordings in {path}: "
            f"{listing(strangers)}. Names are compared without folder and suffix; is it of the same set?"
        )
