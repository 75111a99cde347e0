"""The table, plot and page of layer probing."""

import json
from pathlib import Path

from asvtk.io.atomic import write_text
from asvtk.report.charts import rate_axis
from asvtk.report.document import document, footer
from asvtk.report.html_tables import html_table
from asvtk.report.markdown import environment, table, table_page
from asvtk.report.svg import Markup, element, join
from asvtk.report.values import interval, shown

__all__ = ["probe_table", "write_probe"]

_LEGEND = (
    "Logistic regression on {pooling} of each layer, fitted to the training set; layer 0 is what enters the "
    "transformer. C, the inverse of the penalty, {choice}. EER in percent, 95 % intervals of "
    "{resamples} resamples."
)


def probe_table(found: dict) -> str:
    """A Markdown table: a row for each layer, EERs of each set, and C."""
    header = ["Layer", "C", *found["sets"]]
    rows = [
        [layer, f"{of['strength']:g}", *(_cell(of["sets"][name]) for name in found["sets"])]
        for layer, of in found["layers"].items()
    ]
    return table(header, rows)


def write_probe(folder, found: dict) -> None:
    """Write ``probe.json``, ``probe.md`` and ``probe.html``.

    Args:
        folder: created when missing.
        found: ``pooling``, ``choice``, ``resamples``, ``sets`` (names), ``layers`` {layer: ``strength`` and
            ``sets`` {name: ``eer_percent``, ``intervals``, ``per_attack`` {attack: EER}}}.
    """
    folder = Path(folder)
    legend = _LEGEND.format(**found)
    write_text(folder / "probe.json", json.dumps(found, indent=1, allow_nan=False) + "\n")
    write_text(folder / "probe.md", table_page("Layer probing", legend, probe_table(found)))
    write_text(folder / "probe.html", _page(found, legend))


def _cell(row: dict) -> str:
    ends = interval(row, "eer_percent", 2)
    return shown(row["eer_percent"], 2) + (f" [{ends[0]}, {ends[1]}]" if ends else "")


def _page(found: dict, legend: str) -> str:
    best = {
        name: min(found["layers"], key=lambda layer: found["layers"][layer]["sets"][name]["eer_percent"])
        for name in found["sets"]
    }
    chosen = best[found["sets"][0]]

    def rate(layer: str, name: str) -> str:
        return shown(found["layers"][layer]["sets"][name]["eer_percent"], 2)

    lead = f"The best layer on {found['sets'][0]} is {chosen}. " + " ".join(
        f"{name}: {rate(chosen, name)} % there, {rate(best[name], name)} % at its best layer, {best[name]}."
        for name in found["sets"][1:]
    )
    body = [
        element(
            "header",
            element("p", "asvtk probe", class_="overline"),
            element("h1", "Layer probing"),
            element("p", lead, class_="lead"),
        ),
        element("section", element("h2", "EER by layer"), _chart(found), element("p", legend, class_="lead")),
        element("section", element("h2", "All layers"), _rates(found)),
        *(_attacks(found, name) for name in found["sets"]),
        footer(environment()),
    ]
    return document("Layer probing", *body, style="robustness.css")


def _chart(found: dict) -> Markup:
    layers, sets = [layer for layer in found["layers"] if layer.isdecimal()], found["sets"]
    rows = {name: [found["layers"][layer]["sets"][name] for layer in layers] for name in sets}
    most = max((of.get("intervals", {}).get("eer_percent") or [0, of["eer_percent"]])[1]
               for of_set in rows.values() for of in of_set)  # fmt: skip
    top = max(1.0, 1.05 * most)

    def along(place: int) -> str:
        return f"{100 * (0.05 + 0.9 * place / max(1, len(layers) - 1)):.2f}%"

    def up(rate: float) -> str:
        return f"{100 * (1 - rate / top):.2f}%"

    parts = rate_axis(up, top)
    for place, layer in enumerate(layers):
        if place % max(1, len(layers) // 12) == 0:
            parts.append(element("text", layer, x=along(place), y="100%", dy=20, class_="tick middle"))
    for number, name in enumerate(sets):
        points = [(along(place), of) for place, of in enumerate(rows[name])]
        for (x1, before), (x2, after) in zip(points, points[1:], strict=False):
            ends = {"x1": x1, "x2": x2, "y1": up(before["eer_percent"]), "y2": up(after["eer_percent"])}
            parts.append(element("line", **ends, class_=f"curve line{number % 8}"))
        for x, of in points:
            if ends := of.get("intervals", {}).get("eer_percent"):
                whisker = {"x1": x, "x2": x, "y1": up(ends[0]), "y2": up(ends[1])}
                parts.append(element("line", **whisker, class_=f"curve line{number % 8}", stroke_width=1))
            title = element("title", f"{name}: EER {of['eer_percent']:.2f} %")
            at = {"cx": x, "cy": up(of["eer_percent"]), "r": 5, "class_": f"mark c{number % 8}"}
            parts.append(element("circle", title, **at))
    parts.append(element("text", "layer", x="50%", y="100%", dy=42, class_="axis middle"))
    keys = []
    for number, name in enumerate(sets):
        dot = element("circle", r=6, class_=f"mark c{number % 8}")
        keys.append(element("li", element("svg", dot, class_="key", viewBox="-12 -12 24 24"), name))
    chart = element("svg", *parts, class_="plot degradation", role="img", aria_label="EER by layer")
    return join([chart, element("ul", *keys, class_="keys")])


def _rates(found: dict) -> Markup:
    rows = [
        element(
            "tr",
            element("th", f"layer {layer}" if layer.isdecimal() else layer, scope="row"),
            element("td", f"{of['strength']:g}"),
            *(element("td", _cell(of["sets"][name])) for name in found["sets"]),
        )
        for layer, of in found["layers"].items()
    ]
    return html_table(["", "C", *found["sets"]], [element("tbody", *rows)])


def _attacks(found: dict, name: str) -> Markup | str:
    """Which layer finds which attack: EER by attack and layer, shaded."""
    layers = found["layers"]
    attacks = sorted({attack for of in layers.values() for attack in of["sets"][name]["per_attack"]})
    if len(attacks) < 2:
        return ""
    rows = []
    for attack in attacks:
        rates = [of["sets"][name]["per_attack"].get(attack) for of in layers.values()]
        least = min(rate for rate in rates if rate is not None)
        cells = [_shaded(rate, rate == least) for rate in rates]
        rows.append(element("tr", element("th", attack, scope="row"), *cells))
    return element(
        "section",
        element("h2", f"{name}: which layer finds which attack"),
        element("p", "EER in percent, the least of each attack in bold.", class_="lead"),
        html_table(["attack", *layers], [element("tbody", *rows)]),
    )


def _shaded(rate: float | None, is_least: bool) -> Markup:
    if rate is None:
        return element("td", "–")
    text = element("b", shown(rate, 1)) if is_least else shown(rate, 1)
    return element("td", text, style=f"background: rgb(194 74 0 / {0.45 * min(1, rate / 50):.2f})")
