"""Audio files: 16 kHz, one channel, integer samples."""

import hashlib
from pathlib import Path

import numpy as np
import soundfile

from asvtk.io.errors import AsvtkError

__all__ = ["SAMPLE_RATE", "inspect_audio", "read_audio"]

SAMPLE_RATE = 16_000

_CONVERT = "convert it first: sox IN -r 16000 -c 1 -b 16 OUT.flac"


def inspect_audio(path) -> tuple[int, str]:
    """Number of samples, and a checksum that tells this audio from any other.

    Both stand in a FLAC file's header, so nothing is decoded; other files are hashed whole.

    Raises:
        AsvtkError: the file is missing, is no audio, is empty, or is not 16 kHz, mono and integer.
            Front-ends and published systems are made for such audio, and a silent resampling here
            would be a cue that no table ever mentions.
    """
    path = Path(path)
    try:
        info = soundfile.info(str(path))
    except soundfile.LibsndfileError as error:
        raise AsvtkError(_unreadable(path, error)) from None
    if info.frames <= 0:
        raise AsvtkError(f"{path}: holds no samples; restore the file or drop its protocol line")
    if info.samplerate != SAMPLE_RATE:
        raise AsvtkError(f"{path}: {info.samplerate} Hz, expected {SAMPLE_RATE} Hz; {_CONVERT}")
    if info.channels != 1:
        raise AsvtkError(f"{path}: {info.channels} channels, expected 1; {_CONVERT}")
    if not info.subtype.startswith("PCM"):
        raise AsvtkError(f"{path}: samples are {info.subtype_info}, expected integer PCM; {_CONVERT}")
    return info.frames, _checksum(path)


def read_audio(path, num_samples: int | None = None) -> np.ndarray:
    """Decode an audio file.

    Args:
        path: the file.
        num_samples: how many samples its header promised; a shorter file is refused.

    Returns:
        float32 samples in [-1, 1), shape (samples,).

    Raises:
        AsvtkError: the file is missing, corrupt or truncated.
    """
    path = Path(path)
    try:
        audio, _ = soundfile.read(str(path), dtype="float32")
    except soundfile.LibsndfileError as error:
        raise AsvtkError(_unreadable(path, error)) from None
    if num_samples is not None and len(audio) != num_samples:
        raise AsvtkError(
            f"{path}: {len(audio)} samples could be decoded, {num_samples} were expected; the file is "
            "truncated or was changed since stage 1: restore it, or run stage 1 again with --force"
        )
    return audio


def _checksum(path: Path) -> str:
    """The MD5 of the decoded samples that FLAC's STREAMINFO block holds (RFC 9639, section 8.2)."""
    with open(path, "rb") as stream:
        header = stream.read(42)
        if header[:4] == b"fLaC" and any(header[26:]):  # all zero: the encoder did not compute it
            return header[26:].hex()
        return hashlib.md5(header + stream.read(), usedforsecurity=False).hexdigest()


def _unreadable(path: Path, error: soundfile.LibsndfileError) -> str:
    if not path.exists():
        return f"{path}: no such file"
    if path.stat().st_size == 0:
        return f"{path}: the file is empty (0 bytes); restore it from the corpus archive"
    reason = error.error_string.rstrip(".")
    return f"{path}: cannot be decoded, truncated or damaged ({reason}); restore it from the corpus archive"
