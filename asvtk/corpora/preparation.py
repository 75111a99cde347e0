"""Stage 1: one set of a corpus -> a Kaldi data directory."""

import hashlib
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from asvtk.corpora.audio_files import AudioFiles
from asvtk.corpora.corpus import Corpus, audio_folder, find_path
from asvtk.corpora.facts import load_facts
from asvtk.corpora.trials import TrialTable, read_trials
from asvtk.io.atomic import atomic_path, write_text
from asvtk.io.columns import read_columns
from asvtk.io.corpus_card import CorpusCard
from asvtk.io.datadir import BONAFIDE, SPOOF, DataDirectory
from asvtk.io.datadir_rules import FILES, unsafe_ids
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.stamps import file_digest, read_stamp, write_stamp
from asvtk.io.tables import write_rows, write_table
from asvtk.io.text import read_lines

__all__ = ["difference_from_official", "find_sets", "prepare_key", "prepare_set"]


def find_sets(corpus: Corpus, with_audio: bool = True) -> list[str]:
    """Which sets of a corpus are there, of those that are prepared where nobody says which.

    Args:
        with_audio: whether their audio must be, or else their lists of trials.

    Raises:
        AsvtkError: none is.
    """
    described = corpus.description.sets
    usual = [name for name, of_set in described.items() if of_set.default]
    found = [name for name in usual if (_has_audio if with_audio else _has_lists)(corpus, name)]
    if not found:
        what = audio_folder(corpus, usual[0]) if with_audio else corpus.folder
        raise AsvtkError(f"{what}: holds none of the sets {listing(usual)}; unpack the corpus again")
    return found


def _has_audio(corpus: Corpus, name: str) -> bool:
    folder = audio_folder(corpus, name)
    return folder is not None and folder.is_dir()


def _has_lists(corpus: Corpus, name: str) -> bool:
    try:
        return any(
            find_path(corpus, name, trials.table, "protocol") for trials in corpus.description.lists(name)
        )
    except (AsvtkError, IndexError):  # by folders of audio
        return _has_audio(corpus, name)


def prepare_set(
    corpus: Corpus,
    name: str,
    out,
    jobs: int = 4,
    force: bool = False,
    skip_bad: bool = False,
    prefix: str = "",
) -> DataDirectory:
    """Write the data directory of one set, unless it stands there already and the audio is the same.

    Standard error names the files that have changed since.

    Args:
        corpus: what ``open_corpus`` found.
        name: of the set.
        out: the data directory to write.
        jobs: threads that read audio headers, and convert audio where the corpus has any kind.
        force: write it even if it is up to date or was made from another corpus.
        skip_bad: leave out utterances whose audio is missing or cannot be read; ``skipped`` lists them.
        prefix: of the utterance ids, for corpora that are used together and share ids.

    Raises:
        AsvtkError: a malformed list of trials, missing or unusable audio (all of it is counted), or a data
            directory made from other trials stands in the way.
    """
    out = Path(out)
    trials = _prefixed(read_trials(corpus, name), prefix)
    legend, asv = _find_legend(corpus), _AsvScores(corpus, name)
    inputs = _inputs(corpus, name, trials) | {
        "asv_scores_sha256": asv.digest,
        "attacks_sha256": file_digest(legend) if legend else None,
        "skip_bad": skip_bad,
    }
    stamp = read_stamp(out / ".done")
    renewed = stamp == inputs and not force
    _refuse_other(out, stamp, inputs, force)
    wav = trials.table(trials.wav)
    files = AudioFiles(wav, out, trust=not force, convert=corpus.description.audio == "any")
    _refuse_missing(files, corpus, name, trials, skip_bad)
    data = _inspect(files, trials, corpus, name, out, jobs, skip_bad)
    if renewed and not _tell_changes(data, DataDirectory.read(out)):
        if files.changed:
            files.save()
            write_stamp(out / ".done", inputs)
        return DataDirectory.read(out)
    kinds = _attack_kinds(legend, corpus.description.attacks, set(data.attack.values()))
    (out / ".done").unlink(missing_ok=True)
    data.write()
    columns = {
        name: trials.table(values) for name, values in trials.columns.items() if _says_something(values)
    }
    columns |= files.formats()
    _remove_columns(out, columns)
    for column, values in columns.items():
        write_table(out / f"utt2{column}", {utterance: values[utterance] for utterance in data.wav})
    write_table(out / "attack2kind", kinds)
    _write_skipped(out, files.faults)
    asv.copy(out)
    _card(corpus, name).write(out)
    files.save()
    write_stamp(out / ".done", inputs)
    return data


