"""Matrices as Kaldi stores them: exact, in 16 bits, or in 8 bits.

    kind   bytes per number   error of a number
    FM     4                  none: float32, row by row
    CM2    2                  half a step of range / 65535, over the whole matrix
    CM     1                  half a step of its column's quarter: see ``OneByte``

An entry is ``\\0B``, the kind, a space, a header that holds the shape, and the numbers, all
little-endian. Kaldi and kaldiio read what is written here, bit for bit as if Kaldi had written it
(source: CompressedMatrix of Kaldi, src/matrix/compressed-matrix.cc, methods kTwoByteAuto and
kSpeechFeature). Everything here is a pure function of its arguments, and numpy works on large
arrays without the interpreter's lock: matrices can be encoded and decoded in threads.
"""

import math
import struct
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

__all__ = ["CODECS", "Codec", "Encoded", "TwoBytes", "encode_matrix", "entry_size"]

#: what stands behind the key in an ark, in parts that hold bytes; None: a matrix that must not be stored
Encoded = Sequence[bytes | np.ndarray] | None

STEPS = 65535  # of CM2's numbers, and of CM's percentiles
LARGEST = float(np.finfo(np.float32).max)
UINT16_STEP = np.float32(1.52590218966964e-05)  # 1 / STEPS as Kaldi rounds it
#: CM's bytes for the numbers between one percentile of a column and the next
QUARTERS = tuple(pairwise((0, 64, 192, 255)))


def encode_matrix(matrix: np.ndarray, kind: str = "FM") -> bytes:
    """Turn a matrix into the bytes of an entry, without its key.

    Args:
        matrix: shape (frames, dimensions); numbers of other types become float32 first.
        kind: FM, CM2 or CM.

    Raises:
        ValueError: no such kind; no matrix; or CM2 or CM of a matrix that is empty, not finite, or
            wider than the largest float32.
    """
    codec = _codec(kind)
    if np.ndim(matrix) != 2:
        raise ValueError(f"expected a matrix (frames, dimensions), found shape {np.shape(matrix)}")
    return b"".join(codec.encode(np.ascontiguousarray(matrix, dtype="<f4")))


def as_stored(matrix: np.ndarray, kind: str) -> np.ndarray:
    """What reading gives back of a float32 matrix that was stored: the same, but rounded."""
    codec, data = _codec(kind), encode_matrix(matrix, kind)
    rows, columns, scale = codec.parse(data)
    begin = codec.header.size

    def fill(array: np.ndarray) -> None:
        nonlocal begin
        array[...] = np.frombuffer(data, array.dtype, array.size, begin).reshape(array.shape)
        begin += array.nbytes

    out = np.empty((rows, columns), np.float32)
    codec.decode(fill, scale, out)
    return out


def entry_size(kind: str, rows: int, columns: int, key: str) -> int:
    """Bytes that a matrix takes in an ark, its key and all else included.

    Raises:
        ValueError: no such kind.
    """
    codec = _codec(kind)
    return len(key.encode()) + 1 + codec.header.size + codec.body_size(rows, columns)


def _codec(kind: str) -> "Codec":
    if kind not in CODECS:
        raise ValueError(f"no kind of matrices {kind!r}; there are {', '.join(CODECS)}")
    return CODECS[kind]


class Codec(Protocol):
    """How matrices of one kind stand in an ark."""

    token: bytes  # what an entry begins with
    header: struct.Struct  # the token, the shape, and what else stands before the numbers

    def head(self, rows: int, columns: int, scale: Any) -> bytes:
        """The header."""

    def parse(self, head: bytes) -> tuple[int, int, Any]:
        """Rows, columns, and the scale that ``decode`` takes. Raises ValueError: no header is like that."""

    def body_size(self, rows: int, columns: int) -> int:
        """Bytes behind the header."""

    def encode(self, matrix: np.ndarray) -> Iterable:
        """Header and body of a float32 matrix in C order, in pieces."""

    def decode(self, fill: Callable[[np.ndarray], None], scale: Any, out: np.ndarray) -> None:
        """Decode into ``out``, float32 (rows, columns) in C order; ``fill`` reads the body into an array."""


