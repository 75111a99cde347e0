"""Likeness of a recording to what a detector was trained on: level, bandwidth, noise and clipping."""

import numpy as np

from asvtk.corpora.shortcuts import measure_shortcuts

__all__ = ["MEASUREMENTS", "measure", "unlike"]

#: measurement -> unit
MEASUREMENTS = {"level": "dB", "signal to noise": "dB", "fall at 7.75 kHz": "dB", "clipped": "%"}
_CLIPPED = 0.999  # of full scale


def measure(samples: np.ndarray) -> dict[str, float]:
    """The numbers of ``MEASUREMENTS``: see `asvtk.corpora.shortcuts`; clipped: share of the samples.

    Args:
        samples: at 16 kHz, full scale at 1, shape (samples,).
    """
    values = measure_shortcuts(samples)
    values["clipped"] = 100 * float(np.mean(np.abs(samples) >= _CLIPPED))
    return {name: values[name] for name in MEASUREMENTS}


def unlike(values: dict[str, float], ranges: dict[str, tuple[float, ...]]) -> list[str]:
    """A line for each measurement that lies outside the range of the bona fide speech of training."""
    lines = []
    for name, value in values.items():
        if name not in ranges:
            continue
        low, high = ranges[name]
        slack = 0.1 * (high - low)
        if not low - slack <= value <= high + slack:
            unit = MEASUREMENTS[name]
            lines.append(
                f"{name} {value:.1f} {unit}, where 98 % of the bona fide training speech has {low:.1f} to "
                f"{high:.1f} {unit}"
            )
    return lines
