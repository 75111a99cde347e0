"""FLAC, decoded by the rules of RFC 9639, for frames that other decoders refuse or garble.

Some encoders were given a sample one step above the largest that 16 bits hold (+32768, a clip scaled to its
negative peak). They stored it, computed the MD5 of the header from its low 16 bits (-32768), and in frames
with linear prediction went on from either value. About half of the files of ASVspoof 2021 are like that.
Such frames are decoded both ways here; the MD5 tells which of them the encoder took.

This decoder is some hundred times slower than libFLAC and takes files of a few minutes.
"""

import hashlib
from operator import mul
from typing import NamedTuple

import numpy as np

from asvtk.io.sound import Refused

__all__ = ["MAX_SAMPLES", "STREAMINFO_BYTES", "StreamInfo", "decode", "head_info", "octets"]

STREAMINFO_BYTES = 34
NO_FLAC = "it is no FLAC file"

#: of all channels; what takes some ten seconds
MAX_SAMPLES = 1 << 23
_MAX_FOREIGN = 100_000  # how often bytes may look like a frame and be none
_BLOCK_SIZES = {1: 192, **{n: 144 << n for n in range(2, 6)}, **{n: 1 << n for n in range(8, 16)}}
_BITS = {1: 8, 2: 12, 4: 16, 5: 20, 6: 24, 7: 32}
_LEFT_SIDE, _SIDE_RIGHT, _MID_SIDE = 8, 9, 10


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


