"""Detections as a table for the terminal, and as CSV."""

import csv
import io
import unicodedata
from collections.abc import Iterable
from dataclasses import fields

from asvtk.inference.detection import Detection
from asvtk.report.detection_words import stretch_words

__all__ = ["CSV_FIELDS", "detections_csv", "detections_table"]

#: what is no single value, and stands in JSON only
_NOT_SCALAR = {"error_rates", "segments", "timeline", "warnings", "notes"}
CSV_FIELDS = (*(name.name for name in fields(Detection) if name.name not in _NOT_SCALAR), "spoofed_s")


def detections_csv(detections: Iterable[Detection], header: bool = True) -> str:
    """A row for each recording: what is one value of ``Detection.to_dict``, and ``spoofed_s``.

    Args:
        detections: in the order of the rows.
        header: whether the names of the columns come first.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_FIELDS, extrasaction="ignore", lineterminator="\n")
    if header:
        writer.writeheader()
    for detection in detections:
        writer.writerow({**detection.to_dict(), "spoofed_s": round(detection.spoofed, 6)})
    return text.getvalue()


def detections_table(detections: Iterable[Detection], name_width: int = 40) -> str:
    """A table for people, a line for each recording.

    Args:
        detections: in the order of the lines.
        name_width: columns that a name may take; longer ones lose their middle.
    """
    detections = list(detections)
    columns = {
        "file": [_shortened(_printable(of.file), name_width) for of in detections],
        "verdict": [of.verdict for of in detections],
        "P(spoof)": [_probability(of.probability) for of in detections],
        "LLR": [_number(of.llr, 2) for of in detections],
        "score": [_number(of.score, 3) if of.llr is None else "-" for of in detections],
        "speech s": [_number(of.speech, 1) for of in detections],
        "spoofed": [stretch_words(of, "-") or "-" for of in detections],
    }
    # Calibrated detectors have probabilities, others scores; seldom does a table hold both.
    if any(of.llr is not None for of in detections) or all(of.score is None for of in detections):
        if all(of.llr is not None or of.score is None for of in detections):
            del columns["score"]
    else:
        del columns["P(spoof)"], columns["LLR"]
    left = {"file", "verdict", "spoofed"}
    padded = []
    for title, cells in columns.items():
        width = max(map(_width, [title, *cells]))
        padded.append([_padded(cell, width, title in left) for cell in [title, *cells]])
    return "".join("  ".join(row).rstrip() + "\n" for row in zip(*padded, strict=True))


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value + 0.0:.{digits}f}"


def _probability(value: float | None) -> str:
    """Three decimals, and never as if a detector were certain."""
    if value is None or 0.0005 <= value < 0.9995:
        return _number(value, 3)
    return ">0.999" if value > 0.5 else "<0.001"


def _printable(name: str) -> str:
    """A name that cannot steer a terminal, nor turn its line around."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name)


def _shortened(name: str, width: int) -> str:
    """The beginning and the end of a long name: the end tells files of one folder apart."""
    if _width(name) <= width:
        return name
    head, tail = name[: width // 3], name[width // 3 :]
    while _width(head) + 1 + _width(tail) > width and tail:
        tail = tail[1:]
    return f"{head}…{tail}"


def _width(text: str) -> int:
    """Columns of a terminal: East Asian letters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def _padded(text: str, width: int, left: bool) -> str:
    space = " " * (width - _width(text))
    return text + space if left else space + text
