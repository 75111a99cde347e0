"""Results as Markdown: the same tables on the terminal and in ``RESULTS.md``."""

__all__ = [
    "CONVENTIONS",
    "environment",
    "experiment_page",
    "mean_sd",
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

_RATES = (("EER %", "eer_percent", 3), ("min t-DCF legacy", "min_tdcf", 4))
_POOLED = (
    *_RATES,
    ("min t-DCF revisited", "min_tdcf_revisited", 4),
    ("ROCCH-EER %", "eer_rocch_percent", 3),
    ("min DCF", "min_dcf", 4),
    ("act DCF", "act_dcf", 4),
    ("Cllr", "cllr", 4),
)
_BREAKDOWNS = {"per_attack": "Attack", "per_kind": "Kind", "per_known": "Known in training"}
_KINDS = {"TTS": "TTS", "VC": "VC", "TTS_VC": "hybrid (TTS+VC)"}


def table(header, rows) -> str:
    """A Markdown table, padded so that it also reads as plain text; numbers are right-aligned."""
    rows = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(3, *(len(row[i]) for row in rows)) for i in range(len(rows[0]))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]

    def line(cells) -> str:
        first, *others = zip(cells, widths, strict=True)
        return "| " + " | ".join([first[0].ljust(first[1]), *(cell.rjust(w) for cell, w in others)]) + " |"

    return "\n".join([line(rows[0]), line(rule), *map(line, rows[1:])])


def results_tables(results: dict, first: str = "Set") -> str:
    """Tables of ``{name: object of asvtk.metrics.evaluate}``, with its warnings and notes first.

    ``first`` says what the names are: of sets, or of systems.
    """
    parts = [f"**Warning** ({name}): {text}" for name in results for text in results[name]["warnings"]]
    parts += [f"**Note** ({name}): {text}" for name in results for text in results[name].get("notes", ())]
    rows = [
        [name, of_set["n_bonafide"], of_set["n_spoof"], *(_cell(of_set, *column[1:]) for column in _POOLED)]
        for name, of_set in results.items()
    ]
    parts.append(table([first, "bona fide", "spoof", *(title for title, _, _ in _POOLED)], rows))
    for name, of_set in results.items():
        of_which = f", {name}" if len(results) > 1 else ""
        for key, members in of_set.items():
            if key.startswith("per_") and members:
                parts.append(_breakdown(key, of_which, members, of_set.get("grouping")))
    return "\n\n".join(parts)


def experiment_page(name: str, results: dict, about: dict) -> str:
    """``RESULTS.md`` of one experiment; ``about`` is what `environment` gave, or any such pairs."""
    return f"# Results of {name}\n\n{_facts(about)}\n\n{CONVENTIONS}\n\n{results_tables(results)}\n"


def report_page(sets: dict, comparison: str, about: dict) -> str:
    """``RESULTS.md`` of a report about several systems.

    Args:
        sets: ``{set: {system: object of one set}}``.
        comparison: table of `asvtk.report.comparison.comparison_table`.
        about: as for `experiment_page`.
    """
    parts = ["# Evaluation report", _facts(about), CONVENTIONS]
    for name, systems in sets.items():
        parts += [f"## {name}", results_tables(systems, first="System")]
    parts += ["## Beside published systems and the claims of the project reports", comparison]
    return "\n\n".join(parts) + "\n"


def _facts(about: dict) -> str:
    return "\n".join(f"- {what}: {value}" for what, value in about.items())


def summary_page(experiments: dict) -> str:
    """One row per experiment ``{name: {set: results}}``; then mean ± standard deviation (n - 1)."""
    sets = list(dict.fromkeys(name for results in experiments.values() for name in results))
    columns = [(name, column) for name in sets for column in _RATES]
    rows = [
        [experiment, *(_cell(results.get(name, {}), *column[1:]) for name, column in columns)]
        for experiment, results in experiments.items()
    ]
    if len(experiments) > 1:
        spread = ["mean ± sd"]
        for name, (_, key, digits) in columns:
            values = [results.get(name, {}).get(key) for results in experiments.values()]
            spread.append(mean_sd(values, digits))
        rows.append(spread)
    header = ["Experiment", *(f"{name} {title}" for name, (title, _, _) in columns)]
    return f"{CONVENTIONS}\n\n{table(header, rows)}\n"


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
        "command": f"`{command_line()}`",
        "git revision": git_revision() or "unknown (no git repository)",
        "versions": ", ".join(f"{name} {version or 'not installed'}" for name, version in versions.items()),
    }


def _breakdown(key: str, of_which: str, members: dict, grouping: str | None) -> str:
    title = _BREAKDOWNS.get(key, key.removeprefix("per_").capitalize())
    if key == "per_known" and grouping:
        title += f" ({grouping} grouping)"
    columns = {title + of_which: [_KINDS.get(name, name) for name in members]}
    if any(row.get("kind") for row in members.values()):
        columns["kind"] = [_KINDS.get(row["kind"], row["kind"] or "–") for row in members.values()]
    if key not in _BREAKDOWNS:
        columns["bona fide"] = [row["n_bonafide"] for row in members.values()]
    columns["spoof"] = [row["n"] for row in members.values()]
    for name, rate, digits in _POOLED[:3]:
        columns[name] = [_cell(row, rate, digits) for row in members.values()]
    return table(columns, zip(*columns.values(), strict=True))


def _cell(row: dict, key: str, digits: int) -> str:
    value = row.get(key)
    if value is None:
        return "–"
    interval = row.get("intervals", {}).get(key)
    ends = f" [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]" if interval else ""
    return f"{value:.{digits}f}{ends}"


def mean_sd(values: list, digits: int = 2, sign: str = "") -> str:
    """Mean ± standard deviation (n - 1); of one value the value, of any None a dash.

    With ``sign="+"`` the mean always has its sign.
    """
    import statistics

    if None in values:
        return "–"
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{sign}.{digits}f}{spread}"
