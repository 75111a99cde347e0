"""Decoding by FFmpeg (package PyAV), for the audio files that libsndfile refuses.

Such are FLAC files whose header does not tell their length (FFmpeg writes them into pipes), with
damaged tags, pictures or seek tables, with foreign bytes between frames, and FLAC in Ogg of other
encoders. FFmpeg goes on behind damage as best it can, so that here every checksum is asked for: what is
returned is all of the audio that was encoded, and nothing else.
"""

import hashlib

import numpy as np

__all__ = ["MissingPyav", "Refused", "decode"]

#: what loses nothing and is 16 to 32 bits of integers
_CODECS = ("flac", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be")
#: an audio file is data: FFmpeg must not take it for a playlist, and fetch what that names
_OPTIONS = {"format_whitelist": "flac,ogg,wav,w64,aiff,au,caf", "protocol_whitelist": "file"}
_SCALES = {"s16": 2.0**-15, "s32": 2.0**-31}
_STREAMINFO_BYTES = 34


class MissingPyav(Exception):
    """The package is not installed."""


class Refused(Exception):
    """FFmpeg cannot decode the file either, or not all of it."""


def decode(path) -> tuple[np.ndarray, int]:
    """Decode a file of one channel.

    Args:
        path: a FLAC file, FLAC in Ogg, or PCM.

    Returns:
        float32 samples in [-1, 1), shape (samples,), with the very bits that libsndfile gives for a file
        it reads; and the sample rate in Hz.

    Raises:
        MissingPyav: PyAV is not installed.
        Refused: it is no such file; or frames are damaged or missing, by the checksums of the frames, the
            number of samples and the MD5 of the header, as far as it has them (RFC 9639, sections 8.2
            and 9).
    """
    try:
        import av
    except ImportError:
        raise MissingPyav from None
    try:
        with av.open(str(path), options=_OPTIONS) as container:
            if not container.streams.audio:
                raise Refused("it holds no audio")
            stream = container.streams.audio[0]
            codec = stream.codec_context
            if codec.name not in _CODECS:
                raise Refused(f"it is {codec.name}, expected integer PCM or FLAC")
            if codec.channels != 1:
                raise Refused(f"it has {codec.channels} channels, expected 1")
            codec.options = {"err_detect": "crccheck+explode"}
            header = bytes(codec.extradata or b"") if codec.name == "flac" else b""
            rate = codec.sample_rate
            frames, times = [], []
            for frame in container.decode(stream):
                frames.append(frame.to_ndarray().reshape(-1))
                times.append(frame.pts)
    except av.FFmpegError as error:
        raise Refused(error.strerror or type(error).__name__) from None
    if not frames:
        raise Refused("it holds no samples")
    samples = np.concatenate(frames)
    if not _checked(samples, header[-_STREAMINFO_BYTES:]):
        begins = np.cumsum([0, *map(len, frames[:-1])]).tolist()
        if times != begins:  # FFmpeg may drop a damaged frame without a word
            raise Refused("frames are damaged or missing")
    scale = _SCALES["s16" if samples.dtype == np.int16 else "s32"]
    return samples.astype(np.float32) * np.float32(scale), rate


def _checked(samples: np.ndarray, streaminfo: bytes) -> bool:
    """Whether the MD5 in a STREAMINFO vouches for the samples; zeros in it stand for unknown.

    Raises:
        Refused: it, or the number of samples, says that they are others.
    """
    if len(streaminfo) < _STREAMINFO_BYTES:
        return False
    packed = int.from_bytes(streaminfo[10:18], "big")  # rate: 20 bits, channels: 3, bits: 5, samples: 36
    bits, count, md5 = (packed >> 36 & 31) + 1, packed & (1 << 36) - 1, streaminfo[18:]
    if count and count != len(samples):
        raise Refused(f"{len(samples)} of {count} samples could be decoded")
    if any(md5) and md5 != _md5(samples, bits):
        raise Refused("the decoded samples are not those that were encoded: the MD5 in the header differs")
    return any(md5)


def _md5(samples: np.ndarray, bits: int) -> bytes:
    """MD5 of samples of so many bits, in as few whole bytes as hold them, little-endian."""
    width = 8 * samples.itemsize
    numbers = (samples >> (width - bits)).astype("<i4")  # FFmpeg aligns them to the left
    narrow = numbers.view(np.uint8).reshape(-1, 4)[:, : (bits + 7) // 8]
    return hashlib.md5(np.ascontiguousarray(narrow), usedforsecurity=False).digest()
