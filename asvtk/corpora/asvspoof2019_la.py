"""The ASVspoof 2019 logical-access database, in the layout in which it is distributed.

    LA/ASVspoof2019_LA_cm_protocols/ASVspoof2019.LA.cm.{train.trn,dev.trl,eval.trl}.txt
    LA/ASVspoof2019_LA_{train,dev,eval}/flac/<utterance>.flac
    LA/ASVspoof2019_LA_asv_scores/ASVspoof2019.LA.asv.{dev,eval}.gi.trl.scores.txt      (optional)

A protocol line is ``SPEAKER UTTERANCE - ATTACK KEY``. Any corpus in this layout is taken, whatever
its counts; one with other spoofing systems says so in ``attacks.tsv`` (columns attack, kind, system),
in LA/ or beside it. Source: Wang et al., "ASVspoof 2019: A large-scale public database of synthesized,
converted and replayed speech", Computer Speech & Language 64, 2020, arXiv 1911.01601.
"""

import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from asvtk.corpora.audio_files import AudioFiles
from asvtk.corpora.facts import load_facts
from asvtk.io.atomic import atomic_path
from asvtk.io.datadir import BONAFIDE, LABELS, NO_ATTACK, DataDirectory
from asvtk.io.datadir_rules import is_safe_id
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.stamps import file_digest, read_stamp, write_stamp
from asvtk.io.tables import write_table
from asvtk.io.text import read_lines, split_blanks

__all__ = ["SPLITS", "difference_from_official", "find_corpus", "find_splits", "prepare_split"]

#: line ends, and bytes that are no UTF-8 as Python keeps them
_UNWRITABLE = re.compile(r"[\n\r\ud800-\udfff]")
SPLITS = ("train", "dev", "eval")

_PROTOCOLS = "ASVspoof2019_LA_cm_protocols"
_PROTOCOL = {"train": "train.trn", "dev": "dev.trl", "eval": "eval.trl"}


def find_corpus(folder) -> Path:
    """The folder that holds the protocols: ``folder`` itself or ``folder/LA``.

    Raises:
        AsvtkError: there is none, or its path cannot stand in a wav.scp.
    """
    folder = Path(folder)
    if _UNWRITABLE.search(str(folder.absolute())):
        raise AsvtkError(
            f"{str(folder.absolute())!r}: a path that has a line end or is not UTF-8 cannot stand in "
            "wav.scp; rename it, or make a link to it: ln -s"
        )
    if not folder.is_dir():
        raise AsvtkError(f"{folder}: no such folder; --corpus is the LA/ folder of the unpacked database")
    for candidate in (folder, folder / "LA"):
        if (candidate / _PROTOCOLS).is_dir():
            return candidate.absolute()
    raise AsvtkError(
        f"{folder}: holds no {_PROTOCOLS}/; --corpus is the LA/ folder of the unpacked database, "
        f"with {_PROTOCOLS}/ and ASVspoof2019_LA_{{train,dev,eval}}/flac/ in it"
    )


def find_splits(corpus: Path) -> list[str]:
    """Which of train, dev and eval a corpus has: those whose folder of audio is there.

    Raises:
        AsvtkError: none is.
    """
    found = [split for split in SPLITS if _audio_folder(corpus, split).is_dir()]
    if not found:
        raise AsvtkError(f"{corpus}: holds none of ASVspoof2019_LA_{{train,dev,eval}}/flac/; unpack it again")
    return found


def prepare_split(corpus: Path, split: str, out, jobs: int = 4, force: bool = False) -> DataDirectory:
    """Write the data directory of one split, unless it stands there already and the audio is the same.

    Standard error names the files that have changed since.

    Args:
        corpus: the folder that ``find_corpus`` returned.
        split: ``train``, ``dev`` or ``eval``.
        out: the data directory to write.
        jobs: threads that read audio headers.
        force: write it even if it is up to date or was made from another corpus.

    Raises:
        AsvtkError: a malformed protocol, missing or unusable audio (all of it is listed), or a data
            directory made from other protocols stands in the way.
    """
    out = Path(out)
    protocol = _find_protocol(corpus, split)
    audio = _audio_folder(corpus, split)
    asv_scores = corpus / "ASVspoof2019_LA_asv_scores" / f"ASVspoof2019.LA.asv.{split}.gi.trl.scores.txt"
    legend = _find_legend(corpus)
    inputs = {
        "split": split,
        "protocol": str(protocol),
        "protocol_sha256": file_digest(protocol),
        "audio": str(audio),
        "asv_scores_sha256": file_digest(asv_scores) if asv_scores.is_file() else None,
        "attacks_sha256": file_digest(legend) if legend else None,
    }
    stamp = read_stamp(out / ".done")
    if stamp == inputs and not force:
        return _renew(DataDirectory.read(out), protocol, inputs, jobs)
    if stamp and stamp.get("protocol_sha256") != inputs["protocol_sha256"] and not force:
        raise AsvtkError(
            f"{out}: was made from {stamp.get('protocol')}, which lists other trials than {protocol}; "
            "name another --datadir, --dumpdir and --expdir for this corpus, or give --force to replace it"
        )
    trials = _read_protocol(protocol)
    wav = {utterance: str(audio / f"{utterance}.flac") for utterance in trials}
    files = AudioFiles(wav, out, trust=not force)
    num_samples, md5 = _inspect(files, audio, protocol, jobs)
    data = DataDirectory(
        path=out,
        wav=wav,
        speaker={utterance: speaker for utterance, (speaker, _, _) in trials.items()},
        label={utterance: label for utterance, (_, _, label) in trials.items()},
        attack={utterance: attack for utterance, (_, attack, _) in trials.items()},
        num_samples=num_samples,
        md5=md5,
    )
    kinds = _attack_kinds(legend, set(data.attack.values()))
    (out / ".done").unlink(missing_ok=True)
    data.write()
    write_table(out / "attack2kind", kinds)
    _copy_asv_scores(asv_scores, data)
    files.save()
    write_stamp(out / ".done", inputs)
    return data


