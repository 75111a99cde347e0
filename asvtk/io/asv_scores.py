"""Scores of a speaker verification system (ASV), which t-DCF needs beside those of the countermeasure."""

from typing import NamedTuple

import numpy as np

from asvtk.io.columns import read_columns
from asvtk.io.errors import AsvtkError, listing, shown
from asvtk.io.scores import refuse_extreme

__all__ = ["AsvScores", "read_asv_scores"]

_KINDS = ("target", "nontarget", "spoof")
#: Columns of the ASV keys of 2021, LA and PA.
_KEYS_2021 = [
    form.split()
    for form in (
        "speaker utterance codec transmission attack key trim subset",
        "speaker utterance asv_room asv_mic distance_to_asv attacker_room attacker_mic attacker_device "
        "attacker_to_speaker key trim subset",
    )
]


class AsvScores(NamedTuple):
    """Scores of a speaker verification system, each a float64 array, and the attacks among its spoofs.

    ``columns`` has what is known of each trial, ``{column: {"target": strings (n_target,), "nontarget": ...,
    "spoof": ...}}``; the attack always where it comes from a file.
    """

    target: np.ndarray
    nontarget: np.ndarray
    spoof: np.ndarray
    attacks: frozenset
    source: str = ""
    columns: dict = {}


def read_asv_scores(path, key=None, where: dict | None = None) -> AsvScores:
    """Read the organisers' ASV scores.

    Args:
        path: lines ``bonafide-or-attack target|nontarget|spoof score`` (2019), or ``speaker trial score``
            (2021), which take a ``key``.
        key: ``ASV/trial_metadata.txt`` of 2021: ``speaker trial codec transmission attack key trim subset``,
            or the 12 columns of PA.
        where: ``{column of the key: value}``; only these trials. Names of other columns are passed over.

    Raises:
        AsvtkError: unreadable file, a line that does not fit, a score that is not finite, trials without a
            score, or one of the three kinds of trials is missing.
    """
    table = read_columns(path)
    if len(table.fields) != 3:
        raise AsvtkError(
            f"{table.where(0)}: {len(table.fields)} fields; ASV scores are lines `attack key score` with "
            "key target, nontarget or spoof, as in ASVspoof2019.LA.asv.*.scores.txt, or `speaker trial score`"
        )
    scores = table.numbers(2, "an ASV score")
    not_finite = np.flatnonzero(~np.isfinite(scores))
    if not_finite.size:
        row = not_finite[0]
        raise AsvtkError(f"{table.where(row)}: the ASV score is {scores[row]}; every score must be finite")
    refuse_extreme(path, table.fields[1], scores)
    if key is None:
        (attacks, keys), where_of = (np.array(field, dtype=object) for field in table.fields[:2]), table.where
        columns = {"attack": attacks}
    else:
        columns, keys, scores, where_of = _with_key(table, scores, key, where or {})
        attacks = columns.get("attack", np.full(keys.size, "-", object))
    of_kind = {kind: keys == kind for kind in _KINDS}
    unknown = np.flatnonzero(~np.logical_or.reduce(list(of_kind.values())))
    if unknown.size:
        raise AsvtkError(
            f"{where_of(unknown[0])}: {shown(keys[unknown[0]])} is no ASV key; expected target, nontarget "
            "or spoof in the second column; scores `speaker trial score` (2021) take --asv-key FILE"
        )
    for kind, mask in of_kind.items():
        if not mask.any():
            raise AsvtkError(f"{path}: holds no {kind} trial; t-DCF needs target, nontarget and spoof trials")
    return AsvScores(
        **{kind: scores[mask] for kind, mask in of_kind.items()},
        attacks=frozenset(attacks[of_kind["spoof"]].tolist()) - {"-"},
        source=str(path),
        columns={
            name: {kind: values[mask] for kind, mask in of_kind.items()} for name, values in columns.items()
        },
    )


def _with_key(table, scores: np.ndarray, path, where: dict):
    """Columns, keys and scores of the trials of the key where ``where`` holds."""
    key = read_columns(path)
    names = next((names for names in _KEYS_2021 if len(names) == len(key.fields)), None)
    if names is None:
        raise AsvtkError(f"{key.where(0)}: {len(key.fields)} fields; expected `{' '.join(_KEYS_2021[0])}`")
    columns = {name: np.array(field, dtype=object) for name, field in zip(names, key.fields, strict=True)}
    keep = np.ones(len(key.lines), bool)
    for name, value in where.items():
        if name in columns:
            keep &= columns[name] == value
    score_of = dict(zip(zip(table.fields[0], table.fields[1], strict=True), scores.tolist(), strict=True))
    if len(score_of) < scores.size:
        raise AsvtkError(f"{table.path}: holds a trial twice")
    trials = list(zip(columns["speaker"][keep], columns["utterance"][keep], strict=True))
    missing = [" ".join(trial) for trial in trials if trial not in score_of]
    if missing:
        raise AsvtkError(
            f"{table.path} does not fit {path}: {len(missing)} of its trials have no score: "
            + listing(missing)
        )
    rows = np.flatnonzero(keep)
    found = np.array([score_of[trial] for trial in trials])
    keys = columns["key"][keep]
    columns = {
        name: values[keep] for name, values in columns.items() if name not in ("speaker", "utterance", "key")
    }
    return columns, keys, found, lambda row: key.where(rows[row])
