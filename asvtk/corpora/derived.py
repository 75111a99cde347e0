"""Derived data directories: every clip is made of one that is there, or of several.

    OUT/flac/UTTERANCE.flac         16 bit
    OUT/wav.scp, utt2label ...      as stage 1 writes them
    OUT/utt2source                  what each vocoded spoof was made of; if there are any
    OUT/segments.rttm ...           what else the maker of the clips says of them
    OUT/protocol.txt                the same in the official form, SPEAKER UTTERANCE - ATTACK KEY
    OUT/failed                      clips that could not be made, and why; if there are any
    OUT/.begun, OUT/.done           what they were made of

A clip is written whole or not at all, and one that is there is not made twice: a run that was killed
goes on where it was.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asvtk.io.atomic import write_text
from asvtk.io.audio import inspect_audio, read_audio, write_audio
from asvtk.io.datadir import BONAFIDE, NO_ATTACK, SPOOF, DataDirectory
from asvtk.io.errors import AsvtkError
from asvtk.io.processes import in_processes
from asvtk.io.stamps import read_stamp, write_stamp
from asvtk.io.tables import read_table, write_table

__all__ = ["Clip", "derive", "evaluation_split"]


class Clip(NamedTuple):
    """An utterance to make; all of it can be pickled."""

    utterance: str  # its id
    sources: tuple[str, ...]  # ids of those that it is made of; the first one's speaker speaks in it
    attack: str  # NO_ATTACK: it is bona fide
    change: Callable[..., np.ndarray]  # float32 (samples,) of each source -> float (samples',)
    origin: str | None = None  # of a vocoded spoof: the bona fide utterance that it goes back to


def evaluation_split(data: DataDirectory) -> str | None:
    """``dev`` or ``eval`` where a data directory is stamped or named as such; None where it is neither."""
    stamp = read_stamp(data.path / ".done") or read_stamp(data.path / ".begun") or {}
    names = re.split(r"[^a-z]+", f"{stamp.get('split') or ''} {data.name}".lower())
    return next((name for name in names if name in ("dev", "eval", "test")), None)


def derive(
    source: DataDirectory,
    out,
    clips: list[Clip],
    description: dict,
    kinds: dict[str, str],
    jobs: int = 4,
    force: bool = False,
    beside: dict[str, str] | None = None,
) -> tuple[DataDirectory, dict[str, str]]:
    """Make clips, and the data directory that lists them.

    Args:
        source: what they are made of.
        out: the data directory to write.
        clips: what to make.
        description: all that the clips depend on besides the source, in words.
        kinds: attack -> TTS, VC, vocoder ...
        jobs: number of processes; the clips do not depend on it.
        force: make them even if they are there.
        beside: name -> text of other files of the data directory; ``description`` tells what they depend on.

    Returns:
        the data directory, and utterance -> why it could not be made and is not in there.

    Raises:
        AsvtkError: ``out`` holds something else, nothing at all could be made, or the disk is full.
    """
    out = Path(out)
    inputs = {
        "made of": source.name,
        "source": source.digest(),
        "split": evaluation_split(source),
        "how": description,
    }
    ours = read_stamp(out / ".begun")
    if force and ours:
        shutil.rmtree(out)
    elif read_stamp(out / ".done") == inputs:
        return DataDirectory.read(out), read_table(out / "failed") if (out / "failed").exists() else {}
    elif out.exists() and ours != inputs:
        raise AsvtkError(
            f"{out}: holds something else than what is to be made of {source.path} now; name another folder"
            + (", or give --force to replace it" if ours else "")
        )
    write_stamp(out / ".begun", inputs)
    flac = (out / "flac").absolute()
    items = [
        (
            clip,
            [(source.wav[u], source.num_samples[u], source.md5[u]) for u in clip.sources],
            flac / f"{clip.utterance}.flac",
        )
        for clip in sorted(clips, key=lambda clip: clip.utterance)
    ]
    made, faults = {}, {}
    for item, outcome in zip(items, in_processes(_make, items, jobs, out.name), strict=True):
        (faults if isinstance(outcome, _Fault) else made)[item[0]] = outcome
    failed = {clip.utterance: " ".join(fault.reason.split()) for clip, fault in faults.items()}
    if not made:
        raise AsvtkError(
            f"{out}: none of {len(clips)} clips could be made; {next(iter(failed.values()), '')}"
        )
    data = DataDirectory(
        path=out,
        wav={clip.utterance: str(flac / f"{clip.utterance}.flac") for clip in made},
        speaker={clip.utterance: source.speaker[clip.sources[0]] for clip in made},
        label={clip.utterance: _label(clip) for clip in made},
        attack={clip.utterance: clip.attack for clip in made},
        num_samples={clip.utterance: count for clip, (count, _) in made.items()},
        md5={clip.utterance: md5 for clip, (_, md5) in made.items()},
        source={clip.utterance: clip.origin for clip in made if clip.origin},
    )
    data.write()
    write_table(out / "attack2kind", kinds)
    lines = [f"{data.speaker[u]} {u} - {data.attack[u]} {data.label[u]}\n" for u in data.utterances]
    write_text(out / "protocol.txt", "".join(lines))
    for name, text in (beside or {}).items():
        write_text(out / name, text)
    if failed:
        write_table(out / "failed", failed)
    else:
        (out / "failed").unlink(missing_ok=True)
    if all(fault.is_final for fault in faults.values()):
        write_stamp(out / ".done", inputs)
    return data, failed


def _label(clip: Clip) -> str:
    return BONAFIDE if clip.attack == NO_ATTACK else SPOOF


class _Fault(NamedTuple):
    reason: str
    is_final: bool  # another run would meet it again; files, though, may be restored


def _make(item: tuple[Clip, list[tuple[str, int, str]], Path]) -> tuple[int, str] | _Fault:
    """Number of samples and checksum of a clip that is there now, or what is wrong with it."""
    clip, sources, path = item
    if path.exists():
        return inspect_audio(path)[:2]
    try:
        audio = [read_audio(wav, num_samples, md5=md5) for wav, num_samples, md5 in sources]
    except AsvtkError as fault:
        return _Fault(str(fault), is_final=False)
    try:
        samples = clip.change(*audio)
    except AsvtkError as fault:
        return _Fault(f"{clip.sources[0]}: {fault}", is_final=True)
    except (ArithmeticError, ValueError, IndexError, np.linalg.LinAlgError) as fault:
        # What a method makes of one odd recording must not cost all the others.
        return _Fault(f"{clip.sources[0]}: {type(fault).__name__}: {fault}", is_final=True)
    write_audio(path, samples)
    return inspect_audio(path)[:2]
