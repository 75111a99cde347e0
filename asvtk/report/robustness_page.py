"""The robustness page: families of degradations, EER over bit rate, SNR or RT60, and all numbers."""

import json
from math import log10
from pathlib import Path

from asvtk.io.atomic import write_text
from asvtk.report.charts import rate_axis
from asvtk.report.document import document, footer
from asvtk.report.markdown import environment, table_page
from asvtk.report.robustness import Copy, Robustness, summary_lines, tables
from asvtk.report.svg import Markup, element
from asvtk.report.values import mean_sd

__all__ = ["robustness_page", "write_robustness"]

LEGEND = (
    "Change: of the EER, in points, from the undegraded set. Rejected and accepted: at the threshold of the "
    "EER of dev, which does not know the degradation; the EER itself chooses a threshold anew on each copy."
)
_LOGARITHMIC = ("bit rate", "rate, Hz")
_MANY = 12  # points of one chart whose values are still written beside them


def write_robustness(path, systems: list[Robustness], reasons: list[str], note: str = "") -> None:
    """Write the tables; beside a file NAME.md also NAME.json and the page NAME.html.

    Raises:
        AsvtkError: a file cannot be written.
    """
    path = Path(path)
    legend = " ".join([LEGEND, *([note] if note else []), _codecs()])
    write_text(path, table_page("Robustness", legend, tables(systems, reasons)))
    if path.suffix == ".md":
        content = {"systems": [system.as_json() for system in systems], "note": note}
        write_text(path.with_suffix(".json"), json.dumps(content, indent=1) + "\n")
        write_text(path.with_suffix(".html"), robustness_page(systems, reasons, note))


def robustness_page(systems: list[Robustness], reasons: list[str], note: str = "") -> str:
    """The whole page, of one or several systems."""
    title = ", ".join(name for system in systems for name in system.names[:3])
    header = element(
        "header",
        element("p", "asvtk robustness", class_="overline"),
        element("h1", title),
        element("p", "Error rates on degraded copies of a set of trials.", class_="lead"),
        *(element("p", line, class_="prose") for line in (note, *reasons) if line),
    )
    body = [part for system in systems for part in _sections(system, len(systems) > 1)]
    about = environment() | {"codecs": _codecs()}
    return document(f"{title}: robustness", header, *body, footer(about), style="robustness.css")


def _sections(system: Robustness, several: bool) -> list[Markup]:
    first = system.eer(system.original)
    name = f"{', '.join(system.names)}: " if several else ""
    runs = f", mean of {len(system.runs)} runs" if len(system.runs) > 1 else ""
    lead = f"Undegraded, {system.original}: EER {first:.2f} %{runs}. {LEGEND}"
    warnings = summary_lines(system)
    box = element("ul", *(element("li", line) for line in warnings), class_="prose") if warnings else ""
    charts = element("div", *_charts(system), class_="figures")
    about = element(
        "p",
        "All charts have one scale. Dashed: the undegraded set. Copies that have no quantity are bars.",
        class_="lead",
    )
    return [
        element(
            "section",
            element("h2", f"{name}Families"),
            element("p", lead, class_="lead"),
            box,
            _summary(system),
        ),
        element("section", element("h2", f"{name}EER by degradation"), about, charts),
        element("section", element("h2", f"{name}All copies"), _all_copies(system)),
    ]


def _summary(system: Robustness) -> Markup:
    header = ("Family", "copies", "mean EER %", "change", "worst copy", "its EER %")
    rows = [
        (of.name, len(of.copies), f"{of.mean.eer:.2f}", _signed(of.change), of.worst.title)
        + (f"{system.eer(of.worst.name):.2f}",)
        for of in system.families()
    ]
    return _table(header, [element("tbody", *map(_table_row, rows))]) if rows else Markup("")


def _all_copies(system: Robustness) -> Markup:
    header = ("Copy", "EER %", "change", "bona fide rejected %", "spoofs accepted %")
    bodies = [element("tbody", _rates_row(system, system.original, system.original))]
    for family in dict.fromkeys(copy.family for copy in system.copies):
        rows = [_rates_row(system, x.name, x.title) for x in system.copies if x.family == family]
        heading = element("th", element("div", family), scope="rowgroup", colspan=len(header))
        parts = [element("tr", heading), *rows] if family else rows
        bodies.append(element("tbody", *parts, class_="group" if family else None))
    return _table(header, bodies)


def _rates_row(system: Robustness, name: str, title: str) -> Markup:
    found = system.rates(name)
    if not found:
        return _table_row((title, *["–"] * 4))
    change = "–" if name == system.original else _signed(system.eer(name) - system.eer(system.original))
    columns = [mean_sd([of[place] for of in found]) for place in range(3)]
    return _table_row((title, columns[0], change, *columns[1:]))


def _table(header, bodies) -> Markup:
    head = element("thead", element("tr", *(element("th", title, scope="col") for title in header)))
    return element("div", element("table", head, *bodies), class_="scroll", tabindex=0)


def _table_row(cells) -> Markup:
    return element("tr", element("th", cells[0], scope="row"), *(element("td", cell) for cell in cells[1:]))


