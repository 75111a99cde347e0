"""Protocols and keys: which trials there are, and what is true of them.

Labels come from the protocol of a database, from a published key, or from a Kaldi data directory;
`label` joins them to scores, and refuses when the two do not name the same trials.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from asvtk.io.columns import KEY_WORDS, Columns, read_columns
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.factors import match_names
from asvtk.io.scores import ScoreTable, Trials, trials_from_columns

__all__ = ["label", "read_protocol"]

#: Columns of protocols without a header. The first form of the right length whose key is a key is taken.
_FORMS = [
    form.split()
    for form in (
        "utterance key",
        "utterance attack key score",  # a labelled score file
        "speaker utterance environment attack key",  # ASVspoof 2019; 5, track 2: gender for environment
        "speaker utterance environment attack key score",  # scores of the organisers' baselines of 2019
        "speaker utterance codec transmission attack key",  # In-the-Wild, as 2021 cut behind the key
        "speaker utterance codec transmission attack key trim subset",  # ASVspoof 2021 LA
        "speaker utterance compression database attack key trim subset vocoder task team gender_pair "
        "language",  # ASVspoof 2021 DF
        "speaker utterance asv_room asv_mic distance_to_asv attacker_room attacker_mic attacker_device "
        "attacker_to_speaker key trim subset",  # ASVspoof 2021 PA
        "speaker utterance gender codec codec_q codec_seed attack_tag attack key tmp",  # ASVspoof 5
    )
]
#: files of a data directory that tell nothing of its trials
_NO_COLUMNS = ("utt2label", "utt2spk", "utt2md5", "utt2num_samples", "utt2uniq", "utt2dur", "utt2num_frames")
_AUDIO_SUFFIXES = (".flac", ".wav", ".mp3", ".m4a", ".ogg", ".opus")


def read_protocol(
    path, columns: dict | None = None, labels: dict | None = None, only: set | None = None
) -> Trials:
    """Read the trials of a protocol, a key, or a Kaldi data directory.

    Forms: ASVspoof 2019, the keys of 2021 (LA, DF and PA) and of ASVspoof 5 as they are published;
    ``utterance key``; a labelled score file; any file with a header of known names, as In-the-Wild's
    ``meta.csv``, or with told columns; a folder with ``utt2label``, whose files
    ``utt2NAME`` are columns.

    Args:
        columns, labels: as in `asvtk.io.scores.read_scores`.
        only: names of further columns to take, to save time; None, or one that is not there: all.

    Raises:
        AsvtkError: unreadable file, no key found, a trial twice, files that disagree.
    """
    if Path(path).is_dir():
        return _read_data_directory(Path(path))
    table = read_columns(path, columns)
    names = table.names
    if names is None:
        names = _names_by_position(table.first(), table.where(0), KEY_WORDS | (labels or {}))
    if "utterance" not in names or "key" not in names:
        raise AsvtkError(
            f"{path}: expected columns utterance and key; there are {listing(names)}. Say which they are: "
            "--protocol-columns utterance=NAME,key=NAME"
        )
    return trials_from_columns(table, names, labels, only)


def _names_by_position(first: list, where: str, words: dict) -> list:
    for form in _FORMS:
        if len(form) == len(first) and first[form.index("key")] in words:
            return form
    raise AsvtkError(
        f"{where}: `{listing(first)}` is no line of a protocol that asvtk knows. Expected the key "
        "(bonafide or spoof) in column 5 (2019: speaker utterance - attack key), in column 6 (2021: speaker "
        "utterance codec transmission attack key ...), or a header naming utterance and key. Other "
        "words for the key are told by --labels bonafide=WORD,spoof=WORD, other columns by "
        "--protocol-columns utterance=1,key=2"
    )


def label(table: ScoreTable, protocol: Trials, keep: np.ndarray | None = None) -> ScoreTable:
    """Give scores the labels and columns of a protocol, in the protocol's order.

    Where no name of one file stands in the other, names are compared without folder and audio suffix.

    Args:
        keep: bool (n,), which trials of the protocol to take; scores of the others are left out, or may be
            missing. None = all.

    Raises:
        AsvtkError: a trial of the protocol has no score, a score has no trial, the two files disagree
            about a key, or one of them does not name its trials; names the utterances.
    """
    for trials, other in ((table, protocol), (protocol, table)):
        if not trials.named:
            raise AsvtkError(
                f"{trials.source} does not name its trials, so they cannot be matched with those of "
                f"{other.source}; say which column does: --columns utterance=NAME"
            )
    wanted = protocol if keep is None else protocol.subset(keep)
    order, notes = _order(table, protocol, wanted, keep)
    # The names are the protocol's: those of a large file are not put in order for nothing.
    scored = table if order is None else replace(table, utterances=np.arange(table.scores.size)).subset(order)
    if scored.bonafide is not None and wanted.bonafide is not None:
        differing = wanted.utterances[scored.bonafide != wanted.bonafide]
        if differing.size:
            raise AsvtkError(
                f"{table.source} and {protocol.source} disagree about the key of {differing.size} trials: "
                f"{listing(differing)}. One of the two files is wrong."
            )
    return replace(
        scored,
        utterances=wanted.utterances,
        bonafide=wanted.bonafide,
        attacks=scored.attacks if wanted.attacks is None else wanted.attacks,
        classes=scored.classes if wanted.classes is None else wanted.classes,
        columns={**scored.columns, **wanted.columns},
        notes=[*table.notes, *protocol.notes, *notes],
    )


def _order(table: ScoreTable, protocol: Trials, wanted: Trials, keep: np.ndarray | None):
    """Index (n,) of the score of each wanted trial, None when they stand in order; and notes."""
    place = match_names(table.utterances, protocol.utterances)
    if place is not None:
        return place if wanted is protocol else place[keep], []
    if np.array_equal(table.utterances, wanted.utterances):
        return None, []
    scored, trials, everything = (each.utterances.tolist() for each in (table, wanted, protocol))
    notes = []
    if not set(scored) & set(everything):
        plain = [list(map(_plain, names)) for names in (scored, trials, everything)]
        if set(plain[0]) & set(plain[2]) and all(len(set(names)) == len(names) for names in plain):
            notes = [f"{table.source} and {protocol.source}: names compared without folder and audio suffix"]
            scored, trials, everything = plain
    row_of = {utterance: row for row, utterance in enumerate(scored)}
    missing = [utterance for utterance in trials if utterance not in row_of]
    extra = row_of.keys() - set(everything)
    if not missing and not extra:
        return np.array([row_of[utterance] for utterance in trials], dtype=np.intp), notes
    faults = []
    if missing:
        faults.append(f"{len(missing)} of its {len(trials)} trials have no score: {listing(missing)}")
    if extra:
        faults.append(f"{len(extra)} scores belong to no trial of it: {listing(sorted(extra))}")
    hint = "Score the missing trials, or name the protocol of the set that was scored."
    if missing and extra and {*map(_plain, missing)} & {*map(_plain, extra)}:
        hint = "Some names differ by a folder or an audio suffix only: write them alike in both files."
    raise AsvtkError(f"{table.source} does not fit {protocol.source}: {'; '.join(faults)}. {hint}")


def _plain(name: str) -> str:
    """The name of an audio file without its folder and suffix."""
    name = name.rpartition("/")[2]
    return next((name.removesuffix(suffix) for suffix in _AUDIO_SUFFIXES if name.endswith(suffix)), name)


def _read_data_directory(folder: Path) -> Trials:
    labels = _read_table(folder / "utt2label")
    utterances = labels.fields[0]
    columns = {"utterance": utterances, "key": labels.fields[1]}
    for path in sorted(folder.glob("utt2*")):
        name = path.name.removeprefix("utt2")
        if path.name not in _NO_COLUMNS and name.isidentifier():
            table = _read_table(path)
            if table.fields[0] != utterances:
                differing = sorted(set(table.fields[0]) ^ set(utterances))
                raise AsvtkError(
                    f"{path} and {folder / 'utt2label'} do not list the same utterances in the same order"
                    + (f"; only one has: {listing(differing)}" if differing else "")
                    + ". Run `asvtk validate` on the folder, or stage 1 again."
                )
            columns[name] = table.fields[1]
    return trials_from_columns(labels._replace(fields=list(columns.values())), list(columns))


def _read_table(path: Path) -> Columns:
    table = read_columns(path, kaldi=True)
    if len(table.fields) != 2:
        raise AsvtkError(f"{table.where(0)}: {len(table.fields)} fields; expected `utterance value`")
    return table
