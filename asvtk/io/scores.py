"""Score files: what a countermeasure (CM) said about each trial.

A score file of ours is what the official ASVspoof 2019 tools read, ``utterance attack key score``,
with ``-`` for the attack of bona fide speech, and higher scores meaning bona fide.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from asvtk.io.columns import KEY_WORDS, Columns, read_columns
from asvtk.io.errors import AsvtkError, listing, shown
from asvtk.io.factors import Factored, Names, factorize
from asvtk.io.rows import is_number
from asvtk.io.text import parse_float

__all__ = ["ScoreTable", "Trials", "read_scores", "refuse_non_finite", "trials_from_columns", "write_scores"]

#: Sums and differences of a million larger scores leave the range of a double.
LARGEST_SCORE = 1e300
_MEANT_BONAFIDE = {"genuine", "human", "real", "bona_fide", "bonafide", "bona-fide", "live", "true"}
_MEANT_SPOOF = {"spoof", "spoofed", "fake", "deepfake", "synthetic", "attack", "false"}
#: What some files write in the attack column of bona fide trials.
_NO_ATTACK = ("-", "A00", "bonafide", "bona-fide", "none", "NONE")
#: columns of which notes tell, whatever else is asked for
_OF_NOTES = {"subset"}
#: Number of fields -> columns of a score file without a header; six: the organisers' own baselines.
_FORMS = {
    2: ["utterance", "score"],
    4: ["utterance", "attack", "key", "score"],
    6: ["speaker", "utterance", "environment", "attack", "key", "score"],
}


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
        named: False where the file does not name its trials: ``utterances`` are rows then.
        classes: strings (n,), ``target``, ``nontarget`` or ``spoof``, where the key is one of speaker
            verification (bona fide = the first two); else None.
    """

    utterances: np.ndarray
    bonafide: np.ndarray | None = None
    attacks: np.ndarray | None = None
    columns: dict = field(default_factory=dict)
    source: str = ""
    notes: list = field(default_factory=list)
    named: bool = True
    classes: np.ndarray | None = None

    def subset(self, keep: np.ndarray):
        """The trials where ``keep``, bool (n,), is True (an index array orders them anew)."""
        per_trial = ("utterances", "bonafide", "attacks", "classes", "scores", "asv_scores")
        taken = {
            name: values[keep] for name in per_trial if (values := getattr(self, name, None)) is not None
        }
        columns = {name: values[keep] for name, values in self.columns.items()}
        return replace(self, **taken, columns=columns, notes=list(self.notes))


@dataclass(kw_only=True, eq=False)
class ScoreTable(Trials):
    """Trials with their scores: float64 (n,), finite, higher = bona fide.

    ``asv_scores`` are those of speaker verification for the same trials, where the key has ``classes``
    and the file a column for them; higher = target.
    """

    scores: np.ndarray
    asv_scores: np.ndarray | None = None


def read_scores(path, columns: dict | None = None, labels: dict | None = None) -> ScoreTable:
    """Read the scores of a countermeasure; for packing, separators and headers see `read_columns`.

    Forms: 2019 ``utterance attack key score``, or ``speaker utterance - attack key score``; 2021
    ``utterance score`` (labels come from a protocol, see `asvtk.io.protocols.label`); logs of NII's
    scripts; any file with a header of known names; any file at all whose columns are told.

    Args:
        path: the file.
        columns: our name of a column -> its name in the header, or its place from 1. Without an utterance
            among the columns, but with a key, the trials are the rows.
        labels: ``{word of the key column: is it bona fide?}``, beside bonafide, bona-fide and spoof. The
            words target and nontarget, or labels that mean "target" and "nontarget", give ``classes``.

    Raises:
        AsvtkError: unreadable or empty file, a line that does not fit, a score that is no finite
            number or beyond 1e300, an unknown key, an utterance scored twice.
    """
    table = read_columns(path, columns)
    names = table.names or _FORMS.get(len(table.fields))
    if names is None:
        raise AsvtkError(
            f"{table.where(0)}: {len(table.fields)} fields; expected `utterance attack key score` (2019) or "
            "`utterance score` (2021). Say which columns are what: --columns utterance=1,score=2,key=3, or "
            "by name where the file has a header"
        )
    for needed in ("utterance", "score"):
        if needed not in names and not (needed == "utterance" and "key" in names):
            raise AsvtkError(
                f"{path}: no column is the {needed}; there are {listing(names)}. Say which it is: "
                f"--columns {needed}=NAME"
            )
    scores = table.numbers(names.index("score"), "a score")
    trials = trials_from_columns(table, names, labels)
    found = {"scores": scores}
    told = "asv_score" in (columns or {})
    if "asv_score" in names and (told or trials.classes is not None or "key" not in names):
        if "key" in names and trials.classes is None:
            raise AsvtkError(
                f"{path}: has ASV scores, but its key does not tell targets from nontargets; say which words "
                "do: --labels target=WORD,nontarget=WORD,spoof=WORD"
            )
        found["asv_scores"] = table.numbers(names.index("asv_score"), "an ASV score")
        trials.columns.pop("asv_score")
    for values in found.values():
        refuse_non_finite(path, trials.utterances, values)
        refuse_extreme(path, trials.utterances, values)
    return ScoreTable(**vars(trials), **found)


