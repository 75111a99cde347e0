"""Audio files: 16 kHz, one channel, integer samples."""

import hashlib
import mmap
import sys
from pathlib import Path

import numpy as np
import soundfile

from asvtk.io import pyav
from asvtk.io.atomic import atomic_path
from asvtk.io.errors import AsvtkError

__all__ = ["SAMPLE_RATE", "decode_check", "inspect_audio", "read_audio", "write_audio"]

SAMPLE_RATE = 16_000

_CONVERT = "convert it first: sox IN -r 16000 -c 1 -b 16 OUT.flac"
_told = mmap.mmap(-1, 1)  # 1: that PyAV read what libsndfile refused. Forked processes share it


def inspect_audio(path) -> tuple[int, str]:
    """Number of samples, and a checksum that tells this audio from any other.

    Both stand in a FLAC file's header, so nothing is decoded; other files are hashed whole. Files that
    libsndfile refuses are decoded whole by PyAV, if it is installed.

    Raises:
        AsvtkError: the file is missing, is no audio, is empty, or is not 16 kHz, mono and integer.
            Front-ends and published systems are made for such audio, and a silent resampling here
            would be a cue that no table ever mentions.
    """
    path = Path(path)
    try:
        info = soundfile.info(str(path))
        _require_known(info.frames)
    except (soundfile.LibsndfileError, _UnknownLength) as refusal:
        audio, rate = _decode_otherwise(path, refusal)
        _require_rate(path, rate)
        return len(audio), _checksum(path)
    if info.frames <= 0:
        raise AsvtkError(f"{path}: holds no samples; restore the file or drop its protocol line")
    _require_rate(path, info.samplerate)
    if info.channels != 1:
        raise AsvtkError(f"{path}: {info.channels} channels, expected 1; {_CONVERT}")
    if not info.subtype.startswith("PCM"):
        raise AsvtkError(f"{path}: samples are {info.subtype_info}, expected integer PCM; {_CONVERT}")
    return info.frames, _checksum(path)


def read_audio(path, num_samples: int | None = None, first: int | None = None) -> np.ndarray:
    """Decode an audio file: with libsndfile, or with PyAV, if it is installed, what libsndfile refuses.

    Args:
        path: the file.
        num_samples: how many samples its header promised; a file of another length is refused.
        first: decode only so many samples from the head, or all if there are fewer. What comes behind
            is not looked at, but for the length in the header.

    Returns:
        float32 samples in [-1, 1), shape (samples,).

    Raises:
        AsvtkError: the file is missing, corrupt or truncated.
    """
    path = Path(path)
    try:
        with soundfile.SoundFile(str(path)) as file:
            length = file.frames
            _require_known(length)
            audio = file.read(length if first is None else min(first, length), dtype="float32")
    except (soundfile.LibsndfileError, _UnknownLength) as refusal:
        audio, _ = _decode_otherwise(path, refusal)
        length = len(audio)
        audio = audio[:first]
    # A header may promise more than there is.
    promises = [(length, num_samples), (len(audio), length if first is None else min(first, length))]
    for found, promised in promises:
        if promised is not None and found != promised:
            raise AsvtkError(
                f"{path}: {found} samples could be decoded, {promised} were expected; the file is "
                "truncated or was changed since stage 1: restore it, or run stage 1 again with --force"
            )
    return audio


def decode_check(path) -> str:
    """Decode a corpus file whole, as scoring will, and name the decoder that it took.

    Returns:
        ``"libsndfile"``, ``"PyAV"`` or ``"asvtk"`` (our own FLAC decoder).

    Raises:
        AsvtkError: as `inspect_audio` and `read_audio`.
    """
    num_samples, _ = inspect_audio(path)
    read_audio(path, num_samples)
    try:
        soundfile.read(str(path), dtype="float32")
    except (soundfile.LibsndfileError, ValueError, MemoryError):
        return "PyAV"
    return "libsndfile"


def write_audio(path, samples: np.ndarray) -> None:
    """Write a FLAC file of 16 bit at 16 kHz, in one step.

    What ``read_audio`` gave of a file of 16 bit is written back sample by sample: integers are made
    here, as libsndfile scales by 32767 on the way out and by 32768 on the way in.

    Args:
        path: its final name.
        samples: float, full scale at 1, shape (samples,).

    Raises:
        AsvtkError: samples that are not finite or lie beyond full scale: clipping is a trace that tells
            made audio from recordings. Or the file cannot be written.
    """
    peak = np.abs(samples).max(initial=0)
    if not peak <= 1:
        raise AsvtkError(f"{path}: samples reach {peak:.3g}, beyond full scale (1); scale them down first")
    integers = np.minimum(np.rint(samples * 32768), 32767).astype(np.int16)
    with atomic_path(path) as temporary:
        try:
            soundfile.write(str(temporary), integers, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
        except soundfile.LibsndfileError as error:  # how the library reports a full disk
            raise OSError(error.error_string) from error


class _UnknownLength(Exception):
    """libsndfile opens a FLAC file whose header does not tell its length, but cannot read it."""

    error_string = "its header does not tell how long it is"


def _require_known(frames: int) -> None:
    if frames >= 1 << 62:  # libsndfile says 2**63 - 1
        raise _UnknownLength


def _require_rate(path: Path, rate: int) -> None:
    if rate != SAMPLE_RATE:
        raise AsvtkError(f"{path}: {rate} Hz, expected {SAMPLE_RATE} Hz; {_CONVERT}")


def _decode_otherwise(path: Path, refusal: soundfile.LibsndfileError | _UnknownLength):
    """Samples and rate by PyAV of a file that libsndfile refuses.

    Raises:
        AsvtkError: the file is missing or empty, or is refused by both.
    """
    if not path.exists():
        raise AsvtkError(f"{path}: no such file") from None
    if path.stat().st_size == 0:
        raise AsvtkError(f"{path}: the file is empty (0 bytes); restore it from the corpus archive") from None
    reason = refusal.error_string.rstrip(".")
    remedy = "restore it from the corpus archive"
    try:
        decoded = pyav.decode(path)
    except pyav.MissingPyav:
        remedy += ", or 'pip install av', which reads some files that libsndfile refuses"
    except pyav.Refused as also:
        reason = f"libsndfile: {reason}; PyAV: {also}"
    else:
        if not _told[0]:
            _told[0] = 1
            print(
                f"asvtk: warning: {path}: libsndfile refuses it ({reason}), PyAV decoded it; other files "
                "may follow without a word",
                file=sys.stderr,
            )
        return decoded
    raise AsvtkError(f"{path}: cannot be decoded, truncated or damaged ({reason}); {remedy}") from None


def _checksum(path: Path) -> str:
    """The MD5 of the decoded samples that FLAC's STREAMINFO block holds (RFC 9639, section 8.2)."""
    with open(path, "rb") as stream:
        header = stream.read(42)
        if header[:4] == b"fLaC" and any(header[26:]):  # all zero: the encoder did not compute it
            return header[26:].hex()
        return hashlib.md5(header + stream.read(), usedforsecurity=False).hexdigest()
