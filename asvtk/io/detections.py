"""What a detector said of recordings, as ``asvtk detect`` writes it: one JSON object a line.

    {"file": "calls/a.wav", "duration": 12.5, "verdict": "spoof", "llr": -1.2, "score": -3.4,
     "timeline": [[0.0, 1.0, 0.7], [1.0, 2.0, null], ...],
     "segments": [{"start": 0.0, "end": 7.0, "verdict": "bonafide", "llr": 2.5}, ...]}

Further keys are of no matter here. Higher = bona fide; null = no speech, or not judged.
"""

import math
from pathlib import PurePath
from typing import NamedTuple

import numpy as np

from asvtk.io.datadir import BONAFIDE, SPOOF
from asvtk.io.errors import AsvtkError, shown
from asvtk.io.fields import field_of
from asvtk.io.rttm import NO_SPEECH, UNDECIDED, Span
from asvtk.io.text import parse_json, read_lines

__all__ = ["Detection", "read_detections"]

_VERDICTS = (BONAFIDE, SPOOF, NO_SPEECH, UNDECIDED)
#: seconds that cells or segments may overlap: ends are written rounded
_SLACK = 0.02


class Detection(NamedTuple):
    """What was said of one recording.

    Attributes:
        duration: seconds.
        llr, score: of the whole recording, or None.
        starts, ends: float64 (cells,), seconds, rising: the cells of the timeline.
        values: float64 (cells,), an LLR or a score each; nan where there is none.
        segments: parts by time, with their verdicts as labels.
    """

    duration: float
    llr: float | None
    score: float | None
    starts: np.ndarray
    ends: np.ndarray
    values: np.ndarray
    segments: list[Span]


def read_detections(path) -> dict[str, Detection]:
    """Read detections: name of a recording, its file's without folder and suffix -> what was said of it.

    Raises:
        AsvtkError: no text, a line that is no such object, times that are not in order, or a recording that
            stands there twice; with the line.
    """
    found: dict[str, Detection] = {}
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        content = parse_json(line, where)
        name = PurePath(field_of(content, "file", str, where)).stem
        if not name:
            raise AsvtkError(f"{where}: 'file' names no file")
        if name in found:
            raise AsvtkError(
                f"{where}: a recording {shown(name)} stands there for the second time; names without folder "
                "and suffix must differ"
            )
        found[name] = _detection(content, where)
    if not found:
        raise AsvtkError(f"{path}: is empty; expected one JSON object a line, as 'asvtk detect' writes them")
    return found


def _detection(content: dict, where: str) -> Detection:
    verdict = field_of(content, "verdict", str, where)
    if verdict not in _VERDICTS:
        raise AsvtkError(f"{where}: verdict {shown(verdict)}, expected one of {' '.join(_VERDICTS)}")
    duration = field_of(content, "duration", float, where)
    if duration <= 0:
        raise AsvtkError(f"{where}: duration {duration:g}, expected seconds above 0")
    cells = np.array(
        [_cell(cell, where) for cell in field_of(content, "timeline", list, where)], np.float64
    ).reshape(-1, 3)
    starts, ends, values = cells.T
    _require_order(where, "timeline", starts, ends, duration)
    segments = [_segment(segment, where) for segment in field_of(content, "segments", list, where)]
    times = np.array([segment[:2] for segment in segments], np.float64).reshape(-1, 2)
    _require_order(where, "segments", *times.T, duration)
    optional = {name: _number_or_none(content, name, where) for name in ("llr", "score")}
    return Detection(
        duration=duration, starts=starts, ends=ends, values=values, segments=segments, **optional
    )


def _number_or_none(content: dict, name: str, where: str) -> float | None:
    """A number that may be null; that it is missing is a fault."""
    if name in content and content[name] is None:
        return None
    return float(field_of(content, name, float, where))


def _cell(cell, where: str) -> tuple[float, float, float]:
    if not isinstance(cell, list) or len(cell) != 3:
        raise AsvtkError(f"{where}: timeline: expected cells [start, end, value or null]")
    named = dict(zip(("start", "end", "value"), cell, strict=True))
    value = math.nan if named["value"] is None else field_of(named, "value", float, f"{where}: timeline")
    return *(field_of(named, key, float, f"{where}: timeline") for key in ("start", "end")), value


def _segment(segment, where: str) -> Span:
    where = f"{where}: segments"
    if not isinstance(segment, dict):
        raise AsvtkError(f"{where}: expected objects with start, end and verdict")
    verdict = field_of(segment, "verdict", str, where)
    if verdict not in _VERDICTS:
        raise AsvtkError(f"{where}: verdict {shown(verdict)}, expected one of {' '.join(_VERDICTS)}")
    return Span(*(float(field_of(segment, key, float, where)) for key in ("start", "end")), verdict)


def _require_order(where: str, name: str, starts: np.ndarray, ends: np.ndarray, duration: float) -> None:
    """
    Raises:
        AsvtkError: a part ends before it begins, they are not in order or overlap, or lie outside.
    """
    bad = ends <= starts
    bad[1:] |= starts[1:] < ends[:-1] - _SLACK
    bad |= (starts < 0) | (starts >= duration + _SLACK)
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        raise AsvtkError(
            f"{where}: {name}: the part {at + 1} from {starts[at]:g} to {ends[at]:g} s is not in order, is "
            f"empty, overlaps the one before, or lies outside of the {duration:g} s"
        )
