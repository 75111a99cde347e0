"""Waveform and timeline of a recording, one below the other: SVG with positions in percent.

Nothing is scaled but the drawing itself, so letters keep their size on a phone.
"""

from itertools import groupby

import numpy as np

from asvtk.inference.detection import Detection
from asvtk.io.datadir import SPOOF
from asvtk.report.detection_words import clock, number, stretch_words
from asvtk.report.svg import Markup, element, linear_ticks, plain

__all__ = ["MOST_CELLS", "ruler", "timeline", "timeline_cells", "waveform"]

#: A timeline of more cells is drawn by the lowest of several.
MOST_CELLS = 1500
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800)
_TICKS = 5  # so many times fit below a narrow drawing
_QUIET = 0.003  # of full scale: what is quieter is not blown up


def waveform(low: np.ndarray, high: np.ndarray, detection: Detection) -> Markup:
    """Outline of the sound, as high as its loudest sample; what is called spoofed is shaded.

    Args:
        low, high: lowest and highest sample of each bin, (bins,).
        detection: of the recording.
    """
    loudest = max(float(np.abs(low).max()), float(np.abs(high).max()), _QUIET)
    tops, bottoms = (np.rint(100 - 98 * values / loudest).astype(int).tolist() for values in (high, low))
    there = "".join(f"L{i} {y}" for i, y in enumerate(tops))
    back = "".join(f"L{i} {y}" for i, y in reversed(list(enumerate(bottoms))))
    shape = element("path", d=f"M{(there + back)[1:]}z", class_="wave")
    where = stretch_words(detection, " to ")
    about = f"Waveform, {clock(detection.duration)}" + (f"; spoofed: {where}" if where else "")
    return element(
        "svg",
        _shades(detection),
        _stretched(shape, width=max(1, len(tops) - 1), height=200),
        class_="plot waveform",
        role="img",
        aria_label=about,
    )


def timeline_cells(detection: Detection) -> tuple[list, int]:
    """The timeline as it is drawn: (start, end, value), and how many cells became one (by the lowest)."""
    cells = list(detection.timeline)
    size = -(-len(cells) // MOST_CELLS) or 1
    if size > 1:
        groups = [cells[i : i + size] for i in range(0, len(cells), size)]
        cells = [
            (of[0][0], of[-1][1], min((value for *_, value in of if value is not None), default=None))
            for of in groups
        ]
    return cells, size


def timeline(detection: Detection) -> Markup:
    """LLR (or score) over time: above the threshold in one colour, below it in another, gaps grey."""
    cells, _ = timeline_cells(detection)
    values = [value for *_, value in cells if value is not None]
    line = detection.threshold
    low, high = _range(values if line is None else [*values, line])

    def height(value: float) -> float:
        return 100 * (high - value) / (high - low)

    gaps, areas = [], []
    base = height(max(low, min(high, 0.0)) if line is None else line)
    for is_gap, group in groupby(cells, key=lambda cell: cell[2] is None):
        run = list(group)
        if is_gap:
            gaps.append(_band(run[0][0], run[-1][1], detection.duration, "gap"))
            continue
        steps = [(start, end, height(value)) for start, end, value in run]
        if line is None:
            areas.append(_area(steps, base, detection.duration, "neutral"))
        else:
            for clamp, name in ((min, "above"), (max, "below")):
                clamped = [(start, end, clamp(y, base)) for start, end, y in steps]
                areas.append(_area(clamped, base, detection.duration, name))
    parts = [_shades(detection), *gaps, _stretched(*areas, width=1000, height=100)]
    ticks = linear_ticks(low, high, 4)
    digits = max([0, *(len(plain(tick, 6).partition(".")[2]) for tick in ticks)])
    for tick in ticks:
        y = f"{height(tick):.2f}%"
        parts.insert(0, element("line", x1="0", x2="100%", y1=y, y2=y, class_="grid"))
        parts.append(element("text", number(tick, digits), x="0", dx=-8, y=y, dy=5, class_="tick end"))
    if line is not None:
        parts.append(
            element("line", x1="0", x2="100%", y1=f"{base:.2f}%", y2=f"{base:.2f}%", class_="threshold")
        )
    what = "Score" if detection.llr is None else "Log-likelihood ratio"
    about = f"{what} over time, from {number(min(values))} to {number(max(values))}" if values else what
    about += "" if line is None else f"; threshold {number(line)}"
    return element("svg", *parts, class_="plot timeline", role="img", aria_label=about)


def ruler(duration: float) -> Markup:
    """Times below the drawings."""
    step = next((step for step in _STEPS if duration / step <= _TICKS), 2 * _STEPS[-1])
    parts = []
    for i in range(int(duration / step + 1e-9) + 1):
        at = 100 * i * step / duration
        anchor = " end" if at > 96 else " middle" if i else ""
        parts.append(element("text", clock(i * step), x=f"{at:.2f}%", y=15, class_=f"tick{anchor}"))
        parts.append(element("line", x1=f"{at:.2f}%", x2=f"{at:.2f}%", y1=-5, y2=0, class_="base"))
    return element("svg", *parts, class_="plot ruler", height=20, aria_hidden="true")


def _shades(detection: Detection) -> Markup:
    spoofed = [part for part in detection.segments if part.verdict == SPOOF]
    return element("g", *(_band(part.start, part.end, detection.duration, "shade") for part in spoofed))


def _band(start: float, end: float, duration: float, name: str) -> Markup:
    x, width = (f"{100 * seconds / duration:.3f}%" for seconds in (start, end - start))
    return element("rect", x=x, width=width, y=0, height="100%", class_=name)


def _area(steps: list, base: float, duration: float, name: str) -> Markup:
    """Steps down (or up) to a level; ``steps``: (start, end, y)."""
    along = "".join(f"V{y:.1f}H{1000 * end / duration:.2f}" for _, end, y in steps)
    return element(
        "path", d=f"M{1000 * steps[0][0] / duration:.2f} {base:.1f}{along}V{base:.1f}z", class_=name
    )


def _stretched(*shapes, width: int, height: int) -> Markup:
    box = f"0 0 {width} {height}"
    return element("svg", *shapes, viewBox=box, preserveAspectRatio="none", width="100%", height="100%")


def _range(values: list) -> tuple[float, float]:
    """What the drawing spans: all values, and a little room."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    room = 0.06 * (high - low) or max(1.0, 0.1 * abs(low))
    return low - room, high + room
