"""The tables of where spoofed parts were found."""

from asvtk.report.markdown import table
from asvtk.report.values import shown

__all__ = ["LOCALISATION", "localisation_tables"]

LOCALISATION = """\
Higher score = bona fide. A segment is a spoof if {label} of it is spoofed; its score is the timeline's where
its middle lies. EER in the official convention (ties count against the system), ROCCH-EER on the convex hull.
An interval is found if it and a predicted one have at least half of their union in common."""
_OF_TRIALS = ("bona fide", "spoof", "without score", "EER %", "ROCCH-EER %", "EER threshold")
_NOT_LOCATED = """\
The detections have no segments, as those of a detector without calibration: how much spoofed time and how
many intervals were found is not measured."""
_LABELS = {"any": "any", "majority": "more than half"}


def localisation_tables(results: dict) -> str:
    """Text before the tables, and the tables, of what `asvtk.metrics.localisation.localisation` gave."""
    parts = [LOCALISATION.format(label=_LABELS[results["segment_label"]])]
    parts.append(f"{results['n_files']} recordings, {results['seconds'] / 3600:.2f} hours.")
    if results["segments"]:
        header = ["Segment ms", *_OF_TRIALS]
        rows = [_row(length, of) for length, of in results["segments"].items()]
        parts.append(table(header, rows))
    if results["time"]:
        header = ["Spoofed", "true", "predicted", "both", "precision", "recall", "F1"]
        rows = [_found("time, s", results["time"], 1), _found("intervals", results["intervals"], 0)]
        parts.append(table(header, rows))
    else:
        parts.append(_NOT_LOCATED)
    if files := results["files"]:
        header = ["Spoofed share", *_OF_TRIALS]
        rows = [_row("all", files), *(_row(share, of) for share, of in files["per_share"].items())]
        parts.append(table(header, rows))
    return "\n\n".join(parts)


def _row(name: str, of: dict) -> list:
    left_out = of.get("left_out_bonafide", 0) + of["left_out_spoof"]
    rates = [shown(of[key], 3) for key in ("eer_percent", "eer_rocch_percent")]
    return [name, of["n_bonafide"], of["n_spoof"], left_out, *rates, shown(of["threshold"], None)]


def _found(name: str, of: dict, digits: int) -> list:
    counts = [shown(of[key], digits) for key in ("true", "predicted", "both")]
    return [name, *counts, *(shown(of[key], 4) for key in ("precision", "recall", "f1"))]
