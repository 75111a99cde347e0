"""Audio of a corpus: 16 kHz, one channel, integer samples, bit by bit as they were published."""

import hashlib
from typing import NamedTuple

import numpy as np
import soundfile

from asvtk.io import flac
from asvtk.io.atomic import atomic_path
from asvtk.io.decoding import decode, path_text
from asvtk.io.errors import AsvtkError
from asvtk.io.sound import Sound

__all__ = [
    "SAMPLE_RATE",
    "AudioHeader",
    "audio_format",
    "decode_check",
    "inspect_audio",
    "read_audio",
    "write_audio",
]

SAMPLE_RATE = 16_000

_FLOATS = {"FLOAT": "32 bit float", "DOUBLE": "64 bit float"}
_CONVERT = "convert it first: sox IN -r 16000 -c 1 -b 16 OUT.flac"


class AudioHeader(NamedTuple):
    num_samples: int
    md5: str  # tells this audio from any other
    decoder: str  # that opened the file: libsndfile, PyAV or asvtk (our own FLAC decoder)


def audio_format(path) -> tuple[int, int, str]:
    """Sample rate (Hz), channels, and coding in one word of a file of any kind.

    Raises:
        AsvtkError: as `asvtk.io.decoding.decode`.
    """
    (rate, channels, coding), _ = decode(path, lambda sound: (sound.rate, sound.channels, sound.coding))
    return rate, channels, "_".join(coding.split()) or "unknown"


def inspect_audio(path) -> AudioHeader:
    """Number of samples and checksum of a file, and which decoder opens it.

    The first two stand in a FLAC file's header, so nothing is decoded; other files are hashed whole. Files
    that libsndfile does not open are decoded. A file that it opens may still need another decoder for its
    frames: see `decode_check`.

    Raises:
        AsvtkError: as `asvtk.io.decoding.decode`, or it holds no samples, or is not 16 kHz, mono and integer.
            Front-ends and published systems are made for such audio, and a silent resampling here
            would be a shortcut that no table ever mentions.
    """

    def count(sound: Sound) -> int:
        _require_shape(path, sound)
        if not sound.integer:
            coding = _FLOATS.get(sound.coding, sound.coding)
            raise AsvtkError(f"{path_text(path)}: samples are {coding}, expected integer PCM; {_CONVERT}")
        return sound.length if sound.length is not None else sum(map(len, sound.blocks))

    num_samples, decoder = decode(path, count)
    if num_samples <= 0:
        raise AsvtkError(f"{path_text(path)}: holds no samples; replace the file or drop its protocol line")
    return AudioHeader(num_samples, _checksum(path), decoder)


def read_audio(
    path, num_samples: int | None = None, first: int | None = None, md5: str | None = None
) -> np.ndarray:
    """Decode an audio file of 16 kHz and one channel.

    Args:
        path: the file.
        num_samples: how many samples its header promised; a file of another length is refused.
        first: decode only so many samples from the head, or all if there are fewer. What comes behind
            is not looked at, but for the length in the header.
        md5: the checksum that `inspect_audio` gave; a file with another one was replaced since.

    Returns:
        float32 samples in [-1, 1), shape (samples,).

    Raises:
        AsvtkError: as `asvtk.io.decoding.decode`, or it has another rate, length or number of channels.
    """
    samples, _ = _read(path, num_samples, first)
    if md5 is not None and _checksum(path) != md5:
        raise AsvtkError(
            f"{path_text(path)}: is not the audio that stage 1 found; restore the file, or run stage 1 again"
        )
    return samples


def decode_check(path) -> str:
    """Decode a corpus file whole, as scoring will, and name the decoder that it took.

    Returns:
        ``"libsndfile"``, ``"PyAV"`` or ``"asvtk"`` (our own FLAC decoder).

    Raises:
        AsvtkError: as `inspect_audio` and `read_audio`, or the MD5 in a FLAC file's header is not that of
            the samples.
    """
    num_samples, md5, _ = inspect_audio(path)
    samples, decoder = _read(path, num_samples)
    with open(path, "rb") as file:
        info = flac.head_info(file.read(4 + 4 + flac.STREAMINFO_BYTES))
    if info is not None and info.has_md5 and info.bits <= 24:  # of more, float32 does not hold all
        found = flac.octets(np.rint(samples * 2.0 ** (info.bits - 1)), info.bits)
        if hashlib.md5(found, usedforsecurity=False).hexdigest() != md5:
            raise AsvtkError(
                f"{path_text(path)}: its samples ({decoder}) are not those of the MD5 in its header"
            )
    return decoder


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


def _read(path, num_samples: int | None = None, first: int | None = None) -> tuple[np.ndarray, str]:
    def join(sound: Sound) -> tuple[np.ndarray, int | None]:
        _require_shape(path, sound)
        blocks = [block[:, 0] for block in sound.blocks]
        if len(blocks) == 1:
            return blocks[0], sound.length
        return np.concatenate(blocks or [np.zeros(0, np.float32)]), sound.length

    (audio, length), decoder = decode(path, join, first)
    length = len(audio) if length is None else length
    if num_samples is not None and num_samples != length:
        raise AsvtkError(
            f"{path_text(path)}: {length} samples could be decoded, {num_samples} were expected; the file "
            "was cut off or changed since stage 1: restore it, or run stage 1 again with --force"
        )
    return audio[:first], decoder


def _require_shape(path, sound: Sound) -> None:
    if sound.rate != SAMPLE_RATE:
        raise AsvtkError(f"{path_text(path)}: {sound.rate} Hz, expected {SAMPLE_RATE} Hz; {_CONVERT}")
    if sound.channels != 1:
        raise AsvtkError(f"{path_text(path)}: {sound.channels} channels, expected 1; {_CONVERT}")


def _checksum(path) -> str:
    """The MD5 of the decoded samples that FLAC's STREAMINFO block holds (RFC 9639, section 8.2)."""
    with open(path, "rb") as stream:
        head = stream.read(4 + 4 + flac.STREAMINFO_BYTES)
        info = flac.head_info(head)
        if info is not None and info.has_md5:
            return info.md5.hex()
        digest = hashlib.md5(head, usedforsecurity=False)
        while block := stream.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()
