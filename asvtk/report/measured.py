"""Evaluation of score files with what is known of the database of their utterances."""

import numpy as np

from asvtk.corpora.facts import has_its_attacks, prefixes_of, rename_attacks, split_of, unofficial
from asvtk.io.asv_scores import AsvScores
from asvtk.io.corpus_card import CorpusCard
from asvtk.io.errors import AsvtkError
from asvtk.io.scores import ScoreTable
from asvtk.metrics import evaluate
from asvtk.metrics.breakdown import factorize

__all__ = ["measure"]

#: which attacks count as known where nobody says
_GROUPING = "database"
#: the corpus that the facts are of
FACTS = "asvspoof2019_la"


def measure(
    table: ScoreTable,
    asv: AsvScores | None,
    facts: dict,
    *,
    kinds: dict | None = None,
    card: CorpusCard | None = None,
    grouping: str | None = None,
    **options,
) -> dict:
    """`asvtk.metrics.evaluate`, told of attacks, groupings and official counts where they apply.

    Other databases count their attacks from A01 too. The kinds of attacks and which are known in
    training are therefore the database's only for its whole official sets, or where the caller says so.

    Args:
        table: labelled trials; the pre-release names of its attacks become the official ones.
        asv: ASV scores of the same set, or None.
        facts: of `load_facts`.
        kinds: ``{attack: kind}`` where the corpus says so itself.
        card: what the trials are a set of, where their data directory says so; else the names of their
            utterances tell whether it is the corpus of the facts.
        grouping: which attacks count as known, a key of ``facts["groupings"]``; to name one is to say
            that the attacks are the database's. None: only those of its official sets are.
        options: ``by``, ``tables``, ``bootstrap``, ``bootstrap_by``, ``seed``, ``points``, ``dev``,
            ``calibration`` of `evaluate`.

    Returns:
        What `evaluate` returns, and ``grouping``, ``notes``, ``split`` (the database's set that the
        utterances are named after, or None), ``official`` (whether the trials are that whole set) and
        ``unofficial`` (a sentence how they differ from it, or None).

    Raises:
        AsvtkError: as `evaluate`, and for the ASV scores of another split.
    """
    is_other = card is not None and card.corpus != FACTS
    prefixes = None if is_other else prefixes_of(facts, table.utterances)
    split = split_of(facts, prefixes)
    if card is not None and card.corpus == FACTS and card.set in facts["splits"]:
        split = card.set  # also where utterances have got other names
    notes = list(table.notes)
    its_own_names = facts["attack_aliases"].keys() & (kinds or {})
    if prefixes is not None and table.attacks is not None and not its_own_names:
        table.attacks = rename_attacks(facts, table.attacks)
    of_attacks = _attack_counts(table)
    if split and asv is not None and not of_attacks:
        _refuse_other_set(table, asv, facts, split)
    n_bonafide = 0 if table.bonafide is None else int(np.count_nonzero(table.bonafide))
    counts = n_bonafide, table.scores.size - n_bonafide
    differing = unofficial(facts, split, *counts, of_attacks) if split else None
    official = split is not None and differing is None
    if is_other:
        differing = card.difference(*counts)
        official = card.is_counted and differing is None
    if grouping is None and (official or has_its_attacks(facts, prefixes, *counts)):
        grouping = _GROUPING
    elif grouping is None and kinds is None and prefixes is not None:
        notes.append(
            f"kinds of attacks, and which are known in training, are those of the official "
            f"{facts['name']} sets: not shown for other trials (--data DIR with attack2kind names kinds, "
            "--grouping says that the attacks are the database's)"
        )
    if kinds is None and grouping:
        kinds = {attack: of["kind"] for attack, of in facts["attacks"].items()}
    known = facts["groupings"][grouping] if grouping else None
    results = evaluate(table, asv, kinds=kinds, known=known, **options)
    if differing:
        notes.append(differing)
    if "subset" in table.columns and len(factorize(table.columns["subset"])[0]) > 1:
        notes.append(
            "several subsets are pooled here; published ASVspoof 2021 results are --where subset=eval"
        )
    results |= {"grouping": grouping, "split": split, "official": official, "unofficial": differing}
    if card is not None:
        results["corpus"] = card.describe() | {"official": official, "difference": differing}
    results["notes"] = notes
    return results


def _attack_counts(table: ScoreTable) -> dict:
    if table.attacks is None or table.bonafide is None:
        return {}
    names, codes = factorize(table.attacks[~table.bonafide])
    counts = dict(zip(names, np.bincount(codes, minlength=len(names)).tolist(), strict=True))
    counts.pop("-", None)
    return counts


def _refuse_other_set(table: ScoreTable, asv: AsvScores, facts: dict, split: str) -> None:
    """Catch dev trials scored with the ASV of eval where the attacks have no names."""
    splits = facts["splits"]
    expected = splits[split]["attacks"]
    others = {attack for of in splits.values() for attack in of["attacks"]} - expected.keys()
    if asv.attacks and asv.attacks <= others:
        raise AsvtkError(
            f"{table.source} is named as the {split} set (attacks {min(expected)} to {max(expected)}), but "
            f"{asv.source} holds ASV scores of {min(asv.attacks)} to {max(asv.attacks)}: they belong to "
            f"another set. Name the ASV scores of {split}."
        )
