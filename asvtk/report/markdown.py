"""Results as Markdown: the same tables on the terminal and in ``RESULTS.md``."""

import re

from asvtk.metrics.tables import LABELS
from asvtk.report.values import (
    POOLED,
    RATES,
    TWO_WAY,
    VERIFICATION,
    average,
    corpus_heading,
    interval,
    kind_name,
    measured_lines,
    shown,
)

__all__ = [
    "CONVENTIONS",
    "code",
    "environment",
    "experiment_page",
    "mean_title",
    "plain_text",
    "report_page",
    "results_tables",
    "summary_page",
    "table",
    "table_page",
]

CONVENTIONS = """\
Higher score = bona fide. EER in the official convention of ASVspoof (no interpolation; ties count
against the system), ROCCH-EER on the convex hull. min t-DCF **legacy** is ASVspoof 2019's,
**revisited** is ASVspoof 2021's: never compare one with the other. t-DCF per attack uses the ASV
error rates pooled over attacks. act DCF and Cllr take the scores for log-likelihood ratios."""

_BREAKDOWNS = {"per_attack": "Attack", "per_kind": "Kind", "per_known": "Known in training"}
#: What would begin code, emphasis, a link, a tag or an entity, or end a cell.
_SPECIAL = re.compile(r"[\\`*|]|\](?=[\[(:])|<(?=[A-Za-z/!?])|&(?=#?\w+;)")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


def plain_text(text) -> str:
    """Text of a file or its name in one line of Markdown, where it can be nothing but text."""
    return _SPECIAL.sub(r"\\\g<0>", _UNPRINTABLE.sub(" ", str(text)))


def code(text: str) -> str:
    """Code within a line, whatever backticks it holds."""
    text = _UNPRINTABLE.sub(" ", text)
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def table(header, rows) -> str:
    """A Markdown table, padded so that it also reads as plain text; numbers are right-aligned."""
    rows = [[plain_text(cell) for cell in row] for row in [list(header), *rows]]
    widths = [max(3, *(len(row[i]) for row in rows)) for i in range(len(rows[0]))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]

    def line(cells) -> str:
        first, *others = zip(cells, widths, strict=True)
        return "| " + " | ".join([first[0].ljust(first[1]), *(cell.rjust(w) for cell, w in others)]) + " |"

    return "\n".join([line(rows[0]), line(rule), *map(line, rows[1:])])


def results_tables(results: dict, first: str = "Set", seeds=None) -> str:
    """Tables of ``{name: object of asvtk.metrics.evaluate}``, with its warnings and notes first.

    Args:
        results: of several sets of a system, or of several systems on a set.
        first: what the names are: of sets, or of systems.
        seeds: `asvtk.report.seeds.SeedGroups` of the systems, to average what differs in its seed alone.
    """
    parts = []
    for word, key in (("Warning", "warnings"), ("Note", "notes")):
        parts += [
            f"**{word}** ({plain_text(name)}): {plain_text(text)}"
            for name in results
            for text in results[name].get(key, ())
        ]
    headings = {name: of["corpus"] for name, of in results.items() if of.get("corpus")}
    if headings:
        of_sets = (f"{plain_text(name)}: {plain_text(corpus_heading(of))}" for name, of in headings.items())
        parts.append("; ".join(of_sets) + ".")
    rows = [
        [name, of_set["n_bonafide"], of_set["n_spoof"], *(_cell(of_set, *column[1:]) for column in POOLED)]
        for name, of_set in results.items()
    ]
    for title, members in _averages(seeds, results):
        rows.append([title, "", "", *(average(members, key, digits) for _, key, digits in POOLED)])
    parts.append(table([first, "bona fide", "spoof", *(title for title, _, _ in POOLED)], rows))
    parts += [plain_text(reason) for reason in (seeds.reasons if seeds else ())]
    lines = [
        f"- {plain_text(line)}"
        for name, of_set in results.items()
        for line in measured_lines(name if len(results) > 1 else "", of_set)
    ]
    if lines:
        parts.append("\n".join(lines))
    for name, of_set in results.items():
        of_which = f", {name}" if len(results) > 1 else ""
        if of_set.get("sasv"):
            parts.append(_verification(of_which, of_set["sasv"]))
        for key, members in of_set.items():
            if key.startswith("per_") and members:
                parts.append(_breakdown(key, of_which, members, of_set.get("grouping")))
        for axes, rows in of_set.get("tables", {}).items():
            parts += _two_way(axes, of_which, rows)
    return "\n\n".join(parts)


def experiment_page(name: str, results: dict, about: dict) -> str:
    """``RESULTS.md`` of one experiment; ``about`` is what `environment` gave, or any such pairs."""
    heading = f"# Results of {plain_text(name)}"
    return f"{heading}\n\n{_facts(about)}\n\n{CONVENTIONS}\n\n{results_tables(results)}\n"


def report_page(sets: dict, comparison: str, about: dict, seeds=None, across: str = "") -> str:
    """``RESULTS.md`` of a report about several systems.

    Args:
        sets: ``{set: {system: object of one set}}``.
        comparison: table of `asvtk.report.comparison.comparison_table`; empty where none fits.
        about: as for `experiment_page`.
        seeds: as for `results_tables`.
        across: table of `asvtk.report.corpora.corpus_markdown`; empty: one corpus.
    """
    parts = ["# Evaluation report", _facts(about), CONVENTIONS]
    parts += ["## Across corpora", across] if across else []
    for name, systems in sets.items():
        parts += [f"## {plain_text(name)}", results_tables(systems, first="System", seeds=seeds)]
    if comparison:
        parts += ["## Beside published systems and the claims of the project reports", comparison]
    return "\n\n".join(parts) + "\n"


