"""Inventory of a data directory's audio files: headers, and which changed since stage 1.

    DIR/.audio      utterance -> size, times of change (ns), number of samples, checksum

Size and times are looked up for every file, which costs no reading; only where they differ is the header
read again. So a file that is replaced by another one is noticed, of whatever length, and a corpus that was
merely copied is not inspected in vain twice.
"""

import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from asvtk.io.audio import inspect_audio
from asvtk.io.errors import AsvtkError
from asvtk.io.tables import read_table, write_table

__all__ = ["AudioFiles"]

_SHOWN = 10  # faulty files in a message


class AudioFiles:
    """Files, and what a data directory knows of them.

    Args:
        files: utterance -> path.
        directory: the data directory.
        trust: whether to believe what it knows; False: every header is read again.

    Attributes:
        utterances: all.
        missing: utterances whose files are not there.
        changed: utterances whose files are others than those known, by size or time.
    """

    def __init__(self, files: dict[str, str], directory, trust: bool = True):
        self._files, self._path = files, Path(directory) / ".audio"
        self._states = _states(files)
        self._found = _read(self._path) if trust else {}
        self.utterances = list(files)
        self.missing = [utterance for utterance in files if utterance not in self._states]
        self.changed = [
            utterance
            for utterance, state in self._states.items()
            if self._found.get(utterance, [])[:1] != [state]
        ]

    def inspect(self, jobs: int, description: str) -> tuple[dict[str, int], dict[str, str]]:
        """Number of samples and checksum of every utterance; of those unchanged, nothing is read.

        Args:
            jobs: threads.
            description: for the progress bar.

        Raises:
            AsvtkError: files that cannot be used; the first ten are named, and all are counted.
        """

        def inspect(utterance):
            try:
                return inspect_audio(self._files[utterance])
            except AsvtkError as error:
                return error

        with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
            outcomes = list(
                tqdm(
                    pool.map(inspect, self.changed),
                    total=len(self.changed),
                    desc=f"{description}: audio headers",
                    unit="file",
                    disable=None if self.changed else True,
                )
            )
        faults = [str(outcome) for outcome in outcomes if isinstance(outcome, AsvtkError)]
        if faults:
            more = f"\n  and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
            lines = "\n  ".join(faults[:_SHOWN])
            raise AsvtkError(
                f"{len(faults)} of {len(self._files)} audio files cannot be used:\n  {lines}{more}"
            )
        for utterance, header in zip(self.changed, outcomes, strict=True):
            self._found[utterance] = [self._states[utterance], header.num_samples, header.md5]
        _tell_decoders(Counter(header.decoder for header in outcomes), description)
        self._found = {utterance: self._found[utterance] for utterance in self._files}
        return (
            {utterance: num_samples for utterance, (_, num_samples, _) in self._found.items()},
            {utterance: md5 for utterance, (_, _, md5) in self._found.items()},
        )

    def save(self) -> None:
        """Note what ``inspect`` found."""
        table = {u: f"{state} {count} {md5}" for u, (state, count, md5) in self._found.items()}
        write_table(self._path, table)


def _tell_decoders(counts: Counter, description: str) -> None:
    """Say which files libsndfile does not open; of the others only decoding shows whether it reads them."""
    others = {decoder: count for decoder, count in counts.items() if decoder != "libsndfile"}
    if others:
        listed = ", ".join(f"{decoder} {count}" for decoder, count in sorted(others.items()))
        print(f"{description}: files that libsndfile does not open, by what does: {listed}")


def _states(files: dict[str, str]) -> dict[str, str]:
    """utterance -> size and times of its file; those that are missing are left out.

    One pass over each folder instead of as many look-ups as files, which a network disk would feel.
    """
    wanted: dict[str, dict[str, list[str]]] = {}
    for utterance, path in files.items():
        folder, name = os.path.split(path)
        wanted.setdefault(folder, {}).setdefault(name, []).append(utterance)
    states = {}
    for folder, names in wanted.items():
        for name, stat in _listed(folder, names):
            # The time of the inode's change shows a file whose date was set back, as `cp -p` does.
            state = f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"
            states |= dict.fromkeys(names[name], state)
    return {utterance: states[utterance] for utterance in files if utterance in states}


def _listed(folder: str, names: Iterable[str]):
    """Name and stat of the files in a folder that are among ``names``."""
    try:
        with os.scandir(folder or ".") as entries:
            for entry in entries:
                if entry.name in names:
                    try:
                        yield entry.name, entry.stat()
                    except FileNotFoundError:  # a link to nowhere
                        continue
    except (FileNotFoundError, NotADirectoryError):
        return


def _read(path: Path) -> dict[str, list]:
    """utterance -> [state, number of samples, checksum]; nothing of a file that is missing or damaged."""
    try:
        rows = {utterance: value.split(" ") for utterance, value in read_table(path).items()}
        return {u: [" ".join(state), int(count), md5] for u, (*state, count, md5) in rows.items()}
    except (AsvtkError, ValueError):
        return {}
