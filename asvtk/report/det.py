"""DET curves on normal-deviate axes, thinned out to what a screen can show.

A. Martin et al., "The DET curve in assessment of detection task performance", Eurospeech 1997: with
error rates on probit axes, normally distributed scores give straight lines.
"""

from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from asvtk.metrics.eer import DetCurve, det_curve
from asvtk.report.svg import Markup, element, join, plain
from asvtk.report.system import operating_points, tag

__all__ = ["Axis", "axis_for", "det_chart", "marker_key", "place_tags", "thin"]

#: Error rates where a line of the grid is, and where an axis may begin or end.
TICKS = tuple(
    [digit * 10.0**power for power in (-5, -4, -3) for digit in (1, 2, 5)]
    + [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99]
)
_NORMAL = NormalDist()
#: Side of the plot in its own units. On the page it has 300 to 560 pixels.
SIDE = 1000
#: A cut moves the curve visibly when it crosses the border of one of so many cells.
CELLS = 600
_MARKERS = {
    "EER": "M-6 0a6 6 0 1 0 12 0a6 6 0 1 0 -12 0z",
    "min t-DCF legacy": "M0 -8L8 0L0 8L-8 0z",
    "min DCF": "M-9 -9H9V9H-9z",
}


class Axis(NamedTuple):
    """The same range of error rates, in (0, 1), for both axes."""

    low: float
    high: float

    def place(self, rates) -> np.ndarray:
        """Place of error rates (n,) on the axis: 0 at ``low``, 1 at ``high``; far outside for 0 and 1."""
        rates = np.clip(np.asarray(rates, dtype=float), 1e-9, 1 - 1e-9)
        probit = np.array([_NORMAL.inv_cdf(rate) for rate in rates.ravel().tolist()])
        low, high = _NORMAL.inv_cdf(self.low), _NORMAL.inv_cdf(self.high)
        return (probit.reshape(rates.shape) - low) / (high - low)

    def borders(self, cells: int) -> np.ndarray:
        """Error rates (cells + 1,) that cut the axis into cells of equal width."""
        low, high = _NORMAL.inv_cdf(self.low), _NORMAL.inv_cdf(self.high)
        return np.array([_NORMAL.cdf(low + (high - low) * i / cells) for i in range(cells + 1)])


def axis_for(systems, points=()) -> Axis:
    """The range that shows where these systems work.

    From one error, or a twentieth of the best EER, up to ten times the worst one; ``points``, of
    `operating_points`, lie within if they can.
    """
    smallest_class = min(min(system.bonafide.size, system.spoof.size) for system in systems)
    rates = [system.results["eer_percent"] / 100 for system in systems]
    picked = [rate for point in points for rate in (point.frr, point.far)]
    lowest = max(1 / smallest_class, min(rates) / 20)
    highest = max(
        0.05, min(10 * max(rates), 0.4), 1.1 * max(rates), *(min(1.2 * rate, 0.9) for rate in picked)
    )
    return Axis(
        low=max((tick for tick in TICKS if tick <= min(lowest, 0.02)), default=TICKS[0]),
        high=next((tick for tick in TICKS if tick >= highest), TICKS[-1]),
    )


def thin(curve: DetCurve, axis: Axis, keep=(), cells: int = CELLS) -> np.ndarray:
    """Cuts (m,) that draw the visible part of a DET curve as all of its n + 1 cuts would.

    A curve is a staircase. Wherever it steps from one cell of a fine grid into another, both ends of
    the step stay, so no point is farther off than one cell; so do the cuts ``keep``.
    """
    borders = axis.borders(cells)
    x, y = np.searchsorted(borders, curve.far), np.searchsorted(borders, curve.frr)
    moves = np.flatnonzero((np.diff(x) != 0) | (np.diff(y) != 0))
    visible = (x > 0) & (x <= cells) & (y > 0) & (y <= cells)
    moves = moves[visible[moves] | visible[moves + 1]]
    return np.unique(np.concatenate([moves, moves + 1, np.asarray(keep, dtype=np.intp)]))


