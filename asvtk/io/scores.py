"""Score files: what countermeasures (CM) and speaker verification (ASV) said about each trial.

A score file of ours is what the official ASVspoof 2019 tools read, ``utterance attack key score``,
with ``-`` for the attack of bona fide speech, and higher scores meaning bona fide.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from asvtk.io.columns import Columns, read_columns
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.strings import factorize, has_repeats

__all__ = ["AsvScores", "ScoreTable", "Trials", "read_asv_scores", "read_scores", "write_scores"]

#: In-the-Wild's key says bona-fide; every ASVspoof protocol says bonafide.
BONAFIDE_WORDS = ("bonafide", "bona-fide")
_MEANT_BONAFIDE = {"genuine", "human", "real", "bona_fide", "bonafide", "bona-fide", "live", "true"}
_MEANT_SPOOF = {"spoof", "spoofed", "fake", "deepfake", "synthetic", "attack", "false"}
#: What some files write in the attack column of bona fide trials.
_NO_ATTACK = ("-", "A00", "bonafide", "bona-fide")


@dataclass(kw_only=True, eq=False)
class Trials:
    """The trials of a protocol, or of a score file.

    Attributes:
        utterances: strings (n,), each once.
        bonafide: bool (n,), True = bona fide, False = spoof; None where the file does not say.
        attacks: strings (n,), ``-`` for bona fide speech and for spoofs of an unnamed attack; or None.
        columns: any further column by its name, strings (n,).
        source: the file, for messages.
        notes: what a reader of the results should know about the file.
    """

    utterances: np.ndarray
    bonafide: np.ndarray | None = None
    attacks: np.ndarray | None = None
    columns: dict = field(default_factory=dict)
    source: str = ""
    notes: list = field(default_factory=list)


@dataclass(kw_only=True, eq=False)
class ScoreTable(Trials):
    """Trials with their scores: float64 (n,), finite, higher = bona fide."""

    scores: np.ndarray

    def subset(self, keep: np.ndarray) -> "ScoreTable":
        """The trials where ``keep``, bool (n,), is True (an index array orders them anew)."""
        return ScoreTable(
            utterances=self.utterances[keep],
            bonafide=None if self.bonafide is None else self.bonafide[keep],
            attacks=None if self.attacks is None else self.attacks[keep],
            columns={name: values[keep] for name, values in self.columns.items()},
            source=self.source,
            notes=list(self.notes),
            scores=self.scores[keep],
        )


class AsvScores(NamedTuple):
    """Scores of a speaker verification system, each a float64 array, and the attacks among its spoofs."""

    target: np.ndarray
    nontarget: np.ndarray
    spoof: np.ndarray
    attacks: frozenset
    source: str = ""


def read_scores(path, columns: dict | None = None) -> ScoreTable:
    """Read the scores of a countermeasure, plain or gzipped.

    Forms: 2019 ``utterance attack key score``; 2021 ``utterance score`` (labels come from a
    protocol, see `asvtk.io.protocols.label`); any file with a header of known names, or of names
    told by ``columns`` (ours -> the file's: ``{"utterance": "path", "score": "logit"}``).

    Raises:
        AsvtkError: unreadable or empty file, a line that does not fit, a score that is no finite
            number, an unknown key, an utterance scored twice.
    """
    table = read_columns(path, columns)
    names = table.names or {4: ["utterance", "attack", "key", "score"], 2: ["utterance", "score"]}.get(
        len(table.fields)
    )
    if names is None:
        raise AsvtkError(
            f"{table.where(0)}: {len(table.fields)} fields; expected `utterance attack key score` (2019) or "
            "`utterance score` (2021). For another order add a header line and, if asvtk does not know its "
            "names, --columns utterance=...,score=...,key=...,attack=..."
        )
    for needed in ("utterance", "score"):
        if needed not in names:
            raise AsvtkError(
                f"{path}: no column is the {needed}; the header names {', '.join(names)}. "
                f"Say which it is: --columns {needed}=NAME"
            )
    scores = table.numbers(names.index("score"), "a score")
    trials = trials_from_columns(table, names)
    refuse_non_finite(path, trials.utterances, scores)
    return ScoreTable(**vars(trials), scores=scores)


def trials_from_columns(table: Columns, names: list) -> Trials:
    """Give the columns of a file their meaning; ``names`` has one name per column."""
    by_name = dict(zip(reversed(names), reversed(table.fields), strict=True))  # of two namesakes, the first
    utterances = by_name.pop("utterance")
    _refuse_duplicates(table, utterances)
    by_name.pop("score", None)
    trials = Trials(utterances=utterances, source=table.path)
    if "key" in by_name:
        trials.bonafide = _read_keys(table, by_name.pop("key"))
    if "attack" in by_name:
        trials.attacks = _read_attacks(table, by_name.pop("attack"), trials)
    trials.columns = by_name
    return trials


def read_asv_scores(path) -> AsvScores:
    """Read the organisers' ASV scores: lines ``bonafide-or-attack target|nontarget|spoof score``.

    Raises:
        AsvtkError: unreadable file, a line that does not fit, a score that is not finite, or one of
            the three kinds of trials is missing.
    """
    table = read_columns(path)
    if len(table.fields) != 3:
        raise AsvtkError(
            f"{table.where(0)}: {len(table.fields)} fields; ASV scores are lines `attack key score` with "
            "key target, nontarget or spoof, as in ASVspoof2019.LA.asv.*.scores.txt"
        )
    attacks, keys, _ = table.fields
    scores = table.numbers(2, "an ASV score")
    of_kind = {kind: keys == kind for kind in ("target", "nontarget", "spoof")}
    unknown = np.flatnonzero(~np.logical_or.reduce(list(of_kind.values())))
    if unknown.size:
        raise AsvtkError(
            f"{table.where(unknown[0])}: {str(keys[unknown[0]])!r} is no ASV key; expected target, nontarget "
            "or spoof in the second column"
        )
    not_finite = np.flatnonzero(~np.isfinite(scores))
    if not_finite.size:
        row = not_finite[0]
        raise AsvtkError(f"{table.where(row)}: the ASV score is {scores[row]}; every score must be finite")
    for kind, mask in of_kind.items():
        if not mask.any():
            raise AsvtkError(f"{path}: holds no {kind} trial; t-DCF needs target, nontarget and spoof trials")
    return AsvScores(
        **{kind: scores[mask] for kind, mask in of_kind.items()},
        attacks=frozenset(factorize(attacks[of_kind["spoof"]])[0]),
        source=str(path),
    )


def write_scores(path, utterances, attacks, keys, scores) -> None:
    """Write the official 2019 form in one step; the decimals name each float64 exactly.

    Args:
        path: the file to write or replace.
        utterances, attacks, keys: strings (n,); keys are ``bonafide`` or ``spoof``, the attack of
            bona fide speech is ``-``.
        scores: (n,), higher = bona fide.

    Raises:
        AsvtkError: a score is not finite, a key is unknown, an utterance stands twice, the lengths
            differ, or the file cannot be written. Nothing is written then.
    """
    from asvtk.io.atomic import atomic_path  # brings tempfile along, which readers need not wait for

    utterances, attacks, keys = list(map(str, utterances)), list(map(str, attacks)), list(map(str, keys))
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1 or not len(utterances) == len(attacks) == len(keys) == scores.size:
        raise AsvtkError(
            f"{path}: {len(utterances)} utterances, {len(attacks)} attacks, {len(keys)} keys and scores of "
            f"shape {scores.shape}; expected one of each per trial"
        )
    refuse_non_finite(path, np.array(utterances), scores)
    if len(set(utterances)) != len(utterances):
        raise AsvtkError(f"{path}: scored twice: {listing(_repeated(utterances))}")
    unknown = sorted(set(keys) - {"bonafide", "spoof"})
    if unknown:
        raise AsvtkError(f"{path}: the keys {listing(unknown)} are unknown; expected bonafide or spoof")
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for utterance, attack, key, score in zip(utterances, attacks, keys, scores.tolist(), strict=True):
            file.write(f"{utterance} {attack} {key} {score!r}\n")


def refuse_non_finite(path, utterances, scores) -> None:
    """Raise AsvtkError naming the utterances whose scores are nan or infinite."""
    bad = np.flatnonzero(~np.isfinite(scores))
    if bad.size:
        raise AsvtkError(
            f"{path}: {bad.size} of {scores.size} scores are nan or infinite: "
            f"{listing(f'{utterances[row]} ({scores[row]})' for row in bad)}. No metric is defined for them; "
            "find out why the model gave them, then score these utterances again."
        )


def _refuse_duplicates(table: Columns, utterances: np.ndarray) -> None:
    if not has_repeats(utterances):
        return
    repeated = _repeated(utterances.tolist())
    rows = np.flatnonzero(utterances == repeated[0])
    raise AsvtkError(
        f"{table.where(rows[1])}: {repeated[0]} stands there and in line {table.lines[rows[0]]} already. A "
        f"trial counts once; {len(repeated)} utterances stand twice or more: {listing(repeated)}. "
        "Was one score file appended to another?"
    )


def _repeated(names: list) -> list:
    seen = set()
    return list(dict.fromkeys(name for name in names if name in seen or seen.add(name)))


def _read_keys(table: Columns, keys: np.ndarray) -> np.ndarray:
    bonafide = np.logical_or.reduce([keys == word for word in BONAFIDE_WORDS])
    unknown = np.flatnonzero(~bonafide & (keys != "spoof"))
    if unknown.size == 0:
        return bonafide
    word = str(keys[unknown[0]])
    meant = {"bonafide": _MEANT_BONAFIDE, "spoof": _MEANT_SPOOF}
    nearest = next((ours for ours, theirs in meant.items() if word.lower() in theirs), None)
    raise AsvtkError(
        f"{table.where(unknown[0])}: the key {word!r} is unknown; expected bonafide (or bona-fide) or spoof."
        + (f" Did you mean {nearest}?" if nearest else "")
    )


def _read_attacks(table: Columns, attacks: np.ndarray, trials: Trials) -> np.ndarray:
    """Attack ids with ``-`` for none; an attack on bona fide speech is a quirk (A00) or a fault."""
    if "" in attacks:
        attacks = np.where(attacks == "", "-", attacks)
    if trials.bonafide is None:
        return attacks
    written, codes = factorize(attacks[trials.bonafide])
    faults = np.flatnonzero([name not in _NO_ATTACK for name in written])
    if faults.size:
        row = np.flatnonzero(trials.bonafide)[np.isin(codes, faults).argmax()]
        raise AsvtkError(
            f"{table.where(row)}: {trials.utterances[row]} is bona fide but has attack {attacks[row]}; "
            "expected `-`. Is the key wrong, or the order of the columns?"
        )
    if quirks := [name for name in written if name != "-"]:
        trials.notes.append(f"{trials.source}: attack id {listing(quirks)} on bona fide trials read as `-`")
        attacks = np.where(trials.bonafide, "-", attacks)
    return attacks
