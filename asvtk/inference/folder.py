"""Search for sound files in folders."""

import logging
import os
from pathlib import Path

from asvtk.io.decoding import path_text
from asvtk.io.errors import AsvtkError, listing

__all__ = ["SUFFIXES", "find_audio"]

_log = logging.getLogger(__name__)

#: what a folder is searched for; a file that is named is taken whatever it is called
SUFFIXES = (
    ".3g2", ".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".asf", ".au", ".avi",
    ".awb", ".caf", ".flac", ".flv", ".m4a", ".m4b", ".m4v", ".mka", ".mkv", ".mov", ".mp2", ".mp3",
    ".mp4", ".mpeg", ".mpg", ".mpga", ".nist", ".oga", ".ogg", ".ogv", ".opus", ".rf64", ".snd",
    ".sph", ".spx", ".ts", ".tta", ".voc", ".w64", ".wav", ".wave", ".webm", ".wma", ".wmv", ".wv",
)  # fmt: skip


def find_audio(paths) -> tuple[list[Path], list[str]]:
    """The files among ``paths`` and the sound files in its folders, at any depth, sorted and each once.

    Links are followed, each folder is searched once. A note on standard error names files in folders whose
    names do not end as those of sound files do.

    Returns:
        the files; and a line for each path that does not exist and each folder that cannot be searched.

    Raises:
        AsvtkError: there is no file at all.
    """
    files, skipped, faults = {}, [], []
    for path in map(Path, paths):
        if path.is_dir():
            inside, others = _search(path, faults)
            files |= dict.fromkeys(inside)
            skipped += others
        elif os.path.lexists(path):
            files[path] = None
        else:
            faults.append(f"{path_text(path)}: no such file or folder")
    if skipped:
        names = listing(map(path_text, skipped), 5)
        _log.info(
            f"note: {len(skipped)} files in folders were skipped, their names end unlike a sound file's: "
            f"{names}; name a file to have it tried all the same"
        )
    if not files:
        raise AsvtkError("; ".join(faults) or f"{listing(map(path_text, paths))}: no sound files there")
    return list(files), faults


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
