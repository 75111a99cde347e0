"""FLAC, decoded by the rules of RFC 9639, for frames that other decoders refuse or garble.

Some encoders were given a sample one step above the largest that 16 bits hold (+32768, a clip scaled to its
negative peak). They stored it, computed the MD5 of the header from its low 16 bits (-32768), and in frames
with linear prediction went on from either value. About half of the files of ASVspoof 2021 are like that.
Such frames are decoded both ways here; the MD5 tells which of them the encoder took.

This decoder is some hundred times slower than libFLAC and takes files of a few minutes.
"""

import hashlib
from typing import NamedTuple

import numpy as np

from asvtk.io.flac_frame import CutOff, Invalid, decode_frame
from asvtk.io.sound import Refused, id3_size

__all__ = ["MAX_SAMPLES", "STREAMINFO_BYTES", "StreamInfo", "decode", "head_info", "octets"]

STREAMINFO_BYTES = 34
NO_FLAC = "it is no FLAC file"

#: of all channels; what takes some ten seconds
MAX_SAMPLES = 1 << 23
_MAX_FOREIGN = 100_000  # how often bytes may look like a frame and be none
_BLOCK_SIZES = {1: 192, **{n: 144 << n for n in range(2, 6)}, **{n: 1 << n for n in range(8, 16)}}
_BITS = {1: 8, 2: 12, 4: 16, 5: 20, 6: 24, 7: 32}


class StreamInfo(NamedTuple):
    """The block STREAMINFO (section 8.2)."""

    rate: int  # Hz
    channels: int
    bits: int  # of a sample
    samples: int  # of a channel; 0: unknown
    md5: bytes  # of all samples; zeros: unknown

    @classmethod
    def parse(cls, block: bytes) -> "StreamInfo":
        """From the 34 bytes of the block."""
        packed = int.from_bytes(block[10:18], "big")
        return cls(
            rate=packed >> 44,
            channels=(packed >> 41 & 7) + 1,
            bits=(packed >> 36 & 31) + 1,
            samples=packed & (1 << 36) - 1,
            md5=block[18:34],
        )

    @property
    def has_md5(self) -> bool:
        return any(self.md5)

    def check(self, count: int, md5: bytes | None) -> None:
        """Compare the number of samples of a channel, and the MD5 of all, as far as the block has them.

        Raises:
            Refused: they differ.
        """
        if self.samples and self.samples != count:
            raise Refused(f"{count} of {self.samples} samples could be decoded: it is cut off")
        if self.has_md5 and self.md5 != md5:
            raise Refused("the decoded samples are not those encoded: the MD5 in the header differs")