def place_tags(curves: list, markers: np.ndarray, room: float = 0.07) -> list:
    """For each curve the point where its letter is farthest from other curves, markers and letters.

    Args:
        curves: arrays (m, 2) of points in [0, 1]² and beyond. markers: (k, 2).
        room: distance beyond which more does not help.

    Returns:
        (2,) per curve; None for a curve that is not to be seen.
    """
    curves = [_resample(curve) for curve in curves]
    placed, taken = [], [np.asarray(markers, dtype=float).reshape(-1, 2)]
    for i, curve in enumerate(curves):
        candidates = curve[((curve > 0.05) & (curve < 0.95)).all(axis=1)]
        if not candidates.size:
            placed.append(None)
            continue
        others = np.concatenate([np.empty((0, 2)), *(other for j, other in enumerate(curves) if j != i)])
        free = 2 * _distance(candidates, np.concatenate(taken), room) + _distance(candidates, others, room)
        placed.append(candidates[int(np.argmax(free))])
        taken.append(placed[-1][None])
    return placed


def det_chart(systems) -> Markup:
    """The curves of `System`s on one set, with their operating points, as one SVG.

    Positions are percentages and letters have fixed sizes, so it is readable at any width.
    """
    full = [det_curve(system.bonafide, system.spoof) for system in systems]
    points_of = [
        operating_points(curve, system.results["asv"]) for curve, system in zip(full, systems, strict=True)
    ]
    axis = axis_for(systems, [point for points in points_of for point in points])
    drawn, markers, curves = [], [], []
    for system, curve, points in zip(systems, full, points_of, strict=True):
        cuts = thin(curve, axis, [point.cut for point in points])
        places = np.stack([axis.place(curve.far[cuts]), axis.place(curve.frr[cuts])], axis=1)
        curves.append(places)
        drawn.append(_curve(places, system.number))
        at = np.clip(axis.place([[point.far, point.frr] for point in points]), 0, 1)
        # drawn from the last to the first: the EER's is the smallest and shall not be covered
        markers += [(system, *pair) for pair in zip(reversed(points), at[::-1], strict=True)]
    letters = place_tags(curves, np.array([at for _, _, at in markers]))
    lines = element(
        "svg", *drawn, viewBox=f"0 0 {SIDE} {SIDE}", preserveAspectRatio="none", width="100%", height="100%"
    )
    parts = [_grid(axis), lines, *(_marker(*marker) for marker in markers)]
    outside = []
    for system, place in zip(systems, letters, strict=True):
        if place is None:  # no errors at all, or nothing but errors
            outside.append(tag(system.number))
        else:
            parts.append(_at(place, _letter(system.number)))
    if outside:
        words = "outside: " + ", ".join(outside)
        parts.append(element("text", words, x="100%", y="0", dy="-12", class_="axis end"))
    label = "DET curves of " + ", ".join(system.name for system in systems)
    return element("svg", *parts, class_="plot det", role="img", aria_label=label)


def marker_key(metrics) -> Markup:
    """What the markers mean."""
    items = [
        element(
            "li",
            element("svg", element("path", d=_MARKERS[metric]), class_="key", viewBox="-12 -12 24 24"),
            metric,
            class_="marker-" + metric.partition(" ")[2].replace(" ", "-").lower(),
        )
        for metric in metrics
    ]
    return element("ul", *items, class_="keys")