def prepare_key(corpus: Corpus, name: str, out, force: bool = False, prefix: str = "") -> tuple[int, int]:
    """Write the tables of a data directory that need no audio: enough to evaluate scores, not to make any.

    Returns:
        Number of bona fide and of spoof trials.

    Raises:
        AsvtkError: as ``prepare_set``, or a data directory with audio is there.
    """
    out = Path(out)
    trials = _prefixed(read_trials(corpus, name, with_audio=False), prefix)
    inputs = _inputs(corpus, name, trials)
    _refuse_other(out, read_stamp(out / ".key.done"), inputs, force)
    if (out / "wav.scp").exists():
        raise AsvtkError(f"{out}: holds a data directory with audio already; name another folder for the key")
    columns = {name: values for name, values in trials.columns.items() if _says_something(values)}
    _remove_columns(out, columns)
    columns |= {"speaker": trials.speaker, "label": trials.label, "attack": trials.attack}
    for table, values in columns.items():
        write_rows(out / f"utt2{table}", trials.utterances, values)
    legend = _find_legend(corpus)
    write_table(out / "attack2kind", _attack_kinds(legend, corpus.description.attacks, set(trials.attack)))
    _AsvScores(corpus, name).copy(out)
    _card(corpus, name).write(out)
    write_stamp(out / ".key.done", inputs)
    return trials.label.count(BONAFIDE), trials.label.count(SPOOF)


def difference_from_official(corpus: Corpus, found: dict[str, tuple[int, int]]) -> str | None:
    """One line that says how sets differ from the official ones; None when they do not, as far as is known.

    Args:
        found: set -> number of bona fide and of spoof trials.
    """
    title = corpus.description.title
    official = {name: corpus.description.official_set(corpus.version, name) for name in found}
    if all(official[name].agrees(*counts) for name, counts in found.items()):
        return None
    ours = ", ".join(f"{name} {bonafide}+{spoof}" for name, (bonafide, spoof) in found.items())
    theirs = ", ".join(f"{name} {_official(of)}" for name, of in official.items())
    return (
        f"not the official {title} database: bona fide + spoof trials are {ours} here and "
        f"{theirs} there; never quote its results as {title} results"
    )


def _official(of_set) -> str:
    if None in (of_set.bonafide, of_set.spoof):
        return "?" if of_set.trials is None else f"{of_set.trials} in all"
    return f"{of_set.bonafide}+{of_set.spoof}"


def _card(corpus: Corpus, name: str) -> CorpusCard:
    description = corpus.description
    official = description.official_set(corpus.version, name)
    return CorpusCard(
        corpus=corpus.name,
        title=description.title,
        version=corpus.version,
        set=name,
        bonafide=official.bonafide,
        spoof=official.spoof,
        trials=official.trials,
        licence=description.licence,
        by=description.by,
        tables=description.tables,
        metrics=description.metrics,
    )


def _inputs(corpus: Corpus, name: str, trials: TrialTable) -> dict:
    return {
        "corpus": corpus.name,
        "version": corpus.version,
        "split": name,
        "protocol": str(trials.lists[0]),
        "trials": _digest(
            trials.utterances, trials.speaker, trials.label, trials.attack, *trials.columns.values()
        ),
        "audio": _digest(trials.wav),
    }


def _digest(*columns: list[str]) -> str:
    sha = hashlib.sha256()
    for words in columns:
        sha.update("\n".join(words).encode(errors="surrogateescape") + b"\0")
    return sha.hexdigest()


def _refuse_other(out: Path, stamp: dict | None, inputs: dict, force: bool) -> None:
    if stamp and "trials" in stamp and stamp["trials"] != inputs["trials"] and not force:
        raise AsvtkError(
            f"{out}: was made from {stamp.get('protocol')}, which lists other trials than "
            f"{inputs['protocol']}; name another --datadir, --dumpdir and --expdir for this corpus, "
            "or give --force to replace it"
        )


def _prefixed(trials: TrialTable, prefix: str) -> TrialTable:
    if not prefix:
        return trials
    if unsafe_ids([prefix]):
        raise AsvtkError(
            f"prefix {prefix!r} of utterance ids: expected printable characters without '/' or blanks"
        )
    return replace(
        trials,
        utterances=[prefix + utterance for utterance in trials.utterances],
        # who has no speaker is one of their own
        speaker=[
            prefix + speaker if speaker == utterance else speaker
            for utterance, speaker in zip(trials.utterances, trials.speaker, strict=True)
        ],
    )


def _refuse_missing(files: AudioFiles, corpus: Corpus, name: str, trials: TrialTable, skip_bad: bool) -> None:
    folder = audio_folder(corpus, name)
    if not folder.is_dir():
        raise AsvtkError(f"{folder}: no such folder; the trials of {trials.lists[0]} need its audio")
    if files.missing and not skip_bad:
        suffix = Path(files.files[files.missing[0]]).suffix or "audio"
        raise AsvtkError(
            f"{folder}: {len(files.missing)} of the {len(files.utterances)} utterances in {trials.lists[0]} "
            f"have no {suffix} file: {listing(files.missing)}; unpack the database again, or do without them "
            "(--skip-bad)"
        )


