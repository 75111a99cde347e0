"""Write a report: the HTML page and the same tables as Markdown."""

from pathlib import Path

from asvtk.io.atomic import write_text
from asvtk.report.comparison import compare, comparison_table
from asvtk.report.html import html_page
from asvtk.report.markdown import environment, report_page
from asvtk.report.system import System

__all__ = ["write_report"]


def write_report(folder, systems: dict, facts: dict, seeds=None) -> None:
    """Write ``folder/report.html`` and ``folder/RESULTS.md``.

    Args:
        folder: created when missing.
        systems: ``{system: {set: (ScoreTable, results)}}``; tables are labelled, results are those of
            `asvtk.report.measured.measure`.
        facts: of `asvtk.corpora.facts.load_facts`.
        seeds: `asvtk.report.seeds.SeedGroups` of the systems; None averages nothing.

    Raises:
        AsvtkError: the files cannot be written.
    """
    # eval first: it is what a reader looks for
    names = sorted(
        {name for sets in systems.values() for name in sets}, key=lambda name: (name != "eval", name)
    )
    sets = {
        name: [
            _system(system, number, *of_sets[name])
            for number, (system, of_sets) in enumerate(systems.items())
            if name in of_sets
        ]
        for name in names
    }
    results = {system: {name: of for name, (_, of) in of_sets.items()} for system, of_sets in systems.items()}
    comparison, about = compare(results, facts), environment()
    write_text(Path(folder) / "report.html", html_page(sets, comparison, about, facts, seeds))
    by_set = {name: {system.name: system.results for system in of_set} for name, of_set in sets.items()}
    page = report_page(by_set, comparison_table(comparison), about, seeds)
    write_text(Path(folder) / "RESULTS.md", page)


def _system(name: str, number: int, table, results: dict) -> System:
    return System(name, number, results, table.scores[table.bonafide], table.scores[~table.bonafide])
