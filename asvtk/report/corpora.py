"""Systems across corpora: one table of EERs, with macro, pooled and worst, beside published systems."""

from typing import NamedTuple

from asvtk.metrics.across import across_corpora
from asvtk.report.comparison import load_published
from asvtk.report.markdown import mean_title, plain_text, table
from asvtk.report.values import corpus_heading, mean_sd, shown

__all__ = ["CorpusTable", "TableRow", "corpus_markdown", "corpus_table"]

#: what stands behind a number that may not compare
MARK = "†"


class TableRow(NamedTuple):
    """One system, or the mean of its seeds: a text for each column, then macro, pooled and worst."""

    name: str
    cells: list[str]
    source: str = ""  # empty: ours
    remarks: str = ""


class CorpusTable(NamedTuple):
    """EERs in percent.

    Attributes:
        columns: titles of the test sets, and of the three that sum them up.
        ours, others: rows; of others those that have a number in any column.
        marks: sentences, each about numbers that are marked.
        sets: names of the sets of our columns.
    """

    columns: list[str]
    ours: list[TableRow]
    others: list[TableRow]
    marks: list[str]
    sets: list[str]


def corpus_table(systems: dict, seeds=None, dev=()) -> CorpusTable | None:
    """Systems by test sets; None where there is nothing to compare: one set, of ASVspoof 2019 LA or unknown.

    Args:
        systems: ``{system: {set: (ScoreTable, results)}}``, as of `asvtk.report.writing.write_report`.
        seeds: `asvtk.report.seeds.SeedGroups` of the systems, or None.
        dev: names of sets that are none of test.
    """
    sets = list(dict.fromkeys(name for of_sets in systems.values() for name in of_sets if name not in dev))
    corpora = {}
    for of_sets in systems.values():
        for name in sets:
            if name in of_sets:
                corpora.setdefault(name, of_sets[name][1].get("corpus"))
    known = {name: of["corpus"] for name, of in corpora.items() if of}
    if len(sets) < 2 and set(known.values()) <= {"asvspoof2019_la"}:
        return None
    marks = [
        f"{MARK} {name}: in the form of {corpus_heading(of)}, but not its official trials: published numbers "
        "do not compare."
        for name, of in corpora.items()
        if of and of.get("difference")
    ]
    numbers = {name: _numbers(of_sets, sets) for name, of_sets in systems.items()}
    ours = [
        TableRow(name, [shown(value, 2) for value in row[:-1]] + [row[-1]]) for name, row in numbers.items()
    ]
    for group in seeds.groups if seeds else ():
        if all(name in numbers for name in group):
            columns = list(zip(*(numbers[name][:-1] for name in group), strict=True))
            cells = ["–" if None in column else mean_sd(list(column)) for column in columns]
            ours.append(TableRow(mean_title(group, len(systems)), [*cells, ""]))
    others, of_others = _published(sets, corpora)
    titles = [_title(name, corpora[name]) for name in sets]
    return CorpusTable([*titles, "macro", "pooled", "worst"], ours, others, marks + of_others, sets)


def corpus_markdown(found: CorpusTable) -> str:
    """The same in Markdown, with what the columns mean."""
    rows = [[row.name, *row.cells, ""] for row in found.ours]
    rows += [
        [row.name, *row.cells, "; ".join(filter(None, (row.source, row.remarks)))] for row in found.others
    ]
    parts = [
        "EER in percent. macro: mean of the EERs; pooled: of all trials together, by one threshold; worst: "
        "the corpus with the highest.",
        table(["System", *found.columns, "Source"], rows),
        *map(plain_text, found.marks),
    ]
    return "\n\n".join(parts)


def _title(name: str, corpus: dict | None) -> str:
    """Of a column: the official set's where it is one, else the name of the data directory."""
    if not corpus:
        return name
    return (
        corpus_heading(corpus) if corpus["official"] else f"{name} {MARK}" if corpus["difference"] else name
    )


def _numbers(of_sets: dict, sets: list[str]) -> list:
    """EER of each set, macro, pooled; and the worst in words."""
    tables = {name: of_sets[name][0] for name in sets if name in of_sets}
    rates = [of_sets[name][1]["eer_percent"] if name in of_sets else None for name in sets]
    if len(tables) < 2:
        return [*rates, None, None, "–"]
    across = across_corpora(tables)
    worst = across["worst"]
    words = f"{worst['corpus']} {worst['eer_percent']:.2f}"
    return [*rates, across["macro_eer_percent"], across["pooled_eer_percent"], words]


def _published(sets: list[str], corpora: dict) -> tuple[list[TableRow], list[str]]:
    """Rows of others with a number in a column, and what their marks mean."""
    keys = [
        (f"{of['corpus']}/{of['set']}", bool(of["difference"])) if (of := corpora[name]) else (None, False)
        for name in sets
    ]
    rows, reasons = [], {}
    for row in load_published()["corpora"]["systems"]:
        if not any(key in row["eer_percent"] and not of_others for key, of_others in keys):
            continue  # nothing that compares
        cells = []
        for key, of_others in keys:
            value = row["eer_percent"].get(key)
            mark = row["marks"].get(key)
            if value is not None and mark:
                reasons.setdefault(mark, set()).add(row["name"])
            mark = mark or of_others
            cells.append("–" if value is None else f"{value:.2f}" + (f" {MARK}" if mark else ""))
        rows.append(TableRow(row["name"], [*cells, "–", "–", "–"], row["source"], row["remarks"]))
    marks = [f"{MARK} {', '.join(sorted(names))}: {reason}." for reason, names in reasons.items()]
    return rows, marks
