"""This project's results beside what others published, and beside what the project reports claim.

The numbers of others are data, in ``published.json``, each row with its source.
"""

import json
from pathlib import Path
from typing import NamedTuple

from asvtk.report.markdown import table

__all__ = ["Comparison", "Group", "Row", "as_written", "compare", "comparison_table", "load_published"]

ATTACKS = tuple(f"A{i:02d}" for i in range(7, 20))
OURS = "this report"


class Row(NamedTuple):
    """One system. A value is a number, words (``<1``), or None; ``per_attack`` maps ids to EERs in %."""

    name: str
    dev_eer_percent: float | str | None
    eval_eer_percent: float | str | None
    min_tdcf: float | str | None
    per_attack: dict
    source: str = ""
    remarks: str = ""


class Group(NamedTuple):
    """Rows of one kind, best EER first, and a sentence about what they are worth."""

    title: str
    about: str
    rows: list


class Comparison(NamedTuple):
    """``caution`` says why ours must not be compared with the others; None when it may."""

    ours: Group
    others: list
    caution: str | None


def load_published() -> dict:
    """``published.json``: ``about``, ``kinds`` {kind: what it is worth}, ``systems`` [rows]."""
    return json.loads((Path(__file__).parent / "published.json").read_text(encoding="utf-8"))


def compare(results: dict, facts: dict) -> Comparison:
    """Put results beside ``published.json``.

    Args:
        results: ``{system: {set: object of one set}}``, the objects as `asvtk.report.measured.measure`
            gives them.
        facts: of `asvtk.corpora.facts.load_facts`.
    """
    published = load_published()
    ours = Group(OURS, "measured here", [_ours(name, sets) for name, sets in results.items()])
    others = [
        Group(
            kind,
            about,
            sorted(
                (_published(row) for row in published["systems"] if row["kind"] == kind),
                key=lambda row: _number(row.eval_eer_percent),
            ),
        )
        for kind, about in published["kinds"].items()
    ]
    return Comparison(ours, others, _caution(results, facts))


def comparison_table(comparison: Comparison) -> str:
    """The same as Markdown; numbers that are not comparable stand in a table of their own."""
    groups = [comparison.ours, *comparison.others]
    if not comparison.caution:
        return _markdown(groups)
    return f"{_markdown(groups[:1])}\n\n**Not comparable.** {comparison.caution}\n\n{_markdown(groups[1:])}"


def as_written(value, digits: int) -> str:
    """A value as its source gave it, but with no more decimals than ours have."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    return min(f"{value:.{digits}f}", repr(float(value)), key=len) if digits > 2 else f"{value:.{digits}f}"


def _markdown(groups: list) -> str:
    header = ["System", "What", "dev EER %", "eval EER %", "min t-DCF legacy", *ATTACKS, "Source"]
    return table(
        header,
        [
            [
                row.name,
                group.title,
                as_written(row.dev_eer_percent, 3),
                as_written(row.eval_eer_percent, 3),
                as_written(row.min_tdcf, 4),
                *(as_written(row.per_attack.get(attack), 2) for attack in ATTACKS),
                "; ".join(filter(None, (row.source, row.remarks))) or "–",
            ]
            for group in groups
            for row in group.rows
        ],
    )


def _ours(name: str, sets: dict) -> Row:
    of = {results["split"]: results for results in sets.values()}
    dev, evaluation = of.get("dev", {}), of.get("eval", {})
    if not dev and not evaluation:  # another database: its one set is what was evaluated
        evaluation = next(iter(sets.values()))
    return Row(
        name=name,
        dev_eer_percent=_rounded(dev.get("eer_percent"), 3),
        eval_eer_percent=_rounded(evaluation.get("eer_percent"), 3),
        min_tdcf=_rounded(evaluation.get("min_tdcf"), 4),
        per_attack={attack: row["eer_percent"] for attack, row in evaluation.get("per_attack", {}).items()},
    )


def _rounded(value: float | None, digits: int) -> str | None:
    """Ours are all known to the last digit, so zeros at the end stay."""
    return None if value is None else f"{value:.{digits}f}"


def _published(row: dict) -> Row:
    return Row(**{field: row[field] for field in Row._fields})


def _number(value) -> float:
    return value if isinstance(value, (int, float)) else float("inf")


def _caution(results: dict, facts: dict) -> str | None:
    official = facts["splits"]["eval"]
    name = f"the official {facts['name']} eval set"
    counts = f"{official['bonafide']:,} bona fide and {official['spoof']:,} spoof trials"
    if any(of["official"] and of["split"] == "eval" for sets in results.values() for of in sets.values()):
        return None
    found = [of for sets in results.values() for of in sets.values()]
    evaluated = next((of for of in found if of["split"] == "eval"), found[0])
    if evaluated["official"]:
        what = f"This report holds the {evaluated['split']} set only"
    else:
        trials = f"{evaluated['n_bonafide']:,} bona fide, {evaluated['n_spoof']:,} spoof"
        what = f"The trials of this report ({trials}) are not {name} ({counts})"
    return (
        f"{what}. Numbers from different trials cannot be compared: what others published on {name} "
        "stands apart and serves as orientation only."
    )
