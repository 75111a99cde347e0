"""Inventory of a data directory's audio files: headers, and which changed since stage 1.

    DIR/.audio      utterance -> size, times of change (ns), number of samples, checksum; where audio of any
                    kind is taken also whether it was converted, its sample rate, channels and coding
    DIR/audio/      what was converted

Size and times are looked up for every file, which costs no reading; only where they differ is the header
read again. So a file that is replaced by another one is noticed, of whatever length, and a corpus that was
merely copied is not inspected in vain twice.
"""

import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from asvtk.io.audio import AudioHeader, audio_format, inspect_audio
from asvtk.io.errors import AsvtkError
from asvtk.io.recording import convert_audio
from asvtk.io.tables import read_table, write_table

__all__ = ["AudioEntry", "AudioFiles"]

_SHOWN = 10  # faulty files in a message
_KEPT, _CONVERTED = "kept", "converted"


class AudioEntry(NamedTuple):
    """A file of a data directory."""

    path: str  # of what is read: the file itself, or what it was converted to
    num_samples: int
    md5: str


class AudioFiles:
    """Files, and what a data directory knows of them.

    Args:
        files: utterance -> path.
        directory: the data directory.
        trust: whether to believe what it knows; False: every header is read again.
        convert: whether files that are not 16 kHz, mono and integer are converted, into ``DIR/audio``; else
            they are faults.

    Attributes:
        files: the same.
        utterances: all.
        missing: utterances whose files are not there.
        changed: utterances whose files are others than those known, by size or time.
        faults: utterance -> why it was left out, after ``inspect``.
    """

    def __init__(self, files: dict[str, str], directory, trust: bool = True, convert: bool = False):
        self.files, self._path = files, Path(directory) / ".audio"
        self._converted = Path(directory).absolute() / "audio" if convert else None
        self._states = _states(files)
        self._found = _read(self._path) if trust else {}
        self.utterances = list(files)
        self.missing = [utterance for utterance in files if utterance not in self._states]
        self.changed = [
            utterance for utterance, state in self._states.items() if not self._is_known(utterance, state)
        ]
        self.faults: dict[str, str] = {}

    def _is_known(self, utterance: str, state: str) -> bool:
        known = self._found.get(utterance)
        if known is None or known[0] != state or bool(known[3]) != (self._converted is not None):
            return False
        return not self._is_converted(utterance) or self._target(utterance).is_file()

    def _is_converted(self, utterance: str) -> bool:
        form = self._found[utterance][3]
        return bool(form) and form[0] == _CONVERTED

    def _target(self, utterance: str) -> Path:
        return self._converted / f"{utterance}.flac"

    def inspect(self, jobs: int, description: str, skip_bad: bool = False) -> dict[str, AudioEntry]:
        """What is to be read of every utterance; of those unchanged, nothing is looked at.

        Args:
            jobs: threads.
            description: for the progress bar.
            skip_bad: leave out files that are missing or cannot be used; ``faults`` says why.

        Raises:
            AsvtkError: files that cannot be used; the first ten are named, and all are counted.
        """

        def inspect(utterance):
            try:
                return self._inspect(utterance)
            except AsvtkError as error:
                return error

        self.faults = {u: f"{self.files[u]}: no such file" for u in self.missing}
        decoders = Counter()
        try:
            with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
                outcomes = tqdm(
                    pool.map(inspect, self.changed),
                    total=len(self.changed),
                    desc=f"{description}: audio{' headers' if self._converted is None else ''}",
                    unit="file",
                    disable=None if self.changed else True,
                )
                for utterance, outcome in zip(self.changed, outcomes, strict=True):
                    if isinstance(outcome, AsvtkError):
                        self.faults[utterance] = str(outcome)
                        self._found.pop(utterance, None)
                        continue
                    header, form = outcome
                    decoders[header.decoder] += 1
                    state = self._states[utterance]
                    self._found[utterance] = [state, header.num_samples, header.md5, form]
        finally:
            if self._converted is not None and self.changed:
                self.save()  # what was converted is not converted again, whatever ended this
        if self.faults and not skip_bad:
            faults = list(self.faults.values())
            more = f"\n  and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
            lines = "\n  ".join(faults[:_SHOWN])
            raise AsvtkError(
                f"{len(faults)} of {len(self.files)} audio files cannot be used:\n  {lines}{more}"
            )
        _tell_decoders(decoders, description)
        self._found = {u: self._found[u] for u in self.files if u not in self.faults}
        return {
            u: AudioEntry(str(self._target(u)) if self._is_converted(u) else self.files[u], count, md5)
            for u, (_, count, md5, _) in self._found.items()
        }

    def _inspect(self, utterance: str) -> tuple[AudioHeader, list[str]]:
        """The header, and how the file was: kept or converted, sample rate, channels, coding."""
        path = self.files[utterance]
        if self._converted is None:
            return inspect_audio(path), []
        form = [str(x) for x in audio_format(path)]
        try:
            return inspect_audio(path), [_KEPT, *form]
        except AsvtkError:
            convert_audio(path, self._target(utterance))
            return inspect_audio(self._target(utterance)), [_CONVERTED, *form]

    def formats(self) -> dict[str, dict[str, str]]:
        """``sample_rate``, ``channels`` and ``coding`` of the files as they were, where any kind is taken."""
        if self._converted is None:
            return {}
        return {
            name: {utterance: form[place] for utterance, (*_, form) in self._found.items()}
            for place, name in enumerate(("sample_rate", "channels", "coding"), 1)
        }

    def save(self) -> None:
        """Note what ``inspect`` found."""
        table = {
            u: " ".join([state, str(count), md5, *form])
            for u, (state, count, md5, form) in self._found.items()
        }
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
    """utterance -> [state, samples, checksum, form]; nothing of a file that is missing or damaged."""
    try:
        rows = {utterance: value.split(" ") for utterance, value in read_table(path).items()}
        return {u: [" ".join(row[:3]), int(row[3]), row[4], row[5:]] for u, row in rows.items()}
    except (AsvtkError, ValueError, IndexError):
        return {}