def _facts(about: dict) -> str:
    return "\n".join(
        f"- {what}: {code(value) if what == 'command' else plain_text(value)}"
        for what, value in about.items()
    )


def summary_page(experiments: dict, seeds, across: str = "") -> str:
    """One row per experiment ``{name: {set: results}}``; then mean ± standard deviation over seeds.

    ``seeds`` is what `asvtk.report.seeds.seed_groups` says of the experiments, ``across`` the table of
    `asvtk.report.corpora.corpus_markdown` if there is one.
    """
    sets = list(dict.fromkeys(name for results in experiments.values() for name in results))
    columns = [
        (name, column)
        for name in sets
        for column in RATES
        if any(results.get(name, {}).get(column[1]) is not None for results in experiments.values())
    ]
    rows = [
        [experiment, *(_cell(results.get(name, {}), *column[1:]) for name, column in columns)]
        for experiment, results in experiments.items()
    ]
    for title, members in _averages(seeds, experiments):
        rows.append(
            [
                title,
                *(
                    average([results.get(name, {}) for results in members], key, digits)
                    for name, (_, key, digits) in columns
                ),
            ]
        )
    header = ["Experiment", *(f"{name} {title}" for name, (title, _, _) in columns)]
    parts = [CONVENTIONS, table(header, rows), *map(plain_text, seeds.reasons)]
    parts += ["## Across corpora", across] if across else []
    return "\n\n".join(parts) + "\n"


def _averages(seeds, results: dict):
    """(title, objects to average) of each list of runs that differ in their seed alone."""
    for group in seeds.groups if seeds else ():
        members = [results[name] for name in group if name in results]
        if len(members) == len(group):
            yield mean_title(group, len(results)), members


def mean_title(group: list[str], n: int) -> str:
    """What a row of means is called, where ``n`` systems are shown."""
    return "mean ± sd" if len(group) == n else f"mean ± sd of {', '.join(group)}"


def table_page(title: str, legend: str, found: str) -> str:
    """A page of one table: its title, what one needs to know to repeat it, what it says, and the table."""
    return f"# {title}\n\n{_facts(environment())}\n\n{legend}\n\n{found.strip()}\n"


def environment() -> dict:
    """What one needs to know to repeat a result."""
    import platform
    from datetime import date

    from asvtk.io.environment import command_line, git_revision, package_versions  # slow to import

    versions = {"python": platform.python_version(), **package_versions(("asvtk", "torch", "numpy"))}
    return {
        "date": date.today().isoformat(),
        "command": command_line(),
        "git revision": git_revision() or "unknown (no git repository)",
        "versions": ", ".join(f"{name} {version or 'not installed'}" for name, version in versions.items()),
    }


def _breakdown(key: str, of_which: str, members: dict, grouping: str | None) -> str:
    title = _BREAKDOWNS.get(key, key.removeprefix("per_").capitalize())
    if key == "per_known" and grouping:
        title += f" ({grouping} grouping)"
    columns = {title + of_which: [kind_name(name) if key == "per_kind" else name for name in members]}
    if any(row.get("kind") for row in members.values()):
        columns["kind"] = [kind_name(row.get("kind")) for row in members.values()]
    if key not in _BREAKDOWNS:
        columns["bona fide"] = [row["n_bonafide"] for row in members.values()]
    columns["spoof"] = [row["n"] for row in members.values()]
    for name, rate, digits in POOLED[:3]:
        columns[name] = [_cell(row, rate, digits) for row in members.values()]
    return table(columns, zip(*columns.values(), strict=True))


def _two_way(axes: str, of_which: str, rows: dict) -> list[str]:
    """A table of each measure, and what its abbreviations mean."""
    down, across = axes.split(",")
    parts = []
    for title, key, digits in TWO_WAY:
        if any(cell[key] is not None for row in rows.values() for cell in row.values()):
            what = f"{title}: {_in_words(down)} by {_in_words(across)}{of_which}"
            body = [[name, *(shown(at[key], digits) for at in row.values())] for name, row in rows.items()]
            parts.append(table([what, *next(iter(rows.values()))], body))
    if len(parts) == len(TWO_WAY):
        parts.append("t-DCF of a cell: with the ASV error rates of its own trials.")
    for column in (*down.split("+"), *across.split("+")):
        names = {*rows, *next(iter(rows.values()))}
        if meant := [f"{label} {word}" for word, label in LABELS.get(column, {}).items() if label in names]:
            parts.append(f"{_in_words(column).capitalize()}: {', '.join(meant)}.")
    return parts


def _in_words(columns: str) -> str:
    return ", ".join(column.partition("@")[0].replace("_", " ") for column in columns.split("+"))


def _verification(of_which: str, found: dict) -> str:
    """Each score by itself as the whole decision of speaker verification."""
    names = {"score": "CM score" if "asv_score" in found else "Score", "asv_score": "ASV score"}
    header = [f"Speaker verification{of_which}", *(title for title, _, _ in VERIFICATION)]
    return table(
        header,
        [
            [title, *(shown(found[name].get(key), digits) for _, key, digits in VERIFICATION)]
            for name, title in names.items()
            if name in found
        ],
    )


def _cell(row: dict, key: str, digits: int | None) -> str:
    ends = interval(row, key, digits)
    return shown(row.get(key), digits) + (f" [{ends[0]}, {ends[1]}]" if ends else "")
