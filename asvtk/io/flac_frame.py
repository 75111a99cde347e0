"""A frame of FLAC: subframes, prediction and Rice codes (RFC 9639, sections 4.2 and 9.2)."""

from operator import mul

import numpy as np

__all__ = ["CutOff", "Invalid", "decode_frame"]

_LEFT_SIDE, _SIDE_RIGHT, _MID_SIDE = 8, 9, 10  # codes of two channels of which one is a difference


class CutOff(Exception):
    """The bits end before the frame does."""


class Invalid(Exception):
    """Codes that no encoder writes."""


def decode_frame(data: bytes, begin: int, block: int, layout: int, bits: int) -> tuple[list[np.ndarray], int]:
    """Decode the subframes of a frame (section 9.2).

    Args:
        data: the frame, and perhaps more.
        begin: bytes of its header.
        block: samples of a channel.
        layout: the header's code of the channels.
        bits: of a sample.

    Returns:
        int32 samples, shape (block, channels), in one way; or in two, where samples leave the range: by plain
        prediction and by prediction from wrapped samples, both wrapped at last. And the bytes before the CRC.

    Raises:
        CutOff, Invalid: it is no whole frame.
    """
    reader, channels = _Bits(data, begin), layout + 1 if layout < _LEFT_SIDE else 2
    side = {_LEFT_SIDE: 1, _SIDE_RIGHT: 0, _MID_SIDE: 1}.get(layout)
    coded = [_subframe(reader, block, bits + (channel == side)) for channel in range(channels)]
    plain = _stereo(layout, [channel for channel, _ in coded])
    outcomes = [_wrap(plain, bits)]
    if not np.array_equal(plain, outcomes[0]) or any(other is not None for _, other in coded):
        other = _stereo(layout, [c if w is None else w for c, w in coded])
        outcomes.append(_wrap(other, bits))
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
        raise Invalid("a bit that must be 0 is 1")
    kind = reader.number(6)
    wasted = reader.unary() + 1 if reader.number(1) else 0
    bits -= wasted
    if bits < 1:
        raise Invalid("more bits are wasted than there are")
    if kind == 0:
        found = np.full(block, reader.signed(bits)), None
    elif kind == 1:
        found = reader.array(block, bits), None
    elif 8 <= kind <= 12 and kind - 8 <= block:
        found = _fixed(reader, block, bits, order=kind - 8)
    elif kind >= 32 and kind - 31 <= block:
        found = _linear(reader, block, bits, order=kind - 31)
    else:
        raise Invalid("a kind of subframe that RFC 9639 does not know")
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
        raise Invalid("coefficients of a kind that RFC 9639 forbids")
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
        raise Invalid("a code of the residual that RFC 9639 does not know")
    width, partitions = 4 + method, 1 << reader.number(4)
    length = block // partitions
    if block % partitions or length < order:
        raise Invalid("more partitions than samples")
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
        CutOff: more bits are asked for than there are.
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
            raise CutOff
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
            raise CutOff from None
        if at > self._end:
            raise CutOff
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
