"""Kaldi data directories made by hand, completed with what asvtk needs besides.

``wav.scp``, ``utt2spk`` and ``utt2label`` are brought, and ``utt2attack`` where there are spoofs. In Kaldi's
own convention utt2spk holds the speakers; they are kept as ``utt2speaker``, and utt2spk becomes the identity.
"""

import shutil
from pathlib import Path

from asvtk.corpora.audio_files import AudioFiles
from asvtk.io.datadir import BONAFIDE, NO_ATTACK, DataDirectory
from asvtk.io.datadir_rules import kind_of, wrong_meaning
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.tables import read_table

__all__ = ["complete_data_directory"]


def complete_data_directory(path, jobs: int = 4, force: bool = False) -> DataDirectory:
    """Add utt2speaker, utt2num_samples, utt2md5 and spk2utt; replaced files go to ``.backup`` there.

    Run again, it reads only the headers of audio that has changed since.

    Args:
        path: the data directory.
        jobs: threads that read audio headers.
        force: read all headers again.

    Raises:
        AsvtkError: a file is missing, the tables do not name the same utterances, they say what asvtk would
            get wrong (``segments``, commands in wav.scp ...), or audio cannot be used. Nothing is changed.
    """
    path = Path(path)
    if not path.is_dir():
        raise AsvtkError(f"{path}: no such data directory")
    tables = {name: read_table(path / name) for name in ("wav.scp", "utt2spk", "utt2label")}
    for name in ("utt2speaker", "utt2attack"):
        if (path / name).exists():
            tables[name] = read_table(path / name)
    labels = tables["utt2label"]
    _require_attacks(path, labels, tables.setdefault("utt2attack", {}))
    for problem in wrong_meaning(path, tables):
        raise AsvtkError(problem)
    speakers = tables.get("utt2speaker") or tables["utt2spk"]
    wav = {utterance: tables["wav.scp"][utterance] for utterance in sorted(tables["wav.scp"])}
    for name, table in tables.items():
        if table.keys() != wav.keys():
            different = sorted(table.keys() ^ wav.keys())
            raise AsvtkError(
                f"{path / name}: does not list the utterances of wav.scp; only one has "
                f"{listing(different, 3)}; utils/fix_data_dir.sh {path} leaves out what is not in both"
            )
    files = AudioFiles(wav, path, trust=not force)
    if files.missing:
        missing = [f"{utterance} ({wav[utterance]})" for utterance in files.missing]
        raise AsvtkError(
            f"{path / 'wav.scp'}: {len(missing)} of {len(wav)} audio files do not exist: "
            f"{listing(missing, 3)}; relative paths begin here: {Path.cwd()}"
        )
    entries = files.inspect(jobs, path.name)
    data = DataDirectory(  # unsorted until it is written
        path=path,
        wav=wav,
        speaker=speakers,
        label=labels,
        attack=tables["utt2attack"],
        num_samples={utterance: entry.num_samples for utterance, entry in entries.items()},
        md5={utterance: entry.md5 for utterance, entry in entries.items()},
    )
    _back_up(path, by_speaker=any(key != value for key, value in tables["utt2spk"].items()))
    data.write()
    files.save()
    return DataDirectory.read(path)


def _require_attacks(path: Path, labels: dict[str, str], attacks: dict[str, str]) -> None:
    """Fill in those of bona fide utterances; the attacks of spoofs must be told."""
    for utterance, label in labels.items():
        if label == BONAFIDE:
            attacks.setdefault(utterance, NO_ATTACK)
    unknown = [utterance for utterance in labels if utterance not in attacks]
    if unknown:
        raise AsvtkError(
            f"{path / 'utt2attack'}: expected the attack of each spoof, and {len(unknown)} have none: "
            f"{listing(unknown, 3)}; if nobody knows, give them one name, such as 'unknown'"
        )


def _back_up(path: Path, by_speaker: bool) -> None:
    """Copy what is replaced, and move away files by speaker, which an identity in utt2spk does not fit."""
    for entry in sorted(path.iterdir()):
        if not entry.is_file() or entry.name.startswith("."):
            continue
        is_of_speakers = by_speaker and kind_of(entry.name, False) == "speaker"
        if is_of_speakers or by_speaker and entry.name == "utt2spk":
            (path / ".backup").mkdir(exist_ok=True)
            (shutil.move if is_of_speakers else shutil.copy2)(entry, path / ".backup" / entry.name)