class Float32:
    """FM: the numbers as they are."""

    token = b"\0BFM "
    header = struct.Struct("<5sbibi")  # token, 4, rows, 4, columns: Kaldi tells how long its integers are

    def head(self, rows: int, columns: int, scale=None) -> bytes:
        return self.header.pack(self.token, 4, rows, 4, columns)

    def parse(self, head: bytes):
        _, four, rows, also_four, columns = self.header.unpack_from(head)
        if (four, also_four) != (4, 4):
            raise ValueError(f"integers of {four} and {also_four} bytes")
        return rows, columns, None

    def body_size(self, rows: int, columns: int) -> int:
        return 4 * rows * columns

    def encode(self, matrix: np.ndarray):
        return self.head(*matrix.shape), matrix

    def decode(self, fill, scale, out: np.ndarray) -> None:
        fill(out)


class _Compressed:
    """What CM2 and CM share: a header with minimum and range of the whole matrix, and its shape."""

    def head(self, rows: int, columns: int, scale) -> bytes:
        return self.header.pack(self.token, *scale, rows, columns)

    def parse(self, head: bytes):
        _, minimum, span, rows, columns = self.header.unpack_from(head)
        if not (math.isfinite(minimum) and 0 <= span < math.inf):
            raise ValueError(f"minimum {minimum} and range {span}")
        return rows, columns, (np.float32(minimum), np.float32(span))

    def encode(self, matrix: np.ndarray):
        scale = _minimum_and_span(matrix)
        return self.head(*matrix.shape, scale), *self.quantise(matrix, *scale)


class TwoBytes(_Compressed):
    """CM2: uint16, row by row, even steps from the minimum to the maximum of the matrix.

    The error of a number is at most 0.501 of a step of range / 65535 (Kaldi rounds at 0.501, not at
    0.5), and the rounding of float32. A constant matrix is exact.
    """

    token = b"\0BCM2 "
    header = struct.Struct("<6sffii")  # token, minimum, range, rows, columns

    def body_size(self, rows: int, columns: int) -> int:
        return 2 * rows * columns

    def quantise(self, matrix, minimum, span):
        return (_steps(matrix, minimum, span),)

    @staticmethod
    def step(scale) -> np.float32:
        """What one step is worth."""
        return np.float32(float(scale[1]) * (1 / STEPS))

    def decode(self, fill, scale, out: np.ndarray) -> None:
        steps = np.empty(out.shape, "<u2")
        fill(steps)
        np.multiply(steps, self.step(scale), out=out, dtype=np.float32)
        out += scale[0]


class OneByte(_Compressed):
    """CM: four percentiles of each column as uint16, then uint8, column by column.

    Byte 0 stands for the column's least number, 64 for its 25th percentile, 192 for its 75th, and
    255 for its largest, with even steps between. The error of a number is at most half a step:
    (p25 - p0) / 128, (p75 - p25) / 256 or (p100 - p75) / 126. As the percentiles are themselves
    rounded to steps of range / 65535 of the whole matrix, and kept at least one step apart, the
    outermost numbers may be off by up to 3.5 of those steps more.
    """

    token = b"\0BCM "
    header = struct.Struct("<5sffii")  # token, minimum, range, rows, columns

    def body_size(self, rows: int, columns: int) -> int:
        return columns * (8 + rows)

    def quantise(self, matrix, minimum, span):
        columns = np.ascontiguousarray(matrix.T)
        percentiles = _percentiles(columns, minimum, span)
        marks = _marks(percentiles, minimum, span)
        coded = np.empty(columns.shape, np.uint8)
        for part in _blocks(columns):
            coded[part] = self._code(columns[part], marks[:, part, None])
        return percentiles, coded

    def _code(self, columns: np.ndarray, marks: np.ndarray) -> np.ndarray:
        """The byte of each number: whole steps in the segments below it, and rounded ones in its own.

        A number beyond a segment fills it, one before it leaves it at 0: the sum over the segments
        is what Kaldi finds by asking for the segment of each number.
        """
        coded = np.zeros(columns.shape, np.uint8)
        rounded = np.empty(columns.shape, np.uint8)
        for (low, high), (left, right) in zip(QUARTERS, pairwise(marks), strict=True):
            width = right - left
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                share = columns - left
                share /= width
                share *= high - low
            if not width.all():  # the range is so small that marks coincide in float32
                np.copyto(share, (columns >= right) * np.float32(high - low), where=width == 0)
            np.clip(share, 0, high - low, out=share)
            np.add(share, 0.5, out=rounded, dtype=np.float64, casting="unsafe")
            coded += rounded
        return coded

    def decode(self, fill, scale, out: np.ndarray) -> None:
        rows, columns = out.shape
        body = np.empty(self.body_size(rows, columns), np.uint8)
        fill(body)
        marks = _marks(body[: 8 * columns].view("<u2").reshape(columns, 4), *scale)
        coded = np.ascontiguousarray(body[8 * columns :].reshape(columns, rows).T)
        # Few operations over the whole matrix: between any two, other threads may take the interpreter.
        steps, share = np.empty_like(coded), np.empty_like(out)
        for segment, ((low, high), (left, right)) in enumerate(zip(QUARTERS, pairwise(marks), strict=True)):
            np.clip(coded, low, high, out=steps)
            if low:
                steps -= np.uint8(low)
            numbers = share if segment else out
            numbers[...] = steps
            numbers *= (right - left) * np.float32(1 / (high - low))
            out += share if segment else left


