"""Audio files of any kind as a data directory for scoring: what a stranger has lying about."""

import functools
import math
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from scipy.signal import resample_poly
from tqdm import tqdm

from asvtk.io.audio import SAMPLE_RATE, inspect_audio, write_audio
from asvtk.io.datadir import BONAFIDE, NO_ATTACK, DataDirectory
from asvtk.io.errors import AsvtkError

__all__ = ["find_audio", "import_audio"]

#: what a folder is searched for; a file that is named is taken whatever it is called
SUFFIXES = (".flac", ".wav", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf", ".w64")


class _Imported(NamedTuple):
    path: str
    num_samples: int
    md5: str
    change: str  # what was done to it, for people; empty: nothing


def find_audio(paths) -> list[Path]:
    """The files among ``paths`` and the audio files in its folders, at any depth, sorted and each once.

    Raises:
        AsvtkError: a path does not exist, or there is no audio file at all.
    """
    found = {}
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
            found |= {file: None for file in inside if file.is_file()}
        elif path.exists():
            found[path] = None
        else:
            raise AsvtkError(f"{path}: no such file or folder")
    if not found:
        raise AsvtkError(f"{', '.join(map(str, paths))}: no audio files ({' '.join(SUFFIXES)}) there")
    return list(found)


def import_audio(files: list[Path], work) -> tuple[dict[str, Path], DataDirectory, dict[str, str]]:
    """The files as the utterances 0000000, 0000001 ... of a data directory, which is not written.

    16 kHz, mono and integer files are used where they are. Others are averaged over their channels,
    resampled (polyphase, ``scipy.signal.resample_poly``), scaled down if that took them beyond full
    scale, and written to ``work`` with 16 bits; standard error says so once.

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
        print(f"note: {named[first]}: {good[first].change}{others}", file=sys.stderr)
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
        return _Imported(str(file), *inspect_audio(file), "")
    except AsvtkError as error:
        refusal = str(error)
    try:
        info = soundfile.info(str(file))
        samples, rate = soundfile.read(str(file), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError, ValueError, MemoryError):
        return refusal
    if len(samples) < info.frames and info.format != "MP3":  # whose header may only guess
        return f"{file}: {len(samples)} of {info.frames} samples could be decoded; the file is truncated"
    samples = samples.mean(axis=1)
    if not len(samples) or not np.isfinite(samples).all():
        return f"{file}: holds no samples, or such as are not finite"
    changes = [f"{info.channels} channels averaged"] if info.channels > 1 else []
    if rate != SAMPLE_RATE:
        common = math.gcd(rate, SAMPLE_RATE)
        samples = resample_poly(samples, SAMPLE_RATE // common, rate // common)
        changes.append(f"resampled from {rate} Hz")
    peak = np.abs(samples).max()
    out = work / f"{utterance}.flac"
    write_audio(out, samples / peak if peak > 1 else samples)
    return _Imported(str(out), *inspect_audio(out), " and ".join(changes) or "converted to 16 bit integers")