def _inspect(files, trials: TrialTable, corpus: Corpus, name: str, out: Path, jobs: int, skip_bad: bool):
    entries = files.inspect(jobs, f"{corpus.name} {name}", skip_bad)
    if not entries:
        raise AsvtkError(
            f"{trials.lists[0]}: none of the audio can be used: {listing(files.faults.values(), 3)}"
        )
    speaker, label, attack = map(trials.table, (trials.speaker, trials.label, trials.attack))
    return DataDirectory(
        path=out,
        wav={utterance: entry.path for utterance, entry in entries.items()},
        speaker={utterance: speaker[utterance] for utterance in entries},
        label={utterance: label[utterance] for utterance in entries},
        attack={utterance: attack[utterance] for utterance in entries},
        num_samples={utterance: entry.num_samples for utterance, entry in entries.items()},
        md5={utterance: entry.md5 for utterance, entry in entries.items()},
    )


def _tell_changes(data: DataDirectory, before: DataDirectory) -> bool:
    """Whether the audio is not what a finished data directory was made of; standard error says of which."""
    others = [
        u
        for u in data.utterances
        if (data.num_samples[u], data.md5[u]) != (before.num_samples.get(u), before.md5.get(u))
    ]
    if others:
        print(
            f"asvtk: warning: {data.path}: the audio of {listing(others, 3)} is not what it was in stage 1; "
            "this is written anew, and what was computed of the old audio must be computed again",
            file=sys.stderr,
        )
    return bool(others) or data.utterances != before.utterances


def _remove_columns(out: Path, columns) -> None:
    """Columns of what stood there before."""
    for path in out.glob("utt2*"):
        if path.name not in FILES and path.name.removeprefix("utt2") not in columns:
            path.unlink()


def _says_something(values: list[str]) -> bool:
    return any(value != "-" for value in values)


def _write_skipped(out: Path, faults: dict[str, str]) -> None:
    if faults:
        write_table(out / "skipped", {utterance: " ".join(why.split()) for utterance, why in faults.items()})
    else:
        (out / "skipped").unlink(missing_ok=True)


def _find_legend(corpus: Corpus) -> Path | None:
    """The corpus's own ``attacks.tsv``, also beside a folder as LA/ in it."""
    places = [corpus.folder / "attacks.tsv"]
    if corpus.folder.name in corpus.description.inside:
        places.append(corpus.folder.parent / "attacks.tsv")
    return next((place for place in places if place.is_file()), None)


def _attack_kinds(legend: Path | None, database: str, attacks: set[str]) -> dict[str, str]:
    """attack -> TTS, VC, vocoder ..., by the corpus's own legend or else by the official database's."""
    kinds = {}
    if legend is None and database:
        kinds = {attack: facts["kind"] for attack, facts in load_facts(database)["attacks"].items()}
    for number, line in enumerate(read_lines(legend) if legend else (), 1):
        fields = [field.strip(" ") for field in line.split("\t")]
        if fields == [""]:
            continue
        if len(fields) < 2 or not all(fields[:2]):
            raise AsvtkError(
                f"{legend}:{number}: expected 'attack kind system', parted by tabs; found {line[:100]!r}"
            )
        attack, kind = fields[:2]
        if kinds.setdefault(attack, kind) != kind:
            raise AsvtkError(f"{legend}:{number}: {attack} is {kind} here, and {kinds[attack]} before")
    return {attack: kinds[attack] for attack in attacks if attack in kinds}


class _AsvScores:
    """Scores of the organisers' speaker verification, put beside the trials they belong to."""

    def __init__(self, corpus: Corpus, name: str):
        self._where = dict(corpus.description.sets[name].where)
        self._names = next(corpus.description.lists(name)).columns.in_order
        described = corpus.description.asv_scores
        self._scores = self._key = None
        if described is not None:
            try:
                self._scores = find_path(corpus, name, described.scores, "ASV scores")
                self._key = find_path(corpus, name, [described.key], "ASV key") if described.key else None
            except AsvtkError:  # t-DCF is not to be had then
                self._scores = None

    @property
    def digest(self) -> str | None:
        return "".join(file_digest(path) for path in (self._scores, self._key) if path) or None

    def copy(self, out: Path) -> None:
        """Dev never meets eval's, and a subset never another's."""
        for source, target in ((self._scores, out / "asv_scores"), (self._key, out / "asv_key")):
            if source is None or self._scores is None:
                target.unlink(missing_ok=True)  # those of another corpus
            elif source is self._key:
                write_text(target, self._subset(source))
            else:
                with atomic_path(target) as temporary:
                    shutil.copyfile(source, temporary)

    def _subset(self, key: Path) -> str:
        table = read_columns(key)
        if len(table.fields) != len(self._names):
            raise AsvtkError(f"{key}: {len(table.fields)} columns, expected {' '.join(self._names)}")
        wanted = [(self._names.index(column), value) for column, value in self._where.items()]
        rows = zip(*table.fields, strict=True)
        kept = (row for row in rows if all(row[place] == value for place, value in wanted))
        return "".join(" ".join(row) + "\n" for row in kept)