def _minimum_and_span(matrix: np.ndarray) -> tuple[np.float32, np.float32]:
    """Minimum and range; a constant matrix gets a range as well, so that nothing is divided by 0."""
    if not matrix.size:
        raise ValueError(f"an empty matrix (shape {matrix.shape}) has no range; only FM can hold it")
    minimum, maximum = float(matrix.min()), float(matrix.max())
    if minimum == maximum:
        maximum = minimum + (1 + abs(minimum))
    if not (maximum <= LARGEST and maximum - minimum <= LARGEST):  # nan compares as False
        raise ValueError(f"CM2 and CM hold finite numbers of a float32 range, found {minimum} to {maximum}")
    # In float64 the difference of two float32 is as good as exact: it is rounded once, as Kaldi's is.
    maximum = float(np.float32(maximum))
    return np.float32(minimum), np.float32(maximum - minimum)


def _steps(numbers: np.ndarray, minimum: np.float32, span: np.float32) -> np.ndarray:
    """Numbers as uint16, in steps of range / 65535 from the minimum."""
    steps = numbers - minimum
    steps /= span
    steps *= np.float32(STEPS)
    # Kaldi adds a double, and float32 would round up past the next integer. The cast runs through
    # a small buffer: there is no whole array in float64.
    return np.add(steps, 0.499, out=np.empty(steps.shape, "<u2"), dtype=np.float64, casting="unsafe")


def _percentiles(columns: np.ndarray, minimum: np.float32, span: np.float32) -> np.ndarray:
    """The 0th, 25th, 75th and 100th percentile of each column, strictly rising: uint16 (columns, 4)."""
    ranks = quartile_ranks(columns.shape[1])
    steps = _steps(np.sort(columns, axis=1)[:, ranks], minimum, span)
    percentiles, last = np.zeros((len(columns), 4), "<u2"), -1
    percentiles[:, : steps.shape[1]] = steps  # what fewer than 4 rows leave at 0 follows one step behind
    for rank in range(4):
        percentiles[:, rank] = np.clip(percentiles[:, rank].astype(np.int32), last + 1, 65532 + rank)
        last = percentiles[:, rank].astype(np.int32)
    return percentiles


def quartile_ranks(rows: int) -> Sequence[int]:
    """Which numbers of a sorted column are its percentiles."""
    return (0, rows // 4, 3 * (rows // 4), rows - 1) if rows >= 5 else range(rows)


def _marks(percentiles: np.ndarray, minimum: np.float32, span: np.float32) -> np.ndarray:
    """Percentiles as float32, shape (4, columns)."""
    return minimum + (span * UINT16_STEP) * percentiles.T.astype(np.float32)


def _blocks(array: np.ndarray):
    """Slices of rows that fit a processor's cache while several operations pass over them."""
    step = max(1, 65536 // max(1, array.shape[1]))
    return [slice(start, start + step) for start in range(0, len(array), step)]


CODECS: dict[str, Codec] = {"FM": Float32(), "CM2": TwoBytes(), "CM": OneByte()}