def _renew(data: DataDirectory, protocol: Path, inputs: dict, jobs: int) -> DataDirectory:
    """A finished data directory, written anew if its audio has changed since."""
    files = AudioFiles(data.wav, data.path)
    num_samples, md5 = _inspect(files, Path(inputs["audio"]), protocol, jobs)
    others = [u for u in data.utterances if (num_samples[u], md5[u]) != (data.num_samples[u], data.md5[u])]
    if others:
        print(
            f"asvtk: warning: {data.path}: the audio of {listing(others, 3)} is not what it was in stage 1; "
            "this is written anew, and what was computed of the old audio must be computed again",
            file=sys.stderr,
        )
        data = replace(data, num_samples=num_samples, md5=md5)
        (data.path / ".done").unlink()
        data.write()
    if files.changed:
        files.save()
        write_stamp(data.path / ".done", inputs)
    return data


def _inspect(files: AudioFiles, folder: Path, protocol: Path, jobs: int):
    if not folder.is_dir():
        raise AsvtkError(f"{folder}: no such folder; the trials of {protocol} need its audio")
    if files.missing:
        raise AsvtkError(
            f"{folder}: {len(files.missing)} of the {len(files.utterances)} utterances in {protocol} have no "
            f".flac file: {listing(files.missing)}; unpack the database again"
        )
    return files.inspect(jobs, folder.parent.name)


def difference_from_official(data: dict[str, DataDirectory]) -> str | None:
    """One line that says how a corpus differs from the official database; None when it does not."""
    facts = load_facts("asvspoof2019_la")["splits"]
    official = {split: (facts[split]["bonafide"], facts[split]["spoof"]) for split in data}
    found = {split: directory.count_classes() for split, directory in data.items()}
    if found == official:
        return None
    ours, theirs = (
        ", ".join(f"{split} {bonafide}+{spoof}" for split, (bonafide, spoof) in counts.items())
        for counts in (found, official)
    )
    return (
        f"not the official ASVspoof 2019 LA database: bona fide + spoof trials are {ours} here and "
        f"{theirs} there; never quote its results as ASVspoof 2019 results"
    )


def _audio_folder(corpus: Path, split: str) -> Path:
    return corpus / f"ASVspoof2019_LA_{split}" / "flac"


def _find_protocol(corpus: Path, split: str) -> Path:
    path = corpus / _PROTOCOLS / f"ASVspoof2019.LA.cm.{_PROTOCOL[split]}.txt"
    for candidate in (path, path.with_suffix(".txt.gz")):
        if candidate.is_file():
            return candidate
    raise AsvtkError(
        f"{path}: no such protocol; unpack the database again, or leave it out: asvtk prepare --sets ..."
    )


def _read_protocol(path: Path) -> dict[str, tuple[str, str, str]]:
    """utterance -> (speaker, attack, label), sorted by utterance."""
    trials = {}
    for number, line in enumerate(read_lines(path), 1):
        fields = split_blanks(line)
        if not fields:
            continue
        if len(fields) != 5:
            raise AsvtkError(
                f"{path}:{number}: expected 5 fields 'SPEAKER UTTERANCE - ATTACK KEY', "
                f"found {len(fields)}: {line[:100]!r}"
            )
        speaker, utterance, _, attack, label = fields
        for field in (speaker, utterance, attack):
            if not is_safe_id(field):
                raise AsvtkError(
                    f"{path}:{number}: {field[:100]!r} is no id: expected printable characters without '/'"
                )
        if label not in LABELS:
            raise AsvtkError(f"{path}:{number}: the key is {label!r}, expected one of {' '.join(LABELS)}")
        if (attack == NO_ATTACK) != (label == BONAFIDE):
            raise AsvtkError(
                f"{path}:{number}: {utterance} is {label} with attack {attack!r}; "
                f"expected {NO_ATTACK!r} for bona fide and an attack id for spoof"
            )
        if utterance in trials:
            raise AsvtkError(f"{path}:{number}: {utterance} stands here for the second time")
        trials[utterance] = (speaker, attack, label)
    if not trials:
        raise AsvtkError(f"{path}: lists no trials")
    return dict(sorted(trials.items()))


def _find_legend(corpus: Path) -> Path | None:
    """The corpus's own ``attacks.tsv``."""
    places = (corpus / "attacks.tsv", corpus.parent / "attacks.tsv")
    return next((place for place in places if place.is_file()), None)


def _attack_kinds(legend: Path | None, attacks: set[str]) -> dict[str, str]:
    """attack -> TTS, VC, vocoder ..., by the corpus's own legend or else by the official database's."""
    if legend is None:
        kinds = {attack: facts["kind"] for attack, facts in load_facts("asvspoof2019_la")["attacks"].items()}
    else:
        kinds = {}
        for number, line in enumerate(read_lines(legend), 1):
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


def _copy_asv_scores(source: Path, data: DataDirectory) -> None:
    """Put the ASV scores beside the trials they belong to, so that dev never meets eval's."""
    if source.is_file():
        with atomic_path(data.asv_scores) as temporary:
            shutil.copyfile(source, temporary)
    else:
        data.asv_scores.unlink(missing_ok=True)  # those of another corpus
