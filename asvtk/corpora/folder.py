"""Audio files of any kind as a data directory for scoring: what a stranger has lying about."""

import functools
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from asvtk.io.audio import inspect_audio, write_audio
from asvtk.io.datadir import BONAFIDE, NO_ATTACK, DataDirectory
from asvtk.io.decoding import path_text
from asvtk.io.errors import AsvtkError, listing
from asvtk.io.recording import read_recording

__all__ = ["SUFFIXES", "find_audio", "import_audio"]

#: what a folder is searched for; a file that is named is taken whatever it is called
SUFFIXES = (
    ".3g2", ".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".asf", ".au", ".avi",
    ".awb", ".caf", ".flac", ".flv", ".m4a", ".m4b", ".m4v", ".mka", ".mkv", ".mov", ".mp2", ".mp3",
    ".mp4", ".mpeg", ".mpg", ".mpga", ".nist", ".oga", ".ogg", ".ogv", ".opus", ".rf64", ".snd",
    ".sph", ".spx", ".ts", ".tta", ".voc", ".w64", ".wav", ".wave", ".webm", ".wma", ".wmv", ".wv",
)  # fmt: skip


class _Imported(NamedTuple):
    path: str
    num_samples: int
    md5: str
    change: str  # what was done to it, for people; empty: nothing


def find_audio(paths) -> tuple[list[Path], list[str]]:
    """The files among ``paths`` and the sound files in its folders, at any depth, sorted and each once.

    Links are followed, each folder is searched once. A note on standard error names files in folders whose
    names do not end as those of sound files do.

    Returns:
        the files; and a line for each path that does not exist and each folder that cannot be searched.

    Raises:
        AsvtkError: there is no file at all.
    """
    found, skipped, faults = {}, [], []
    for path in map(Path, paths):
        if path.is_dir():
            inside, others = _search(path, faults)
            found |= dict.fromkeys(inside)
            skipped += others
        elif os.path.lexists(path):
            found[path] = None
        else:
            faults.append(f"{path_text(path)}: no such file or folder")
    if skipped:
        names = listing(map(path_text, skipped), 5)
        print(
            f"note: {len(skipped)} files in folders were skipped, their names end unlike a sound file's: "
            f"{names}; name a file to have it tried all the same",
            file=sys.stderr,
        )
    if not found:
        raise AsvtkError("; ".join(faults) or f"{listing(map(path_text, paths))}: no sound files there")
    return list(found), faults


def _search(folder: Path, faults: list[str]) -> tuple[list[Path], list[Path]]:
    """Sound files and others below a folder, sorted; folders that cannot be read are added to ``faults``."""

    def unreadable(error: OSError) -> None:
        faults.append(f"{path_text(error.filename)}: cannot be searched: {error.strerror}")

    files, others, seen = [], [], set()
    for place, folders, names in os.walk(folder, onerror=unreadable, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:  # a link that leads in a circle
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        for name in names:
            is_sound = Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
            (files if is_sound else others).append(Path(place, name))
    return sorted(files), sorted(others)


def import_audio(files: list[Path], work) -> tuple[dict[str, Path], DataDirectory, dict[str, str]]:
    """The files as the utterances 0000000, 0000001 ... of a data directory, which is not written.

    16 kHz, mono and integer files are used where they are. Others are converted as by
    `asvtk.io.recording.read_recording`, scaled down if that took them beyond full scale, and written to
    ``work`` with 16 bits; standard error says so once.

    Returns:
        utterance -> file; the data directory (all are called bona fide: nobody knows); and utterance -> why
        its file cannot be used and is not in there.
    """
    named = {f"{number:07d}": file for number, file in enumerate(files)}
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        outcomes = list(
            tqdm(
                pool.map(functools.partial(_import, Path(work)), named, named.values()),
                total=len(named), desc="reading audio", unit="file", disable=None,
            )
        )  # fmt: skip
    faults, good = {}, {}
    for utterance, outcome in zip(named, outcomes, strict=True):
        (faults if isinstance(outcome, str) else good)[utterance] = outcome
    changed = [u for u, audio in good.items() if audio.change]
    if changed:
        first = changed[0]
        others = f"; {len(changed) - 1} other files were converted too" if len(changed) > 1 else ""
        print(f"note: {path_text(named[first])}: {good[first].change}{others}", file=sys.stderr)
    data = DataDirectory(
        path=Path(work, "audio"),
        wav={u: audio.path for u, audio in good.items()},
        speaker={u: u for u in good},
        label=dict.fromkeys(good, BONAFIDE),
        attack=dict.fromkeys(good, NO_ATTACK),
        num_samples={u: audio.num_samples for u, audio in good.items()},
        md5={u: audio.md5 for u, audio in good.items()},
    )
    return named, data, faults


def _import(work: Path, utterance: str, file: Path) -> _Imported | str:
    try:
        try:
            return _Imported(str(file), *inspect_audio(file), "")
        except AsvtkError:  # of another kind; if it is none at all, that is said next
            recording = read_recording(file)
        out = work / f"{utterance}.flac"
        peak = np.abs(recording.samples).max()
        write_audio(out, recording.samples / peak if peak > 1 else recording.samples)
        change = " and ".join(recording.changes) or "converted to 16 bit integers"
        if recording.doubt:
            change += f"; it may be cut off ({recording.doubt})"
        return _Imported(str(out), *inspect_audio(out), change)
    except AsvtkError as error:
        return str(error)
    except (OSError, MemoryError) as error:  # such as a disk that fails
        return f"{path_text(file)}: cannot be read: {error or type(error).__name__}"
