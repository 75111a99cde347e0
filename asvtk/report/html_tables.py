"""The tables of the HTML page. Each scrolls within a box of its own."""

import html
import re
from statistics import mean, stdev

from asvtk.report.comparison import ATTACKS, Comparison, Row, as_written
from asvtk.report.svg import Markup, element, join
from asvtk.report.system import tag

__all__ = ["KINDS", "breakdown_table", "chip", "comparison_tables", "named", "summary_table"]

KINDS = {"TTS": "TTS", "VC": "VC", "TTS_VC": "hybrid"}
_SUMMARY = (
    ("EER %", "eer_percent", 3),
    ("min t‑DCF legacy", "min_tdcf", 4),
    ("min t‑DCF revisited", "min_tdcf_revisited", 4),
    ("ROCCH‑EER %", "eer_rocch_percent", 3),
    ("min DCF", "min_dcf", 4),
    ("act DCF", "act_dcf", 4),
    ("Cllr, bits", "cllr", 4),
    ("EER threshold", "threshold", 4),
)


def summary_table(systems: list) -> Markup:
    """Pooled values, one row per system; a last row for runs that differ in their seed only."""
    shown = [column for column in _SUMMARY if any(s.results.get(column[1]) is not None for s in systems)]
    rows = [
        element(
            "tr",
            element("th", named(system), scope="row"),
            *(_cell(system.results, key, digits) for _, key, digits in shown),
        )
        for system in systems
    ]
    if len(systems) > 1 and len({system.name.rstrip("0123456789") for system in systems}) == 1:
        cells = [_mean_sd([s.results.get(key) for s in systems], digits) for _, key, digits in shown]
        rows.append(element("tr", element("th", "mean ± sd", scope="row"), *cells, class_="ours"))
    return _table(["System", *(title for title, _, _ in shown)], [element("tbody", *rows)])


def breakdown_table(systems: list) -> Markup:
    """All systems side by side: per attack, per kind, known or unknown in training, per speaker ..."""
    has_tdcf = any(system.results["min_tdcf"] is not None for system in systems)
    columns = [("EER %", "eer_percent", 3)] + ([("min t‑DCF legacy", "min_tdcf", 4)] if has_tdcf else [])
    header = ["", "kind", "spoofs"]
    header += [join([chip(system), title]) for system in systems for title, _, _ in columns]
    bodies = []
    for key in [key for key in systems[0].results if key.startswith("per_")]:
        groups = [system.results[key] for system in systems]
        rows = []
        for member in dict.fromkeys(member for of in groups for member in of):
            row = next(of[member] for of in groups if member in of)
            cells = [element("td", KINDS.get(row.get("kind"), "")), element("td", f"{row['n']:,}")]
            for of in groups:
                cells += [_cell(of.get(member, {}), value, digits) for _, value, digits in columns]
            rows.append(element("tr", element("th", KINDS.get(member, member), scope="row"), *cells))
        if rows:
            title = "per " + key.removeprefix("per_")
            if key == "per_known":
                title = f"known in training ({systems[0].results['grouping']} grouping)"
            bodies.append(element("tbody", _group_row(title, "", len(header)), *rows, class_="group"))
    return _table(header, bodies)


def comparison_tables(comparison: Comparison, systems: dict, sources: list) -> list:
    """One table of all groups; or, where they must not be compared, ours and that of the others.

    Args:
        comparison: of `asvtk.report.comparison.compare`.
        systems: ``{name: System}``, for the letters.
        sources: the sources of the others' rows, in the order of their numbers.
    """
    header = ["System", "dev EER %", "eval EER %", "min t‑DCF legacy", *ATTACKS]
    ours, *others = (
        element(
            "tbody",
            _group_row(group.title, group.about, len(header)),
            *(_comparison_row(row, systems, sources) for row in group.rows),
            class_="group",
        )
        for group in (comparison.ours, *comparison.others)
    )
    bodies = [[ours], others] if comparison.caution else [[ours, *others]]
    return [_table(header, of_table, class_="comparison") for of_table in bodies]


def _comparison_row(row: Row, systems: dict, sources: list) -> Markup:
    remarks = element("small", row.remarks) if row.remarks else ""
    if is_ours := not row.source:
        name = [named(systems[row.name])]
    else:
        name = [row.name, element("sup", sources.index(row.source) + 1, title=row.source)]
    pooled = [(row.dev_eer_percent, 3), (row.eval_eer_percent, 3), (row.min_tdcf, 4)]
    cells = [element("td", as_written(value, digits)) for value, digits in pooled]
    if row.per_attack:
        name.append(remarks)
        cells += [element("td", as_written(row.per_attack.get(attack), 2)) for attack in ATTACKS]
    else:  # instead of thirteen dashes
        cells.append(element("td", remarks, colspan=len(ATTACKS), class_="words"))
    return element("tr", element("th", *name, scope="row"), *cells, class_="ours" if is_ours else None)


def _group_row(title: str, about: str, width: int) -> Markup:
    words = element("div", title, element("span", about) if about else "")
    return element("tr", element("th", words, scope="rowgroup", colspan=width))


def _table(header: list, bodies: list, class_: str | None = None) -> Markup:
    head = element("tr", *(element("th", title, scope="col") for title in header))
    # The box scrolls, so the keyboard must reach it.
    table = element("table", element("thead", head), *bodies, class_=class_)
    return element("div", table, class_="scroll", tabindex=0)


def _cell(row: dict, key: str, digits: int) -> Markup:
    value = row.get(key)
    if value is None:
        return element("td", "–")
    text = (f"{value:.{digits}f}" if key != "threshold" else f"{value:.5g}").replace("-", "−")
    interval = row.get("intervals", {}).get(key)
    ends = element("small", f"{interval[0]:.{digits}f} to {interval[1]:.{digits}f}") if interval else ""
    return element("td", text, ends)


def _mean_sd(values: list, digits: int) -> Markup:
    if None in values:
        return element("td", "–")
    spread = element("small", f"± {stdev(values):.{digits}f}")
    return element("td", f"{mean(values):.{digits}f}".replace("-", "−"), spread)


def chip(system) -> Markup:
    """The letter of a system in its colour."""
    return element("i", tag(system.number), class_=f"tag c{system.number % 8}")


def named(system) -> Markup:
    """Letter and name of a system; a long file name may break after its punctuation."""
    return join([chip(system), Markup(re.sub(r"(?<=[_./-])", "<wbr>", html.escape(system.name)))])
