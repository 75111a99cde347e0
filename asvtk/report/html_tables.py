"""The tables of the HTML page. Each scrolls within a box of its own."""

import html
import re

from asvtk.report.comparison import ATTACKS, Comparison, Group, Row, as_written
from asvtk.report.markdown import mean_title
from asvtk.report.svg import Markup, element, join, text_of
from asvtk.report.system import tag
from asvtk.report.values import POOLED, RATES, average, interval, kind_name, shown

__all__ = ["breakdown_table", "chip", "comparison_tables", "html_table", "named", "summary_table"]


def summary_table(systems: list, seeds=None) -> Markup:
    """Pooled values, one row per system; and a row of means for what differs in its seed only.

    Args:
        systems: `System`s of one set.
        seeds: of `asvtk.report.seeds.seed_groups`.
    """
    columns = [column for column in POOLED if any(s.results.get(column[1]) is not None for s in systems)]
    rows = [
        element(
            "tr",
            element("th", named(system), scope="row"),
            *(element("td", f"{system.results[key]:,}") for key in ("n_bonafide", "n_spoof")),
            *(_cell(system.results, key, digits) for _, key, digits in columns),
        )
        for system in systems
    ]
    results = {system.name: system.results for system in systems}
    for group in seeds.groups if seeds else ():
        if results.keys() >= set(group):
            members = [results[name] for name in group]
            cells = [_mean_cell(average(members, key, digits)) for _, key, digits in columns]
            title = element("th", mean_title(group, len(systems)), scope="row")
            rows.append(element("tr", title, element("td"), element("td"), *cells, class_="ours"))
    header = ["System", "bona fide", "spoof", *(_typeset(title) for title, _, _ in columns)]
    return html_table(header, [element("tbody", *rows)])


def breakdown_table(systems: list) -> Markup:
    """All systems side by side: per attack, per kind, known or unknown in training, per speaker ..."""
    has_tdcf = any(system.results["min_tdcf"] is not None for system in systems)
    columns = RATES if has_tdcf else RATES[:1]
    header = ["", "kind", "spoofs"]
    header += [join([chip(system), _typeset(title)]) for system in systems for title, _, _ in columns]
    bodies = []
    for key in dict.fromkeys(key for system in systems for key in system.results if key.startswith("per_")):
        groups = [system.results.get(key, {}) for system in systems]
        rows = []
        for member in dict.fromkeys(member for of in groups for member in of):
            found = [of[member] for of in groups if member in of]
            kinds = dict.fromkeys(kind_name(row["kind"]) for row in found if row.get("kind"))
            counts = dict.fromkeys(f"{row['n']:,}" for row in found)  # of other trials: each its own
            cells = [element("td", " / ".join(kinds)), element("td", " / ".join(counts))]
            for of in groups:
                cells += [_cell(of.get(member, {}), value, digits) for _, value, digits in columns]
            name = kind_name(member) if key == "per_kind" else member
            rows.append(element("tr", element("th", name, scope="row"), *cells))
        if rows:
            title = "per " + key.removeprefix("per_")
            grouping = next((of.results["grouping"] for of in systems if of.results.get("grouping")), None)
            if key == "per_known" and grouping:
                title = f"known in training ({grouping} grouping)"
            bodies.append(element("tbody", _group_row(title, "", len(header)), *rows, class_="group"))
    return html_table(header, bodies)


def comparison_tables(comparison: Comparison, systems: dict, sources: list) -> list:
    """One table of all groups; or, where they must not be compared, ours and that of the others.

    Args:
        comparison: of `asvtk.report.comparison.compare`.
        systems: ``{name: System}``, for the letters.
        sources: the sources of the others' rows, in the order of their numbers.
    """
    own = comparison.attacks
    ours = _comparison_body(comparison.ours, own, systems, sources)
    others = [_comparison_body(group, ATTACKS, systems, sources) for group in comparison.others]
    if not comparison.caution:
        return [_comparison([ours, *others], "eval", ATTACKS)]
    return [_comparison([ours], comparison.evaluated, own), _comparison(others, "eval", ATTACKS)]


def _comparison(bodies: list, evaluated: str, attacks: tuple) -> Markup:
    header = ["System", "dev EER %", f"{evaluated} EER %", _typeset("min t-DCF legacy"), *attacks]
    return html_table(header, bodies, class_="comparison")


def _comparison_body(group: Group, attacks: tuple, systems: dict, sources: list) -> Markup:
    rows = [_comparison_row(row, attacks, systems, sources) for row in group.rows]
    return element("tbody", _group_row(group.title, group.about, 4 + len(attacks)), *rows, class_="group")


def _comparison_row(row: Row, attacks: tuple, systems: dict, sources: list) -> Markup:
    remarks = element("small", row.remarks) if row.remarks else ""
    if is_ours := not row.source:
        name = [named(systems[row.name])]
    else:
        name = [row.name, element("sup", sources.index(row.source) + 1, title=row.source)]
    pooled = [(row.dev_eer_percent, 3), (row.eval_eer_percent, 3), (row.min_tdcf, 4)]
    cells = [element("td", as_written(value, digits)) for value, digits in pooled]
    if row.per_attack or not attacks:
        name.append(remarks)
        cells += [element("td", as_written(row.per_attack.get(attack), 2)) for attack in attacks]
    else:  # instead of thirteen dashes
        cells.append(element("td", remarks, colspan=len(attacks), class_="words"))
    return element("tr", element("th", *name, scope="row"), *cells, class_="ours" if is_ours else None)


def _group_row(title: str, about: str, width: int) -> Markup:
    words = element("div", title, element("span", about) if about else "")
    return element("tr", element("th", words, scope="rowgroup", colspan=width))


def html_table(header: list, bodies: list, class_: str | None = None) -> Markup:
    """A table in a box that scrolls; ``bodies`` are its ``tbody`` elements."""
    head = element("tr", *(element("th", title, scope="col") for title in header))
    # The box scrolls, so the keyboard must reach it.
    table = element("table", element("thead", head), *bodies, class_=class_)
    return element("div", table, class_="scroll", tabindex=0)


def _cell(row: dict, key: str, digits: int | None) -> Markup:
    ends = interval(row, key, digits)
    small = element("small", _typeset(f"{ends[0]} to {ends[1]}")) if ends else ""
    return element("td", _typeset(shown(row.get(key), digits)), small)


def _mean_cell(text: str) -> Markup:
    mean, plus_minus, spread = text.partition(" ± ")
    return element("td", _typeset(mean), element("small", f"± {spread}") if plus_minus else "")


def _typeset(text: str) -> str:
    """A minus before digits, and hyphens that no line breaks at."""
    return re.sub("-(?=[A-Za-z])", "‑", re.sub(r"(?<!\w)-(?=\d)", "−", text))


def chip(system) -> Markup:
    """The letter of a system in its colour."""
    return element("i", tag(system.number), class_=f"tag c{system.number % 8}")


def named(system) -> Markup:
    """Letter and name of a system; a long file name may break after its punctuation."""
    return join([chip(system), Markup(re.sub(r"(?<=[_./-])", "<wbr>", html.escape(text_of(system.name))))])
