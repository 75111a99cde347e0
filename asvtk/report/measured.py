"""Evaluate scores with what is known of the database that their utterances belong to."""

import numpy as np

from asvtk.corpora.facts import prefixes_of, rename_attacks, split_of, unofficial
from asvtk.io.asv_scores import AsvScores
from asvtk.io.errors import AsvtkError
from asvtk.io.scores import ScoreTable
from asvtk.metrics import evaluate

__all__ = ["measure"]


def measure(
    table: ScoreTable,
    asv: AsvScores | None,
    facts: dict,
    *,
    kinds: dict | None = None,
    grouping: str = "database",
    **options,
) -> dict:
    """`asvtk.metrics.evaluate`, told of attacks, groupings and official counts where they apply.

    Args:
        table: labelled trials; the pre-release names of its attacks become the official ones.
        asv: ASV scores of the same set, or None.
        facts: of `load_facts`.
        kinds: ``{attack: kind}`` where the corpus says so itself; else the database's.
        grouping: which attacks count as known, a key of ``facts["groupings"]``.
        options: ``by``, ``bootstrap``, ``seed`` of `evaluate`.

    Returns:
        What `evaluate` returns, and ``grouping``, ``notes``, ``split`` (the database's set that the
        utterances are named after, or None) and ``official`` (whether the trials are that whole set).

    Raises:
        AsvtkError: as `evaluate`, and for the ASV scores of another split.
    """
    prefixes = prefixes_of(facts, table.utterances)
    known_database, split = prefixes is not None, split_of(facts, prefixes)
    notes = list(table.notes)
    if known_database and table.attacks is not None:
        table.attacks = rename_attacks(facts, table.attacks)
    if split and asv is not None:
        _refuse_other_set(table, asv, facts, split)
    if kinds is None and known_database:
        kinds = {attack: of["kind"] for attack, of in facts["attacks"].items()}
    known = facts["groupings"][grouping] if known_database else None
    results = evaluate(table, asv, kinds=kinds, known=known, **options)
    differing = unofficial(facts, split, results["n_bonafide"], results["n_spoof"]) if split else None
    if differing:
        notes.append(differing)
    if len(set(table.columns.get("subset", np.empty(0)).tolist())) > 1:
        notes.append(
            "several subsets are pooled here; published ASVspoof 2021 results are --where subset=eval"
        )
    results["grouping"] = grouping if known_database else None
    results["split"], results["official"] = split, split is not None and differing is None
    results["notes"] = notes
    return results


def _refuse_other_set(table: ScoreTable, asv: AsvScores, facts: dict, split: str) -> None:
    """Catch dev trials scored with the ASV of eval also where the attacks have no names."""
    expected = facts["splits"][split]["attacks"]
    if not asv.attacks & expected.keys():
        raise AsvtkError(
            f"{table.source} holds the {split} set (attacks {min(expected)} to {max(expected)}), but "
            f"{asv.source} holds ASV scores of {min(asv.attacks)} to {max(asv.attacks)}: they belong to "
            f"another set. Name the ASV scores of {split}."
        )
