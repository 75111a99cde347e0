"""This project's results beside what others published, and beside what the project reports claim.

The numbers of others are data, in ``published.json``, each row with its source.
"""

import json
from pathlib import Path
from typing import NamedTuple

from asvtk.report.markdown import plain_text, table

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
    """``caution`` says why ours must not be compared with the others; None when it may.

    ``evaluated`` is the name of the set in the eval column of ours, ``attacks`` are its columns of attacks.
    """

    ours: Group
    others: list
    caution: str | None
    evaluated: str = "eval"
    attacks: tuple = ATTACKS


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
    evaluated = _evaluated(results)
    ours = Group(OURS, "measured here", [_ours(name, sets, evaluated) for name, sets in results.items()])
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
    caution = _caution(results, facts, evaluated)
    attacks = ATTACKS if caution is None else _own_attacks(ours)
    return Comparison(ours, others, caution, evaluated, attacks)


def comparison_table(comparison: Comparison) -> str:
    """The same as Markdown; numbers that are not comparable stand in a table of their own."""
    groups = [comparison.ours, *comparison.others]
    if not comparison.caution:
        return _markdown(groups)
    own = _markdown(groups[:1], comparison.evaluated, comparison.attacks)
    return f"{own}\n\n**Not comparable.** {plain_text(comparison.caution)}\n\n{_markdown(groups[1:])}"


def as_written(value, digits: int) -> str:
    """A value as its source gave it, but with no more decimals than ours have."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    return min(f"{value:.{digits}f}", repr(float(value)), key=len) if digits > 2 else f"{value:.{digits}f}"


def _markdown(groups: list, evaluated: str = "eval", attacks: tuple = ATTACKS) -> str:
    header = ["System", "What", "dev EER %", f"{evaluated} EER %", "min t-DCF legacy", *attacks, "Source"]
    return table(
        header,
        [
            [
                row.name,
                group.title,
                as_written(row.dev_eer_percent, 3),
                as_written(row.eval_eer_percent, 3),
                as_written(row.min_tdcf, 4),
                *(as_written(row.per_attack.get(attack), 2) for attack in attacks),
                "; ".join(filter(None, (row.source, row.remarks))) or "–",
            ]
            for group in groups
            for row in group.rows
        ],
    )


def _evaluated(results: dict) -> str:
    """The set that counts, by its name: eval; else, of mere score files, what they are named after."""
    names = {name for sets in results.values() for name in sets}
    others = sorted(names - {"dev"})
    return "eval" if "eval" in names or len(others) != 1 else others[0]


def _ours(name: str, sets: dict, evaluated: str) -> Row:
    dev, of_eval = sets.get("dev", {}), sets.get(evaluated, {})
    return Row(
        name=name,
        dev_eer_percent=_rounded(dev.get("eer_percent"), 3),
        eval_eer_percent=_rounded(of_eval.get("eer_percent"), 3),
        min_tdcf=_rounded(of_eval.get("min_tdcf"), 4),
        per_attack={attack: row["eer_percent"] for attack, row in of_eval.get("per_attack", {}).items()},
    )


def _own_attacks(ours: Group) -> tuple:
    """Attacks of trials that are not the official ones; too many have no columns here."""
    attacks = sorted({attack for row in ours.rows for attack in row.per_attack})
    return tuple(attacks) if len(attacks) <= len(ATTACKS) else ()


def _rounded(value: float | None, digits: int) -> str | None:
    """Ours are all known to the last digit, so zeros at the end stay."""
    return None if value is None else f"{value:.{digits}f}"


def _published(row: dict) -> Row:
    return Row(**{field: row[field] for field in Row._fields})


def _number(value) -> float:
    return value if isinstance(value, (int, float)) else float("inf")


def _caution(results: dict, facts: dict, evaluated: str) -> str | None:
    """Every number of ours that stands beside a published one must be of that official set."""
    of_eval = [sets[evaluated] for sets in results.values() if evaluated in sets]
    shown = [("eval", of) for of in of_eval]
    shown += [("dev", sets["dev"]) for sets in results.values() if "dev" in sets]
    differing = [(name, of) for name, of in shown if not (of["official"] and of["split"] == name)]
    if of_eval and not differing:
        return None
    name, of = differing[0] if differing else ("eval", None)
    official = facts["splits"][name]
    published = f"the official {facts['name']} {name} set"
    counts = f"{official['bonafide']:,} bona fide and {official['spoof']:,} spoof trials"
    if not of_eval:
        what = "This report holds the dev set only"
    else:
        trials = f"{of['n_bonafide']:,} bona fide, {of['n_spoof']:,} spoof"
        what = f"The trials of this report ({trials}) are not {published} ({counts})"
    return (
        f"{what}. Numbers from different trials cannot be compared: what others published on the official "
        f"{facts['name']} sets stands apart and serves as orientation only."
    )