def trials_from_columns(
    table: Columns, names: list, labels: dict | None = None, only: set | None = None
) -> Trials:
    """Give the columns of a file their meaning.

    Args:
        names: one per column.
        labels: as in `read_scores`.
        only: further columns to take; None = all. Where one of them is not there, all are taken.

    Raises:
        AsvtkError: a name that is missing or stands twice, an unknown key, an attack on bona fide speech.
    """
    width = len(table.fields)
    by_name = dict(zip(reversed(names), reversed(range(width)), strict=True))  # of two namesakes, the first
    speaker = by_name.get("speaker")
    further = by_name.keys() - {"utterance", "score", "key", "attack"}
    if only is not None and only <= further:
        for name in further - only - _OF_NOTES:
            del by_name[name]
    table.prepare([place for name, place in by_name.items() if name not in ("score", "asv_score")])
    named = "utterance" in by_name
    if named:
        rows = table.identifiers(by_name.pop("utterance"))
    else:
        rows = _array([f"row{row}" for row in range(1, len(table.lines) + 1)])
    trials = Trials(utterances=rows, source=table.path, named=named)
    if not named:
        trials.notes.append(f"{table.path}: no column names the trials; each row counts as one")
    by_name.pop("score", None)
    with_key = "key" in by_name
    if with_key:
        trials.bonafide, trials.classes = _read_keys(table, by_name.pop("key"), labels or {})
    if speaker is not None and (trials.classes is not None or not with_key):
        trials.utterances = _pairs(table, trials.utterances, speaker)
    _refuse_faulty_names(table, trials.utterances)
    if "attack" in by_name:
        trials.attacks = _read_attacks(table, table.array(by_name.pop("attack")), trials)
    trials.columns = {name: table.array(place) for name, place in by_name.items()}
    return trials


def _array(strings: list) -> np.ndarray:
    # Of dtype object: one id of 20,000 letters would make each of 60,000 fixed-width ones as wide.
    return np.array(strings, dtype=object)


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
    refuse_non_finite(path, utterances, scores)
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


def refuse_extreme(path, utterances, scores) -> None:
    """Raise AsvtkError naming the utterances whose scores are too large to compute with."""
    bad = np.flatnonzero(np.abs(scores) > LARGEST_SCORE)
    if bad.size:
        raise AsvtkError(
            f"{path}: {bad.size} of {scores.size} scores lie beyond {LARGEST_SCORE:g}: "
            f"{listing(f'{utterances[row]} ({scores[row]})' for row in bad)}. No system gives such scores; "
            "find out where they come from, or scale the file's scores down."
        )


def _pairs(table: Columns, utterances: np.ndarray | Names, speaker: int) -> np.ndarray | Names:
    """``speaker utterance`` where utterances stand with several speakers, as in trials of verification."""
    if isinstance(utterances, Names) and utterances.are_unique():
        return utterances
    names = np.asarray(utterances).tolist()
    if len(set(names)) == len(names) or "" in names:
        return utterances
    pairs = [f"{who} {name}" for who, name in zip(table.fields[speaker], names, strict=True)]
    return _array(pairs) if len(set(pairs)) == len(pairs) else utterances


