"""Protocols and keys: which trials there are, and what is true of them.

Labels come from the protocol of a database, from a published key, or from a Kaldi data directory;
`label` joins them to scores, and refuses when the two do not name the same trials.
"""

from pathlib import Path

import numpy as np

from asvtk.io.columns import read_columns
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.scores import BONAFIDE_WORDS, ScoreTable, Trials, trials_from_columns

__all__ = ["label", "read_protocol"]

#: Number of fields -> names of the columns of a protocol without a header; 6 also stands for more.
_FORMS = {
    2: ["utterance", "key"],
    4: ["utterance", "attack", "key", "score"],  # a labelled score file
    5: ["speaker", "utterance", "environment", "attack", "key"],  # ASVspoof 2019
    # ASVspoof 2021; In-the-Wild's key is its first six columns
    6: ["speaker", "utterance", "codec", "transmission", "attack", "key", "trim", "subset", "vocoder"],
}
_AUDIO_SUFFIXES = (".flac", ".wav")


def read_protocol(path) -> Trials:
    """Read the trials of a protocol, a key, or a Kaldi data directory.

    Forms: ASVspoof 2019 ``speaker utterance - attack key``; ASVspoof 2021 ``speaker utterance codec
    transmission attack key trim subset ...``, also cut after the key as In-the-Wild's is; a labelled
    score file; any file with a header of known names; a folder with ``utt2label`` and, if there,
    ``utt2attack`` and ``utt2speaker``.

    Raises:
        AsvtkError: unreadable file, no key found, a trial twice, files that disagree.
    """
    if Path(path).is_dir():
        return _read_data_directory(Path(path))
    table = read_columns(path)
    names = table.names
    if names is None:
        names = _names_by_position([str(column[0]) for column in table.fields], table.where(0))
    if "utterance" not in names or "key" not in names:
        raise AsvtkError(f"{path}: expected columns utterance and key; the header names {', '.join(names)}")
    return trials_from_columns(table, names)


def _names_by_position(first: list, where: str) -> list:
    names = list(_FORMS.get(min(len(first), 6), []))[: len(first)]
    if "key" not in names or first[names.index("key")] not in (*BONAFIDE_WORDS, "spoof"):
        raise AsvtkError(
            f"{where}: `{' '.join(first)}` is the line of no protocol that asvtk knows. Expected the key "
            "(bonafide or spoof) in column 5 (2019: speaker utterance - attack key) or in column 6 (2021: "
            "speaker utterance codec transmission attack key ...), or a header naming utterance and key."
        )
    return names + [f"column{place}" for place in range(len(names) + 1, len(first) + 1)]


def label(table: ScoreTable, protocol: Trials) -> ScoreTable:
    """Give scores the labels and columns of a protocol, in the protocol's order.

    Raises:
        AsvtkError: a trial of the protocol has no score, a score has no trial, or the two files
            disagree about a key; names the utterances.
    """
    order = _order(table, protocol)
    scored = table.subset(order) if order is not None else table
    if scored.bonafide is not None:
        differing = protocol.utterances[scored.bonafide != protocol.bonafide]
        if differing.size:
            raise AsvtkError(
                f"{table.source} and {protocol.source} disagree about the key of {differing.size} trials: "
                f"{listing(differing)}. One of the two files is wrong."
            )
    return ScoreTable(
        utterances=protocol.utterances,
        bonafide=protocol.bonafide,
        attacks=scored.attacks if protocol.attacks is None else protocol.attacks,
        columns={**scored.columns, **protocol.columns},
        source=table.source,
        notes=[*table.notes, *protocol.notes],
        scores=scored.scores,
    )


def _order(table: ScoreTable, protocol: Trials) -> np.ndarray | None:
    """Index (n,) of the score of each trial of the protocol; None when they stand in order."""
    if np.array_equal(table.utterances, protocol.utterances):
        return None
    row_of = {utterance: row for row, utterance in enumerate(table.utterances.tolist())}
    trials = protocol.utterances.tolist()
    missing = [utterance for utterance in trials if utterance not in row_of]
    extra = list(row_of.keys() - set(trials))
    if not missing and not extra:
        return np.array([row_of[utterance] for utterance in trials])
    faults = []
    if missing:
        faults.append(f"{len(missing)} of its {len(trials)} trials have no score: {listing(missing)}")
    if extra:
        faults.append(f"{len(extra)} scores belong to no trial of it: {listing(sorted(extra))}")
    hint = "Score the missing trials, or name the protocol of the set that was scored."
    if missing and extra and missing[0].endswith(_AUDIO_SUFFIXES) != extra[0].endswith(_AUDIO_SUFFIXES):
        hint = "One file names the trials with an audio suffix, the other without: take it off."
    raise AsvtkError(f"{table.source} does not fit {protocol.source}: {'; '.join(faults)}. {hint}")


def _read_data_directory(folder: Path) -> Trials:
    def values(name: str, utterances=None):
        path = folder / name
        if utterances is not None and not path.exists():
            return None
        table = read_columns(path)
        if len(table.fields) != 2:
            raise AsvtkError(f"{table.where(0)}: {len(table.fields)} fields; expected `utterance value`")
        if utterances is not None and not np.array_equal(table.fields[0], utterances):
            differing = sorted(set(table.fields[0].tolist()) ^ set(utterances.tolist()))
            raise AsvtkError(
                f"{path} and {folder / 'utt2label'} do not list the same utterances in the same order"
                + (f"; only one has: {listing(differing)}" if differing else "")
                + ". Run `asvtk validate` on the folder, or stage 1 again."
            )
        return table

    labels = values("utt2label")
    utterances = labels.fields[0]
    attacks, speakers = values("utt2attack", utterances), values("utt2speaker", utterances)
    columns = dict(utterance=utterances, key=labels.fields[1])
    if attacks is not None:
        columns["attack"] = attacks.fields[1]
    if speakers is not None:
        columns["speaker"] = speakers.fields[1]
    return trials_from_columns(labels._replace(fields=list(columns.values())), list(columns))
