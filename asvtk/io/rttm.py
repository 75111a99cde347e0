"""RTTM files: which parts of recordings are bona fide and which are spoofed.

One line a part, in the ten fields of NIST's rich transcription format (RT-09 evaluation plan, appendix A):

    SPEAKER file 1 start duration <NA> <NA> bonafide|spoof <NA> <NA>

Times are in seconds. Lines that begin with ``;;`` are comments.
"""

from typing import NamedTuple

from asvtk.io.datadir import BONAFIDE, SPOOF
from asvtk.io.errors import AsvtkError, shown
from asvtk.io.text import parse_float, read_lines, split_blanks

__all__ = ["NO_SPEECH", "UNDECIDED", "Span", "read_rttm", "require_cover", "rttm_text"]

NO_SPEECH, UNDECIDED = "no_speech", "undecided"  # what detectors say besides
_FORM = "SPEAKER file 1 start duration <NA> <NA> bonafide|spoof <NA> <NA>"
_FIELDS = 10
#: seconds: measures cut recordings into pieces of 20 ms, and a damaged number must not fill the memory
_LONGEST = 86_400.0
#: seconds that neighbours may be apart or overlap: some writers round both start and duration to 10 ms
_SLACK = 0.02


class Span(NamedTuple):
    """A part of a recording, in seconds."""

    start: float
    end: float
    label: str


def rttm_text(recordings: dict[str, list[Span]]) -> str:
    """The text of an RTTM file; times in milliseconds, to which they are rounded."""
    lines = []
    for name, spans in recordings.items():
        for start, end, label in spans:
            start, end = round(start, 3), round(end, 3)
            lines.append(f"SPEAKER {name} 1 {start:.3f} {end - start:.3f} <NA> <NA> {label} <NA> <NA>\n")
    return "".join(lines)


def read_rttm(path, labels=(BONAFIDE, SPOOF)) -> dict[str, list[Span]]:
    """Read an RTTM file: name of a recording -> its parts, by time.

    Parts that overlap by no more than 20 ms, as rounding makes them, end where the next begins.

    Args:
        path: the file.
        labels: that may stand in the eighth field.

    Raises:
        AsvtkError: it is no text, or a line is not of this form, has a time that is negative, not finite or
            beyond a day, a duration of nothing, another label, or a part that overlaps another one; with the
            line.
    """
    found: dict[str, list[tuple[Span, int]]] = {}
    for number, line in enumerate(read_lines(path), 1):
        fields = split_blanks(line)
        if fields and not fields[0].startswith(";;"):
            name, span = _parse(f"{path}:{number}", fields, labels)
            found.setdefault(name, []).append((span, number))
    return {name: _in_order(path, name, sorted(spans)) for name, spans in found.items()}


def require_cover(path, recordings: dict[str, list[Span]]) -> dict[str, list[Span]]:
    """The same with gaps of up to 20 ms closed: what is to be found must be told of all of a recording.

    Raises:
        AsvtkError: there are no recordings, or there is a larger gap, at the beginning of a recording or
            between two parts.
    """
    if not recordings:
        raise AsvtkError(f"{path}: holds no line '{_FORM}'")
    covered = {}
    for name, spans in recordings.items():
        ends = [0.0, *(span.end for span in spans)]
        for end, span in zip(ends, spans, strict=False):
            if span.start - end > _SLACK:
                raise AsvtkError(
                    f"{path}: {name} says nothing of {end:.3f} to {span.start:.3f} s; a reference covers the "
                    "whole recording: add a line 'bonafide' or 'spoof' for that part"
                )
        covered[name] = [span._replace(start=end) for end, span in zip(ends, spans, strict=False)]
    return covered


def _parse(where: str, fields: list[str], labels) -> tuple[str, Span]:
    if len(fields) != _FIELDS or fields[0] != "SPEAKER":
        raise AsvtkError(f"{where}: expected '{_FORM}', found {shown(' '.join(fields))}")
    if fields[2] != "1":
        raise AsvtkError(f"{where}: channel {shown(fields[2])}, expected 1: recordings have one channel")
    try:
        start, duration = map(parse_float, fields[3:5])
    except ValueError as error:
        raise AsvtkError(f"{where}: {error}; expected start and duration in seconds") from None
    if not (start >= 0 and duration > 0 and start + duration <= _LONGEST):
        raise AsvtkError(
            f"{where}: start {shown(fields[3])} and duration {shown(fields[4])}; expected seconds: a "
            "start of 0 or later, a duration above 0, and an end within a day"
        )
    if fields[7] not in labels:
        raise AsvtkError(f"{where}: label {shown(fields[7])}, expected one of {' '.join(labels)}")
    return fields[1], Span(start, start + duration, fields[7])


def _in_order(path, name: str, spans: list[tuple[Span, int]]) -> list[Span]:
    kept = []
    for span, number in spans:
        if kept and kept[-1].end > span.start:
            if kept[-1].end - span.start > _SLACK or kept[-1].start >= span.start:
                raise AsvtkError(
                    f"{path}:{number}: {name} from {span.start:.3f} to {span.end:.3f} s overlaps the part "
                    f"from {kept[-1].start:.3f} to {kept[-1].end:.3f} s; parts of a recording do not overlap"
                )
            kept[-1] = kept[-1]._replace(end=span.start)
        kept.append(span)
    return kept