def _refuse_faulty_names(table: Columns, utterances: np.ndarray | Names) -> None:
    if isinstance(utterances, Names) and utterances.are_unique():  # and none is empty
        return
    names = set(utterances.tolist())
    if "" in names:
        row = int(np.flatnonzero(utterances == "")[0])
        raise AsvtkError(f"{table.where(row)}: the utterance has no name")
    if len(names) == utterances.size:
        return
    repeated = _repeated(utterances.tolist())
    rows = np.flatnonzero(utterances == repeated[0])
    raise AsvtkError(
        f"{table.where(rows[1])}: {shown(repeated[0])} stands there and in line {table.lines[rows[0]]} "
        "already. "
        f"A trial counts once; {len(repeated)} utterances stand twice or more: {listing(repeated)}. "
        "Was one score file appended to another?"
    )


def _repeated(names: list) -> list:
    seen = set()
    return list(dict.fromkeys(name for name in names if name in seen or seen.add(name)))


def _read_keys(table: Columns, place: int, labels: dict):
    """Is each trial bona fide, bool (n,); and its class in speaker verification, or None."""
    known = KEY_WORDS | table.labels | labels
    different, codes = factorize(table.array(place))
    meaning = {word: _meaning(word, known) for word in different}
    if None not in meaning.values():
        classes = None
        if {"target", "nontarget"} & set(meaning.values()):
            _refuse_mixed(table, table.fields[place], meaning)
            classes = _array([meaning[word] or "spoof" for word in different])[codes]
        return np.array([bool(meaning[word]) for word in different])[codes], classes
    words = table.fields[place]
    row = next(row for row, word in enumerate(words) if meaning[word] is None)
    word, meant = words[row], {"bonafide": _MEANT_BONAFIDE, "spoof": _MEANT_SPOOF}
    nearest = next((ours for ours, theirs in meant.items() if word.lower() in theirs), None)
    raise AsvtkError(
        f"{table.where(row)}: the key {shown(word)} is unknown; expected bonafide (or bona-fide) or spoof. "
        + (f"Did you mean {nearest}? " if nearest else "")
        + "Say what the words mean: --labels bonafide=WORD,spoof=WORD"
    )


def _refuse_mixed(table: Columns, words: list, meaning: dict) -> None:
    row = next((row for row, word in enumerate(words) if meaning[word] is True), None)
    if row is not None:
        raise AsvtkError(
            f"{table.where(row)}: the key {shown(words[row])} does not say whether the speaker is the "
            "target, as keys of other lines do; expected target, nontarget or spoof in all of them"
        )


def _meaning(word: str, known: dict) -> bool | str | None:
    """Is a word of the key bona fide, or of which class? Numbers are compared as such: 1.0 is 1."""
    if word in known or not is_number(word):
        return known.get(word)
    number = parse_float(word)
    return next(
        (said for name, said in known.items() if is_number(name) and parse_float(name) == number), None
    )


def _read_attacks(table: Columns, attacks: np.ndarray, trials: Trials) -> np.ndarray:
    """Attack ids with ``-`` for none; an attack on bona fide speech is a quirk (A00) or a fault."""
    if not isinstance(attacks, Factored) and "" in attacks:  # cut at blanks, a field is never empty
        attacks = np.where(attacks == "", "-", attacks).astype(object)
    if trials.bonafide is None:
        return attacks
    written = factorize(attacks[trials.bonafide])[0]
    if not set(written) <= {*_NO_ATTACK}:
        of_bonafide = attacks[trials.bonafide].tolist()
        fault = next(place for place, name in enumerate(of_bonafide) if name not in _NO_ATTACK)
        row = np.flatnonzero(trials.bonafide)[fault]
        raise AsvtkError(
            f"{table.where(row)}: {trials.utterances[row]} is bona fide but has attack {attacks[row]}; "
            "expected `-`. Is the key wrong, or the order of the columns?"
        )
    if quirks := [name for name in written if name != "-"]:
        trials.notes.append(f"{trials.source}: attack id {listing(quirks)} on bona fide trials read as `-`")
        attacks = np.where(trials.bonafide, "-", attacks).astype(object)
    return attacks