def _charts(system: Robustness):
    """One figure for each family: lines where a quantity has several values, bars for what is left."""
    scored = [copy for copy in system.copies if system.rates(copy.name)]
    top = max(system.eer(name) for name in (system.original, *(copy.name for copy in scored)))
    top = max(1.0, 1.08 * top)
    for family in dict.fromkeys(copy.family for copy in scored):
        members = [copy for copy in scored if copy.family == family]
        parts, left = [], list(members)
        for axis in dict.fromkeys(copy.place[1] for copy in members if copy.place):
            of_axis = [copy for copy in members if copy.place and copy.place[1] == axis]
            if len({copy.place[2] for copy in of_axis}) > 1:
                parts += _lines(system, of_axis, axis, top)
                left = [copy for copy in left if copy not in of_axis]
        if left:
            parts.append(_bars(system, left, top))
        yield element("figure", element("h3", family or "Copies"), *parts)


def _lines(system: Robustness, copies: list[Copy], axis: str, top: float) -> list[Markup]:
    """EER over a quantity, a line for each kind of degradation."""
    scale = log10 if axis.startswith(_LOGARITHMIC) else float
    values = sorted({copy.place[2] for copy in copies})
    low, high = scale(values[0]), scale(values[-1])

    def along(value: float) -> float:
        return 100 * (0.06 + 0.88 * (scale(value) - low) / (high - low))

    def up(rate: float) -> float:
        return 100 * (1 - rate / top)

    parts = rate_axis(lambda rate: f"{up(rate):.2f}%", top)
    for value in _apart(values, along):
        x, text = f"{along(value):.2f}%", f"{value:,g}"
        parts.append(element("text", text, x=x, y="100%", dy=20, class_="tick middle"))
    base = system.eer(system.original)
    y = f"{up(base):.2f}%"
    parts.append(element("line", x1=0, x2="100%", y1=y, y2=y, class_="threshold"))
    kinds = list(dict.fromkeys(copy.place[0] for copy in copies))
    for number, kind in enumerate(kinds):
        points = sorted((x for x in copies if x.place[0] == kind), key=lambda copy: copy.place[2])
        places = [(along(copy.place[2]), up(system.eer(copy.name))) for copy in points]
        for (x1, y1), (x2, y2) in zip(places, places[1:], strict=False):
            ends = {"x1": f"{x1:.2f}%", "x2": f"{x2:.2f}%", "y1": f"{y1:.2f}%", "y2": f"{y2:.2f}%"}
            parts.append(element("line", **ends, class_=f"curve line{number % 8}"))
        for copy, (x, y) in zip(points, places, strict=True):
            rate = system.eer(copy.name)
            at = {"cx": f"{x:.2f}%", "cy": f"{y:.2f}%", "r": 5, "class_": f"mark c{number % 8}"}
            parts.append(element("circle", element("title", f"{copy.title}: EER {rate:.2f} %"), **at))
            if len(kinds) == 1 and len(points) <= _MANY:
                text = {"x": f"{x:.2f}%", "y": f"{y:.2f}%", "dy": -10 if rate >= base else 21}
                text["class_"] = "value middle"
                parts.append(element("text", f"{rate:.1f}", **text))
    parts.append(element("text", axis, x="50%", y="100%", dy=42, class_="axis middle"))
    about = f"EER over {axis}: {', '.join(kinds)}"
    chart = element("svg", *parts, class_="plot degradation", role="img", aria_label=about)
    return [chart, _key(kinds)] if len(kinds) > 1 else [chart]


def _key(kinds: list[str]) -> Markup:
    items = []
    for number, kind in enumerate(kinds):
        dot = element("circle", r=6, class_=f"mark c{number % 8}")
        items.append(element("li", element("svg", dot, class_="key", viewBox="-12 -12 24 24"), kind))
    return element("ul", *items, class_="keys")


def _apart(values: list[float], along) -> list[float]:
    """Those that can be written on the axis without touching, from the largest down."""
    chosen = []
    for value in reversed(values):
        if not chosen or along(chosen[-1]) - along(value) > 9:
            chosen.append(value)
    return chosen


def _bars(system: Robustness, copies: list[Copy], top: float) -> Markup:
    rows = []
    base = system.eer(system.original)
    first = f"{100 * base / top:.2f}%"
    for copy in copies:
        rate = system.eer(copy.name)
        width, behind = (f"{100 * value / top:.2f}%" for value in (rate, max(rate, base)))
        bar = element(
            "svg",
            element("rect", y=4, height=12, width=width, class_="bar c0"),
            element("text", f"{rate:.2f}", x=behind, dx=7, y=10, dy=5, class_="value"),
            element("line", x1=first, x2=first, y1=0, y2=20, class_="threshold"),
            class_="plot bar-plot",
            height=20,
            role="img",
            aria_label=f"EER of {copy.title}: {rate:.2f} %",
        )
        rows.append(element("div", element("div", copy.title, class_="attack"), bar, class_="bars copies"))
    return element("div", *rows, class_="bar-rows")


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _codecs() -> str:
    """Which codecs copies are made with here."""
    import soundfile

    from asvtk.io.environment import package_versions

    pyav = package_versions(("av",))["av"] or "not installed"
    return f"Codecs here: PyAV {pyav}, libsndfile {soundfile.__libsndfile_version__}."
