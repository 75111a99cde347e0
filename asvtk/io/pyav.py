"""Decoding by FFmpeg (package PyAV), for the sound files that libsndfile refuses.

FFmpeg goes on behind damage as best it can. Of FLAC every checksum is asked for here: what is returned is all
of the audio that was encoded, and nothing else.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from asvtk.io import flac
from asvtk.io.sound import Refused, Sound

__all__ = ["UNKNOWN", "opened"]

UNKNOWN = "FFmpeg does not know what it is"

#: A sound file is data: FFmpeg must not take it for a playlist, and fetch what that names.
_FORMATS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,dts,eac3,flac,flv,gsm,iff,ircam,loas,matroska,mp3,mp4,"
    "mpc,mpc8,mpeg,mpegts,nistsphere,ogg,oma,qcp,rm,sox,tak,tta,voc,w64,wav,wv,xwma"
)
_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": ""}
_SCALES = {"u8": 2.0**-7, "s16": 2.0**-15, "s32": 2.0**-31, "flt": 1.0, "dbl": 1.0}


@contextlib.contextmanager
def opened(file: BinaryIO) -> Iterator[Sound]:
    """Open the first sound track of a file.

    Raises:
        Refused: PyAV cannot be imported; FFmpeg does not know the file, or it has no sound. While it is read:
            FFmpeg cannot decode all of it; frames of FLAC are damaged or missing, by the checksums of the
            frames, the number of samples and the MD5 of the header, as far as it has them (RFC 9639,
            sections 8.2 and 9).
    """
    try:
        import av
    except ImportError as error:
        raise Refused(f"PyAV, which reads more kinds of files, cannot be imported ({error})") from None
    try:
        # Of tags that are no UTF-8; PyAV 19 takes them as they are, and no longer asks.
        tags = {} if int(av.__version__.partition(".")[0]) >= 19 else {"metadata_errors": "replace"}
        container = av.open(_Source(file), options=_OPTIONS, **tags)
    except (av.FFmpegError, av.ArgumentError) as error:
        known = not isinstance(error, (av.InvalidDataError, av.ArgumentError))
        raise Refused(error.strerror if known and error.strerror else UNKNOWN) from None
    try:
        with container:
            if not container.streams.audio:
                raise Refused("it has no sound track")
            stream = container.streams.audio[0]
            codec = stream.codec_context
            if codec is None:
                raise Refused("its sound is coded in a way that FFmpeg does not know")
            lossless = codec.name == "flac"
            if lossless:
                codec.options = {"err_detect": "crccheck+explode"}
            elif codec.name == "alac" and container.format.name == "caf":
                # Its frames tell how long they are; FFmpeg would cut the last one once more.
                codec.flags2 |= av.codec.context.Flags2.skip_manual
            frames = _frames(container, stream)
            first = next(frames, None)
            if first is None:
                raise Refused("it holds no samples")
            check = None
            if lossless and codec.extradata:
                check = _FlacCheck(bytes(codec.extradata), "flac" in container.format.name)
            yield Sound(
                rate=first.sample_rate,
                channels=first.layout.nb_channels,
                coding=codec.name,
                integer=lossless or codec.name.startswith(("pcm_s16", "pcm_s24", "pcm_s32")),
                length=None,
                blocks=_blocks(first, frames, check),
            )
    except (av.FFmpegError, av.ArgumentError) as error:
        raise Refused(f"FFmpeg cannot decode it: {error.strerror or type(error).__name__}") from None


class _Source:
    """The file as FFmpeg sees it: where a damaged header sends it beyond all bounds, it is told so."""

    def __init__(self, file: BinaryIO):
        self.read, self.tell = file.read, file.tell
        self._seek, self._size = file.seek, file.seek(0, os.SEEK_END)
        file.seek(0)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        begins = {os.SEEK_SET: 0, os.SEEK_CUR: self.tell(), os.SEEK_END: self._size}
        place = begins.get(whence, -1 << 63) + offset
        return self._seek(place) if 0 <= place <= self._size else -1


def _frames(container, stream) -> Iterator:
    """Decoded frames. The last packet of an MP3 file may be incomplete, as a matter of course."""
    import av

    seconds, fault = 0.0, None
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.EOFError:
            break
        except av.FFmpegError as error:
            fault = fault or f"after {seconds:.2f} s comes what is no sound ({error.strerror})"
            if stream.codec_context.name not in ("mp3", "mp3float"):
                raise Refused(fault) from None
            continue
        if frames and fault and seconds:
            raise Refused(fault)
        for frame in frames:
            seconds += frame.samples / frame.sample_rate
            yield frame


def _blocks(first, frames, check: "_FlacCheck | None") -> Iterator[np.ndarray]:
    channels, rate = first.layout.nb_channels, first.sample_rate
    scale = _SCALES.get(first.format.name.rstrip("p"))
    if scale is None:
        raise Refused(f"samples of the kind {first.format.name}")
    frame = first
    while frame is not None:
        if (frame.layout.nb_channels, frame.sample_rate) != (channels, rate):
            raise Refused("its rate or its channels change midway")
        block = frame.to_ndarray()
        block = block.T if frame.format.is_planar else block.reshape(-1, channels)
        if check is not None:
            check.add(block, frame.pts)
        if block.dtype == np.uint8:
            block = block.astype(np.float32) - 128
        yield block.astype(np.float32) * np.float32(scale)
        frame = next(frames, None)
    if check is not None:
        check.finish()


class _FlacCheck:
    """Whether decoded samples are all that a FLAC stream holds."""

    def __init__(self, extradata: bytes, is_native: bool):
        self._info = flac.StreamInfo.parse(extradata[-flac.STREAMINFO_BYTES :])
        self._native, self._md5 = is_native, hashlib.md5(usedforsecurity=False)
        self._count, self._gap, self._lowest = 0, False, False

    def add(self, block: np.ndarray, time: int | None) -> None:
        bits = self._info.bits
        numbers = block >> 8 * block.itemsize - bits  # FFmpeg aligns them to the left
        self._gap |= time != self._count  # FFmpeg may drop a damaged frame without a word
        self._count += len(numbers)
        if self._info.has_md5:
            self._md5.update(flac.octets(numbers, bits))
        else:
            self._lowest |= bool(numbers.min(initial=0) == -1 << bits - 1)

    def finish(self) -> None:
        info = self._info
        info.check(self._count, self._md5.digest() if info.has_md5 else None)
        if info.has_md5:
            return
        if self._gap:
            raise Refused("frames are damaged or missing")
        # It may be the largest number and one: see asvtk.io.flac, which can tell.
        if self._lowest and self._native and self._count * info.channels <= flac.MAX_SAMPLES:
            raise Refused("a sample may be out of range")