def octets(samples: np.ndarray, bits: int) -> bytes:
    """What the MD5 is taken of: interleaved samples, each in as few whole bytes as hold it, little-endian."""
    numbers = np.ascontiguousarray(samples, "<i4").view(np.uint8).reshape(-1, 4)
    return numbers[:, : (bits + 7) // 8].tobytes()


def _md5(samples: np.ndarray, info: StreamInfo) -> bytes:
    return hashlib.md5(octets(samples, info.bits), usedforsecurity=False).digest()


class _Header(NamedTuple):
    """A frame's header (section 9.1)."""

    length: int  # bytes
    block: int  # samples of a channel
    layout: int  # code of the channels
    number: int  # of the frame, or of its first sample


def head_info(head: bytes) -> StreamInfo | None:
    """The STREAMINFO of a plain FLAC file, from its first 42 bytes; None: it is another."""
    if head[:4] != b"fLaC" or len(head) < 8 + STREAMINFO_BYTES:
        return None
    return StreamInfo.parse(head[8 : 8 + STREAMINFO_BYTES])


def _stream_info(data: bytes) -> tuple[StreamInfo, int]:
    """The STREAMINFO of a FLAC file, and where its frames begin.

    Raises:
        Refused: it is no FLAC file, or cut off in its header.
    """
    at = id3_size(data[:10])
    if data[at : at + 4] != b"fLaC":
        raise Refused(NO_FLAC)
    info, at, last = None, at + 4, False
    while not last:
        if len(data) < at + 4:
            raise Refused("it is cut off in its header")
        last, kind = data[at] >> 7, data[at] & 127
        begin, at = at + 4, at + 4 + int.from_bytes(data[at + 1 : at + 4], "big")
        if kind == 0 and at - begin >= STREAMINFO_BYTES <= len(data) - begin:
            info = StreamInfo.parse(data[begin : begin + STREAMINFO_BYTES])
    if info is None:
        raise Refused("its header has no STREAMINFO")
    return info, at


def decode(data: bytes) -> tuple[np.ndarray, StreamInfo]:
    """Decode a FLAC file.

    Foreign bytes between frames are passed over. Nothing that is lost is: every frame must be there, with
    the right checksums.

    Args:
        data: the content of the file.

    Returns:
        int32 samples, shape (samples, channels), and the STREAMINFO.

    Raises:
        Refused: it is no FLAC file, cut off, damaged, longer than `MAX_SAMPLES`; or samples leave the range
            and no MD5 tells what they were.
    """
    info, at = _stream_info(data)
    if info.bits < 4:
        raise Refused(f"its header says {info.bits} bits a sample")
    if info.samples * info.channels > MAX_SAMPLES:
        raise _too_long()
    frames, wrapped, count, blocking = [], {}, 0, None
    finder = _Finder(data, info)
    while not (info.samples and count >= info.samples):
        at, header = finder.next(at, blocking)
        if header is None:
            break
        blocking = data[at + 1]
        if header.number != (count if blocking & 1 else len(frames)):
            raise Refused(f"frames are missing after sample {count}")
        at, outcomes = _frame(data, at, header, info, finder, f"frame {len(frames)}, at sample {count}")
        if len(outcomes) == 2:
            wrapped[len(frames)] = outcomes[1]
        frames.append(outcomes[0])
        count += header.block
        if count * info.channels > MAX_SAMPLES:
            raise _too_long()
    if not frames:
        raise Refused("it is cut off before its first frame" if info.samples else "it holds no samples")
    return _judged(frames, wrapped, info), info


def _judged(frames: list, wrapped: dict, info: StreamInfo) -> np.ndarray:
    """All samples, in the way of two whose MD5 is right; ``wrapped`` holds frames that have another."""
    samples = np.concatenate(frames)
    if wrapped:
        other = np.concatenate([wrapped.get(index, frame) for index, frame in enumerate(frames)])
        if info.has_md5 and _md5(samples, info) != info.md5:
            samples = other
        elif not info.has_md5 and not np.array_equal(samples, other):
            raise Refused(f"samples leave the range of {info.bits} bits, and no MD5 tells what they were")
    info.check(len(samples), _md5(samples, info) if info.has_md5 else None)
    return samples


def _too_long() -> Refused:
    return Refused(f"it has more than {MAX_SAMPLES} samples, which asvtk's own FLAC decoder does not take")


class _Finder:
    """Where frames may begin: at a sync code with a header that makes sense and has its checksum."""

    def __init__(self, data: bytes, info: StreamInfo):
        self._data, self._info, self._budget = data, info, _MAX_FOREIGN

    def next(self, at: int, blocking: int | None) -> tuple[int, _Header | None]:
        """The first header at or after a byte; ``blocking`` is the second byte of each, if known."""
        data = self._data
        code = b"\xff" if blocking is None else bytes([0xFF, blocking])
        while (at := data.find(code, at)) >= 0:
            if (blocking or data[at + 1 : at + 2] in (b"\xf8", b"\xf9")) and (header := self._header(at)):
                return at, header
            at += 1
            self._budget -= 1
            if self._budget < 0:
                raise Refused("it is damaged: too much in it is no frame")
        return len(data), None

    def _header(self, at: int) -> _Header | None:
        octets = self._data[at : at + 16]  # no header is longer
        if len(octets) < 6:
            return None
        block, rate, layout, bits = octets[2] >> 4, octets[2] & 15, octets[3] >> 4, octets[3] >> 1 & 7
        channels = layout + 1 if layout < 8 else 2
        if octets[3] & 1 or rate == 15 or layout > 10 or channels != self._info.channels:
            return None
        if bits and _BITS.get(bits) != self._info.bits:
            return None
        # The number is coded as UTF-8 would, with up to 36 bits.
        more = next((n for n in range(8) if not octets[4] << n & 128), 8)
        length = 5 + max(0, more - 1)
        if more in (1, 8) or len(octets) < length + 1:
            return None
        number = octets[4] if not more else octets[4] & (1 << 7 - more) - 1
        for octet in octets[5:length]:
            if octet >> 6 != 2:
                return None
            number = number << 6 | octet & 63
        size = _BLOCK_SIZES.get(block)
        if block in (6, 7):
            size = int.from_bytes(octets[length : length + block - 5], "big") + 1
            length += block - 5
        length += {12: 1, 13: 2, 14: 2}.get(rate, 0)
        if size is None or len(octets) <= length or _crc8(octets[:length]) != octets[length]:
            return None
        return _Header(length + 1, size, layout, number)


def _frame(data: bytes, at: int, header: _Header, info: StreamInfo, finder: _Finder, where: str):
    """Where a frame ends, and its samples in one way, or in two where they leave the range.

    Raises:
        Refused: with what is wrong with the frame.
    """
    # Twice the size of plain numbers.
    longest = header.length + header.block * info.channels * (info.bits + 1) // 4 + 256
    end, step = at, 0
    while True:
        # Up to what looks like the next frame; further if that was none.
        end, _ = finder.next(max(end + 1, at + step), data[at + 1])
        window = data[at : min(end, at + longest)]
        try:
            outcomes, length = decode_frame(window, header.length, header.block, header.layout, info.bits)
            break
        except CutOff:
            step = 2 * len(window)
            if end == len(data):
                raise Refused(f"it is cut off in {where}") from None
            if len(window) == longest:
                raise Refused(f"{where}: is damaged") from None
        except Invalid as error:
            raise Refused(f"{where}: {error}") from None
    if len(window) < length + 2:
        raise Refused(f"it is cut off in {where}")
    if _crc16(window[:length]) != int.from_bytes(window[length : length + 2], "big"):
        raise Refused(f"{where}: its checksum (CRC-16) is wrong")
    return at + length + 2, outcomes


def _table(polynomial: int, bits: int) -> list[int]:
    """The remainder of each byte, for a checksum that is computed byte by byte."""
    table = []
    for value in range(256):
        value <<= bits - 8
        for _ in range(8):
            value = value << 1 ^ (polynomial if value >> bits - 1 else 0)
            value &= (1 << bits) - 1
        table.append(value)
    return table


_TABLE_8, _TABLE_16 = _table(0x07, 8), _table(0x8005, 16)


def _crc8(octets: bytes) -> int:
    remainder = 0
    for octet in octets:
        remainder = _TABLE_8[remainder ^ octet]
    return remainder


def _crc16(octets: bytes) -> int:
    remainder, table = 0, _TABLE_16
    for octet in octets:
        remainder = (remainder << 8 & 0xFFFF) ^ table[remainder >> 8 ^ octet]
    return remainder
