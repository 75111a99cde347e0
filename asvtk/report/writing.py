"""Write a report: the HTML page and the same tables as Markdown."""

from pathlib import Path

from asvtk.io.atomic import write_text
from asvtk.report.comparison import compare, comparison_table
from asvtk.report.corpora import corpus_markdown, corpus_table
from asvtk.report.html import html_page
from asvtk.report.markdown import environment, report_page
from asvtk.report.system import System, short_names

__all__ = ["write_report"]


def write_report(folder, systems: dict, facts: dict, seeds=None, dev=()) -> None:
    """Write ``folder/report.html`` and ``folder/RESULTS.md``.

    Args:
        folder: created when missing.
        systems: ``{system or its path: {set: (ScoreTable, results)}}``; tables are labelled, results are
            those of `asvtk.report.measured.measure`.
        facts: of `asvtk.corpora.facts.load_facts`.
        seeds: `asvtk.report.seeds.SeedGroups` of the systems; None averages nothing.
        dev: names of sets that systems were chosen on.

    Raises:
        AsvtkError: the files cannot be written.
    """
    short = dict(zip(systems, short_names(systems), strict=True))
    systems = {short[path]: of_sets for path, of_sets in systems.items()}
    seeds = seeds and seeds.renamed(short)
    # Test sets first: they are what a reader looks for.
    every_set = dict.fromkeys(name for of_sets in systems.values() for name in of_sets)
    names = sorted(every_set, key=lambda name: name in (*dev, "dev"))
    sets = {
        name: [
            _system(system, number, *of_sets[name])
            for number, (system, of_sets) in enumerate(systems.items())
            if name in of_sets
        ]
        for name in names
    }
    results = {system: {name: of for name, (_, of) in of_sets.items()} for system, of_sets in systems.items()}
    across, about = corpus_table(systems, seeds, dev), environment()
    # What is known of 2019 LA alone is no help beside several corpora.
    comparison = compare(results, facts) if across is None or "eval" in sets else None
    page = html_page(sets, comparison, about, facts, seeds, across)
    write_text(Path(folder) / "report.html", page)
    by_set = {name: {system.name: system.results for system in of_set} for name, of_set in sets.items()}
    beside = "" if comparison is None else comparison_table(comparison)
    page = report_page(by_set, beside, about, seeds, "" if across is None else corpus_markdown(across))
    write_text(Path(folder) / "RESULTS.md", page)


def _system(name: str, number: int, table, results: dict) -> System:
    return System(name, number, results, table.scores[table.bonafide], table.scores[~table.bonafide])