class _CutOff(Exception):
    """The bits end before the frame does."""


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
    at = 0
    if data[:3] == b"ID3" and len(data) > 10:
        at = 10 + sum((octet & 127) << shift for octet, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
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
            outcomes, length = _subframes(window, header, info)
            break
        except _CutOff:
            step = 2 * len(window)
            if end == len(data):
                raise Refused(f"it is cut off in {where}") from None
            if len(window) == longest:
                raise Refused(f"{where}: is damaged") from None
        except _Invalid as error:
            raise Refused(f"{where}: {error}") from None
    if len(window) < length + 2:
        raise Refused(f"it is cut off in {where}")
    if _crc16(window[:length]) != int.from_bytes(window[length : length + 2], "big"):
        raise Refused(f"{where}: its checksum (CRC-16) is wrong")
    return at + length + 2, outcomes


class _Invalid(Exception):
    """Codes that no encoder writes."""


def _subframes(window: bytes, header: _Header, info: StreamInfo) -> tuple[list[np.ndarray], int]:
    """Samples of all channels (section 9.2), in one way or two, and the bytes up to the CRC."""
    layout, reader = header.layout, _Bits(window, header.length)
    side = {_LEFT_SIDE: 1, _SIDE_RIGHT: 0, _MID_SIDE: 1}.get(layout)
    coded = [_subframe(reader, header.block, info.bits + (c == side)) for c in range(info.channels)]
    plain = _stereo(layout, [channel for channel, _ in coded])
    outcomes = [_wrap(plain, info.bits)]
    if not np.array_equal(plain, outcomes[0]) or any(other is not None for _, other in coded):
        other = _stereo(layout, [c if w is None else w for c, w in coded])
        outcomes.append(_wrap(other, info.bits))
    return [outcome.T.astype(np.int32) for outcome in outcomes], (reader.at + 7) // 8


def _stereo(layout: int, channels: list[np.ndarray]) -> np.ndarray:
    """Undo the decorrelation of two channels (section 4.2)."""
    first, second = channels[0], channels[-1]
    if layout == _LEFT_SIDE:
        channels = [first, first - second]
    elif layout == _SIDE_RIGHT:
        channels = [first + second, second]
    elif layout == _MID_SIDE:
        double = first * 2 | second & 1
        channels = [(double + second) >> 1, (double - second) >> 1]
    return np.stack(channels)


def _wrap(numbers: np.ndarray, bits: int) -> np.ndarray:
    """The low bits of numbers, as signed ones."""
    half = 1 << bits - 1
    return (numbers + half & 2 * half - 1) - half


def _subframe(reader: "_Bits", block: int, bits: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Samples of one channel; and those by wrapped prediction, where samples leave the range."""
    if reader.number(1):
        raise _Invalid("a bit that must be 0 is 1")
    kind = reader.number(6)
    wasted = reader.unary() + 1 if reader.number(1) else 0
    bits -= wasted
    if bits < 1:
        raise _Invalid("more bits are wasted than there are")
    if kind == 0:
        found = np.full(block, reader.signed(bits)), None
    elif kind == 1:
        found = reader.array(block, bits), None
    elif 8 <= kind <= 12 and kind - 8 <= block:
        found = _fixed(reader, block, bits, order=kind - 8)
    elif kind >= 32 and kind - 31 <= block:
        found = _linear(reader, block, bits, order=kind - 31)
    else:
        raise _Invalid("a kind of subframe that RFC 9639 does not know")
    return tuple(None if samples is None else samples << wasted for samples in found)


def _fixed(reader: "_Bits", block: int, bits: int, order: int):
    """Fixed prediction (section 9.2.5): the residual is the difference of that order."""
    begin = reader.array(order, bits)
    samples = _residual(reader, block, order)
    for lower in reversed(range(order)):
        samples = np.diff(begin, lower)[-1] + np.cumsum(samples)
    samples = np.concatenate([begin, samples])
    wrapped = _wrap(samples, bits)
    return samples, None if np.array_equal(samples, wrapped) else wrapped


def _linear(reader: "_Bits", block: int, bits: int, order: int):
    """Linear prediction (section 9.2.6)."""
    begin = reader.array(order, bits).tolist()
    precision, shift = reader.number(4) + 1, reader.signed(5)
    if precision == 16 or shift < 0:
        raise _Invalid("coefficients of a kind that RFC 9639 forbids")
    taps = reader.array(order, precision)[::-1].tolist()
    residual = _residual(reader, block, order).tolist()
    half = 1 << bits - 1
    samples, inside = begin.copy(), True
    for start in range(0, len(residual), 256):
        for number in residual[start : start + 256]:
            samples.append(number + (sum(map(mul, taps, samples[-order:])) >> shift))
        part = samples[start + order :]
        inside = inside and -half <= min(part) and max(part) < half
        if not inside and max(map(abs, part)) >= 1 << 40:  # off and away: the other way it must be
            samples = None
            break
    if inside:
        return np.array(samples, np.int64), None
    wrapped = begin.copy()
    for number in residual:
        number += sum(map(mul, taps, wrapped[-order:])) >> shift
        wrapped.append((number + half & 2 * half - 1) - half)
    wrapped = np.array(wrapped, np.int64)
    return wrapped if samples is None else np.array(samples, np.int64), wrapped


def _residual(reader: "_Bits", block: int, order: int) -> np.ndarray:
    """The Rice-coded residual (section 9.2.7), shape (block - order,)."""
    method = reader.number(2)
    if method > 1:
        raise _Invalid("a code of the residual that RFC 9639 does not know")
    width, partitions = 4 + method, 1 << reader.number(4)
    length = block // partitions
    if block % partitions or length < order:
        raise _Invalid("more partitions than samples")
    parts = []
    for index in range(partitions):
        count = length - order if index == 0 else length
        parameter = reader.number(width)
        if parameter == (1 << width) - 1:
            parts.append(reader.array(count, reader.number(5)))
        else:
            parts.append(reader.rice(count, parameter))
    return np.concatenate(parts)


class _Bits:
    """The bits of a frame, from the highest of each byte.

    Raises:
        _CutOff: more bits are asked for than there are.
    """

    def __init__(self, data: bytes, begin: int):
        self._data, self.at, self._end = data, 8 * begin, 8 * len(data)
        self._bits = np.unpackbits(np.frombuffer(data, np.uint8))
        # For each bit the place of the first 1 at or after it: Rice codes are found by hopping through these.
        places = np.where(self._bits, np.arange(self._end, dtype=np.int32), np.int32(self._end))
        self._ones = memoryview(np.minimum.accumulate(places[::-1])[::-1].copy())

    def _skip(self, bits: int) -> int:
        at = self.at
        if at + bits > self._end:
            raise _CutOff
        self.at += bits
        return at

    def number(self, bits: int) -> int:
        at = self._skip(bits)
        octets = self._data[at >> 3 : (at + bits + 7) >> 3]
        return int.from_bytes(octets, "big") >> (-(at + bits) & 7) & (1 << bits) - 1

    def signed(self, bits: int) -> int:
        number = self.number(bits)
        return number - (number >> bits - 1 << bits) if bits else 0

    def unary(self) -> int:
        """How many 0 come before the next 1."""
        at = self.at
        stop = self._ones[at] if at < self._end else self._end
        self._skip(stop - at + 1)
        return stop - at

    def array(self, count: int, bits: int) -> np.ndarray:
        """Signed numbers of so many bits each."""
        at = self._skip(count * bits)
        numbers = self._gather(np.arange(at, at + count * bits, max(bits, 1)), bits, count)
        return numbers - (numbers >> bits - 1 << bits) if bits else numbers

    def rice(self, count: int, parameter: int) -> np.ndarray:
        """Signed numbers in a Rice code."""
        ones, at, step = self._ones, self.at, parameter + 1
        stops = []
        try:
            for _ in range(count):
                stops.append(stop := ones[at])
                at = stop + step
        except IndexError:
            raise _CutOff from None
        if at > self._end:
            raise _CutOff
        stops = np.array(stops, np.int64)
        quotients = np.diff(stops, prepend=self.at - step) - step
        self.at = at
        folded = quotients << parameter | self._gather(stops + 1, parameter, count)
        return folded >> 1 ^ -(folded & 1)

    def _gather(self, places: np.ndarray, bits: int, count: int) -> np.ndarray:
        numbers = np.zeros(count, np.int64)
        for offset in range(bits):
            numbers = numbers << 1 | self._bits[places + offset]
        return numbers


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