def _grid(axis: Axis) -> Markup:
    def text(rate: float) -> str:
        return plain(100 * rate, 5)

    parts = [element("rect", width="100%", height="100%", class_="frame")]
    for rate in (tick for tick in TICKS if axis.low <= tick <= axis.high):
        along = float(100 * axis.place(rate))
        lines = dict(class_="grid")
        parts.append(element("line", x1=f"{along:.2f}%", x2=f"{along:.2f}%", y1="0", y2="100%", **lines))
        parts.append(
            element("line", y1=f"{100 - along:.2f}%", y2=f"{100 - along:.2f}%", x1="0", x2="100%", **lines)
        )
    for rate in _labelled(axis):
        along = float(100 * axis.place(rate))
        parts.append(element("text", text(rate), x=f"{along:.2f}%", y="100%", dy="20", class_="tick middle"))
        parts.append(
            element("text", text(rate), y=f"{100 - along:.2f}%", x="0", dx="-8", dy="5", class_="tick end")
        )
    parts.append(element("line", x1="0", y1="100%", x2="100%", y2="0", class_="diagonal"))
    parts.append(
        element("text", "spoofs accepted (FAR), %", x="50%", y="100%", dy="44", class_="axis middle")
    )
    parts.append(element("text", "bona fide rejected (FRR), %", x="0", y="0", dy="-12", class_="axis"))
    return join(parts)


def _labelled(axis: Axis) -> list:
    """Rates with a number beside their line: the ends, and from the top down what has room between."""
    within = [tick for tick in TICKS if axis.low <= tick <= axis.high]
    chosen = [within[-1], within[0]]
    for rate in reversed(within[1:-1]):
        if np.abs(axis.place(chosen) - axis.place(rate)).min() > 0.085:
            chosen.append(rate)
    return chosen


def _curve(places: np.ndarray, number: int) -> Markup:
    points = np.round(SIDE * np.stack([places[:, 0], 1 - places[:, 1]], axis=1)).astype(int)
    points = points[np.append(True, np.diff(points, axis=0).any(axis=1))]
    # Of a straight run only its ends are needed.
    step = np.diff(points, axis=0)
    turns = np.ones(len(points), bool)
    turns[1:-1] = (step[1:, 0] * step[:-1, 1] != step[1:, 1] * step[:-1, 0]) | (step[1:] * step[:-1] < 0).any(
        1
    )
    path = "M" + "L".join(f"{x} {y}" for x, y in points[turns].tolist())
    return element("path", d=path, class_=f"curve line{number % 8} dash{number // 8 % 3}")


def _marker(system, point, at: np.ndarray) -> Markup:
    percent = "%" if point.metric == "EER" else ""
    about = (
        f"{system.name}: {point.metric} {point.value:.4g}{percent} "
        f"at FAR {100 * point.far:.3g} %, FRR {100 * point.frr:.3g} %"
    )
    kind = "outline" if point.metric == "min DCF" else "solid"
    shape = element(
        "path", element("title", about), d=_MARKERS[point.metric], class_=f"mark {kind} c{system.number % 8}"
    )
    return _at(at, shape)


def _letter(number: int) -> Markup:
    return join(
        [
            element("circle", r=11, class_=f"chip c{number % 8}"),
            element("text", tag(number), dy=5, class_="chip-letter middle"),
        ]
    )


def _at(place: np.ndarray, content: Markup) -> Markup:
    """Content with its origin at a place in [0, 1]², y upwards."""
    return element("svg", content, x=f"{100 * place[0]:.2f}%", y=f"{100 * (1 - place[1]):.2f}%", class_="at")


def _resample(curve: np.ndarray, step: float = 0.01) -> np.ndarray:
    """Points along a polyline within or near the plot, no two farther apart than ``step``."""
    curve = np.clip(curve, -0.1, 1.1)
    if len(curve) < 2:
        return curve
    length = np.append(0, np.cumsum(np.abs(np.diff(curve, axis=0)).sum(axis=1)))
    at = np.linspace(0, length[-1], max(2, int(length[-1] / step)))
    return np.stack([np.interp(at, length, curve[:, 0]), np.interp(at, length, curve[:, 1])], axis=1)


def _distance(points: np.ndarray, others: np.ndarray, at_most: float) -> np.ndarray:
    if not others.size:
        return np.full(len(points), at_most)
    squares = ((points[:, None] - others[None]) ** 2).sum(axis=2)
    return np.minimum(np.sqrt(squares.min(axis=1)), at_most)
