"""Bars of the EER per attack, histograms of the scores, axes of rates: SVG with positions in percent.

Nothing is scaled but the drawing itself, so letters keep their size on a phone.
"""

from collections.abc import Callable
from math import floor, log10

import numpy as np

from asvtk.report.svg import Markup, element, linear_ticks, plain
from asvtk.report.system import tag
from asvtk.report.values import shown

__all__ = ["attack_bars", "histogram", "rate_axis"]

_BAR, _PITCH = 12, 20  # pixels: thickness of a bar, and from bar to bar


def attack_bars(systems, attacks, descriptions: dict | None = None) -> Markup:
    """EER per attack, one group of bars for each attack, all on one scale; whiskers: 95 % intervals.

    Args:
        systems: `System`s of one set.
        attacks: ids, in order.
        descriptions: ``{attack: what it is}``, shown beside its id.
    """
    rows = [system.results["per_attack"].get(attack, {}) for attack in attacks for system in systems]
    ends = [row["eer_percent"] for row in rows if row.get("eer_percent") is not None]
    ends += [row["intervals"]["eer_percent"][1] for row in rows if "intervals" in row]
    top = max([*ends, 1e-9])
    groups = [
        element(
            "div",
            element(
                "div",
                element("b", attack),
                element("span", (descriptions or {}).get(attack, "")),
                class_="attack",
            ),
            _group(systems, attack, top),
            class_="bars",
        )
        for attack in attacks
    ]
    return element("div", *groups, class_="attacks")


def _group(systems, attack: str, top: float) -> Markup:
    parts, y = [], 0
    several = len(systems) > 1
    for system in systems:
        row = system.results["per_attack"].get(attack)
        if row is None or row["eer_percent"] is None:
            continue
        middle, rate = y + _PITCH / 2, row["eer_percent"]
        low, high = row.get("intervals", {}).get("eer_percent", (rate, rate))
        about = element("title", f"{system.name}, {attack}: EER {shown(rate, 3)} %, {row['n']} spoofs")
        parts.append(
            element(
                "rect",
                about,
                y=middle - _BAR / 2,
                height=_BAR,
                width=f"{100 * rate / top:.2f}%",
                class_=f"bar c{system.number % 8}",
            )  # fmt: skip
        )
        if high > low:
            ends = [f"{100 * end / top:.2f}%" for end in (low, high)]
            parts.append(element("line", x1=ends[0], x2=ends[1], y1=middle, y2=middle, class_="whisker"))
            parts += [
                element("line", x1=x, x2=x, y1=middle - 4, y2=middle + 4, class_="whisker") for x in ends
            ]
        end = f"{100 * max(rate, high) / top:.2f}%"
        parts.append(element("text", shown(rate, 3), x=end, dx=7, y=middle, dy=5, class_="value"))
        if several:
            parts.append(element("text", tag(system.number), x=0, dx=-8, y=middle, dy=5, class_="tick end"))
        y += _PITCH
    parts.append(element("line", x1=0, x2=0, y1=0, y2=y, class_="base"))
    return element("svg", *parts, class_="plot bar-plot", height=y, role="img", aria_label=f"EER of {attack}")


def rate_axis(up: Callable[[float], str], top: float, title: str = "EER, %") -> list[Markup]:
    """Frame of a chart of rates in percent, with a line and a number for round ones.

    Args:
        up: a rate -> its ``y``.
        top: the highest rate.
        title: what the numbers are.
    """
    parts = [element("rect", width="100%", height="100%", class_="frame")]
    for tick in linear_ticks(0, top):
        parts.append(element("line", x1=0, x2="100%", y1=up(tick), y2=up(tick), class_="grid"))
        parts.append(element("text", plain(tick), x=0, dx=-8, y=up(tick), dy=5, class_="tick end"))
    return [*parts, element("text", title, x=0, y=0, dy=-12, class_="axis")]


def histogram(system) -> Markup:
    """Scores of bona fide speech (in the system's colour) and of spoofs (grey), and the EER threshold.

    Heights are square roots of the share of a class in each bin: errors happen in the tails, which
    bars in proportion would hide (Tukey's rootogram). The outermost bins hold all scores beyond.
    """
    unit, power = _unit(system)
    bonafide, spoof, threshold = (
        system.bonafide / unit,
        system.spoof / unit,
        system.results["threshold"] / unit,
    )
    low, high = _range(bonafide, spoof, threshold)
    bins = int(np.clip(2.5 * min(bonafide.size, spoof.size) ** 0.5, 16, 80))
    edges = np.linspace(low, high, bins + 1)
    heights = [
        np.sqrt(np.histogram(np.clip(scores, low, high), edges)[0] / scores.size)
        for scores in (spoof, bonafide)
    ]
    top = max(values.max() for values in heights)
    shapes = [
        _steps(values / top, name)
        for values, name in zip(heights, ("spoof", f"bonafide c{system.number % 8}"), strict=True)
    ]

    def along(score: float) -> str:
        return f"{100 * (score - low) / (high - low):.2f}%"

    ticks = linear_ticks(low, high)
    digits = max([0, *(len(plain(tick, 6).partition(".")[2]) for tick in ticks)])
    parts = [
        element(
            "svg",
            *shapes,
            viewBox=f"0 0 {bins} 100",
            preserveAspectRatio="none",
            width="100%",
            height="100%",
        ),
        element("line", x1="0", x2="100%", y1="100%", y2="100%", class_="base"),
        element("line", x1=along(threshold), x2=along(threshold), y1="0", y2="100%", class_="threshold"),
    ]
    for tick in ticks:
        text = f"{tick:.{digits}f}{power if tick else ''}".replace("-", "−")
        parts.append(element("text", text, x=along(tick), y="100%", dy=20, class_="tick middle"))
    parts.append(element("text", "spoof", x="0", y="0", dy=-10, class_="name-spoof"))
    parts.append(element("text", "bona fide", x="100%", y="0", dy=-10, class_="end"))
    about = f"score histogram of {system.name}"
    return element("svg", *parts, class_="plot histogram", role="img", aria_label=about)


def _unit(system) -> tuple[float, str]:
    """A power of ten in which scores are of a size that can be drawn, and how it is written."""
    largest = max(float(np.abs(scores).max()) for scores in (system.bonafide, system.spoof))
    if largest < 1e-300 or 1e-4 < largest < 1e6:
        return 1.0, ""
    exponent = floor(log10(largest))
    return 10.0**exponent, f"e{exponent}"


def _range(bonafide: np.ndarray, spoof: np.ndarray, threshold: float) -> tuple[float, float]:
    """Where nearly all scores lie; a few outliers must not squeeze the rest into one bin."""
    ends = np.concatenate(
        [np.quantile(scores, (0.001, 0.999)) for scores in (bonafide, spoof)] + [[threshold]]
    )
    low, high = float(ends.min()), float(ends.max())
    room = 0.02 * (high - low)
    if low - room >= low or high + room <= high or room < 1e-300:  # all scores may be (as good as) equal
        room = abs(low) if abs(low) > 1e-300 else 1.0
    return low - room, high + room


def _steps(values: np.ndarray, name: str) -> Markup:
    tops = "".join(f"V{100 - 96 * value:.1f}H{i + 1}" for i, value in enumerate(values.tolist()))
    return element("path", d=f"M0 100{tops}V100z", class_=f"shape {name}")
