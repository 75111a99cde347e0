"""Parts of the HTML page about corpora: systems by corpora, curves of all corpora, two-way tables."""

from asvtk.metrics.tables import LABELS
from asvtk.report.corpora import CorpusTable, TableRow
from asvtk.report.det import det_chart
from asvtk.report.html_tables import html_table, named
from asvtk.report.svg import Markup, element, join
from asvtk.report.system import System, tag
from asvtk.report.values import TWO_WAY, shown

__all__ = ["corpora_section", "two_way_figures"]

#: systems whose corpora have curves of their own; the table has all
_FEW = 3
_ABOUT = (
    "EER in percent. macro: the mean of the EERs. pooled: of all trials together, by one threshold, which is "
    "what a deployed system has. worst: the corpus with the highest."
)


def corpora_section(found: CorpusTable, sets: dict, systems: dict) -> Markup:
    """Systems by corpora, published ones below, and a DET chart of each system with all corpora.

    Args:
        found: of `asvtk.report.corpora.corpus_table`.
        sets: ``{set: [System, ...]}``, as of `asvtk.report.html.html_page`.
        systems: ``{name: System}``, for the letters.
    """
    sources = list(dict.fromkeys(row.source for row in found.others))
    rows = [element("tbody", *(_row(row, systems, sources) for row in found.ours))]
    if found.others:
        title = element("th", "Published", scope="rowgroup", colspan=1 + len(found.columns))
        others = [_row(row, systems, sources) for row in found.others]
        rows.append(element("tbody", element("tr", title), *others, class_="group"))
    charts = [_chart(name, sets, found.sets) for name in list(systems)[:_FEW]]
    more = f" The first {_FEW} systems." if len(systems) > _FEW else ""
    caption = (
        f"Each curve is one corpus: how far they lie apart shows what a system owes to its corpus.{more}"
    )
    return element(
        "section",
        element("h2", "Across corpora"),
        element("p", _ABOUT, class_="lead"),
        html_table(["System", *found.columns], rows, class_="comparison"),
        element("ul", *(element("li", mark) for mark in found.marks), class_="prose") if found.marks else "",
        element("ol", *(element("li", source) for source in sources), class_="prose") if sources else "",
        element("div", *charts, class_="figures") if len(found.sets) > 1 else "",
        element("p", caption, class_="lead") if len(found.sets) > 1 else "",
    )


def _row(row: TableRow, systems: dict, sources: list) -> Markup:
    if row.source:
        name = [row.name, element("sup", sources.index(row.source) + 1, title=row.source)]
    else:
        name = [named(systems[row.name]) if row.name in systems else row.name]
    if row.remarks:
        name.append(element("small", row.remarks))
    cells = [element("td", cell) for cell in row.cells]
    return element("tr", element("th", *name, scope="row"), *cells, class_=None if row.source else "ours")


def _chart(name: str, sets: dict, chosen: list[str]) -> Markup:
    """One system's curves on all corpora, each with a letter and colour of its own."""
    curves = [
        System(of_set, number, system.results, system.bonafide, system.spoof)
        for number, of_set in enumerate(chosen)
        for system in sets.get(of_set, ())
        if system.name == name
    ]
    keys = element(
        "ul",
        *(
            element("li", named(curve), f" EER {shown(curve.results['eer_percent'], 2)} %")
            for curve in curves
        ),
        class_="keys",
    )
    return element("figure", element("h3", f"{name}: all corpora"), det_chart(curves), keys)


def two_way_figures(systems: list) -> Markup:
    """The two-way tables of each system on one set, shaded by how high a value is."""
    figures = []
    for system in systems:
        for axes, rows in system.results.get("tables", {}).items():
            for title, key, digits in TWO_WAY:
                values = [at[key] for row in rows.values() for at in row.values() if at[key] is not None]
                if values:
                    figures.append(_two_way(system, axes, rows, title, key, digits, max(values)))
    return join(figures)


def _two_way(system, axes: str, rows: dict, title: str, key: str, digits: int, most: float) -> Markup:
    down, across = (" ".join(part.partition("@")[0].replace("_", " ") for part in axis.split("+"))
                    for axis in axes.split(","))  # fmt: skip
    header = [down, *next(iter(rows.values()))]
    body = [
        element(
            "tr", element("th", name, scope="row"), *(_shaded(at[key], digits, most) for at in row.values())
        )
        for name, row in rows.items()
    ]
    labels = {*rows, *header}
    meant = [
        f"{label} {word}"
        for column in (*axes.split(",")[0].split("+"), *axes.split(",")[1].split("+"))
        for word, label in LABELS.get(column, {}).items()
        if label in labels
    ]
    return element(
        "details",
        element("summary", f"{tag(system.number)}: {title}, {down} by {across}"),
        html_table(header, [element("tbody", *body)]),
        element("p", ", ".join(meant), class_="lead") if meant else "",
    )


def _shaded(value: float | None, digits: int, most: float) -> Markup:
    if value is None:
        return element("td", "–")
    share = 0 if most <= 0 else min(1.0, value / most)
    return element("td", shown(value, digits), style=f"background: rgb(194 74 0 / {0.45 * share:.2f})")
