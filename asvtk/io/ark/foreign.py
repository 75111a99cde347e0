r"""Arks and scp files that other programs wrote: every kind of matrix that Kaldi and kaldiio know.

    FM CM2 CM    our own kinds, see ``matrices``; decoded as the feature cache does
    DM CM3 NPY   float64, 8 bits in even steps, a NumPy array (``write_function="numpy"``); decoded by kaldiio
    text         ``key [ 1 2 \n 3 4 ]``

kaldiio's own way to an entry would run commands (``... |``), unpickle (``PKL``), open devices, and take
memory for whatever size a header claims. Here an entry is found and measured first, against the size of its
file; kaldiio then gets its very bytes, of a kind that is on this list, and no file.
"""

import io
import math
import os
import re
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from asvtk.io.ark.matrices import CODECS
from asvtk.io.errors import AsvtkError

__all__ = ["ForeignEntry", "bytes_before", "entry_shape", "find_entries", "read_entry"]

_KINDS = "a matrix (FM, DM, CM, CM2, CM3, a NumPy array or text)"
_OTHER_KINDS = {
    b"PKL": "a pickle, which can run any code when it is read",
    b"AUDIO": "audio",
    b"RIFF": "audio",
    b"fLaC": "audio",
    b"\0B\4": "a vector of integers",
    b"\0BFV ": "a vector",
    b"\0BDV ": "a vector",
}
_COMPRESSED = {b"\x1f\x8b": "gzip -d", b"BZh": "bzip2 -d", b"\xfd7zXZ": "xz -d", b"(\xb5/\xfd": "zstd -d"}
_HEAD_BYTES = 4096  # longer than any header, and than a key
_LINE_BYTES = 1 << 16  # longer than any line of an scp
_TEXT_BYTES = 1 << 28  # the longest matrix in text
_MOST_BYTES = 1 << 32  # the largest matrix: a file with holes may be any size
_OWN = {codec.token: codec for codec in CODECS.values()}
_DOUBLE = struct.Struct("<5sbibi")  # token, 4, rows, 4, columns
_EIGHT_BITS = struct.Struct("<6sffii")  # token, minimum, range, rows, columns
_RANGE = re.compile(r"(?:(\d{1,9}):(\d{1,9})|:?)")


class ForeignEntry(NamedTuple):
    """Where a matrix of an utterance lies."""

    key: str
    listed: str  # file and line that name it, for messages
    ark: str
    offset: int
    ranges: tuple[tuple[int, int] | None, ...] = ()  # of rows, and of columns: first and last


class _Header(NamedTuple):
    """What stands before the numbers; ``end`` is the first byte behind them."""

    kind: str
    shape: tuple[int, int]
    end: int


def find_entries(source: str) -> Iterator[ForeignEntry]:
    """The matrices of an ark or scp file, in its order; no numbers are read.

    Args:
        source: ``NAME.ark`` or ``NAME.scp``, or with other endings ``ark:NAME`` or ``scp:NAME``. Paths in an
            scp begin where this process runs, as in Kaldi.

    Raises:
        AsvtkError: no such file, a command, or anything else that is not as it should be; with the line.
    """
    kind, _, path = source.partition(":")
    if kind not in ("ark", "scp"):
        kind, path = source.rpartition(".")[2], source
    _refuse_commands(path, source)
    if kind not in ("ark", "scp"):
        raise AsvtkError(
            f"{source}: expected NAME.ark or NAME.scp; write ark:NAME or scp:NAME for other endings"
        )
    return _scp_entries(path) if kind == "scp" else _ark_entries(path)


def entry_shape(entry: ForeignEntry) -> tuple[int, int]:
    """Rows and columns that ``read_entry`` will give; of a matrix in binary only the header is read.

    Raises:
        AsvtkError: as ``read_entry``, but for the numbers themselves.
    """
    with _open(entry.ark, _name(entry)) as (descriptor, size):
        header = _measure(descriptor, size, entry)
    return tuple(
        len(range(*part.indices(n))) for part, n in zip(_slices(entry, header), header.shape, strict=True)
    )


def bytes_before(entry: ForeignEntry, count: int) -> bytes:
    """The last bytes before a matrix, where an ark has its key; nothing in a file without keys."""
    begin = max(0, entry.offset - count)
    with _open(entry.ark, _name(entry)) as (descriptor, _):
        return _read(descriptor, entry.offset - begin, begin)


def read_entry(entry: ForeignEntry) -> np.ndarray:
    """The matrix: float32, shape (frames, dimensions).

    Raises:
        AsvtkError: the file is missing or damaged, or there is something else than a matrix; says what.
    """
    with _open(entry.ark, _name(entry)) as (descriptor, size):
        header = _measure(descriptor, size, entry)
        content = _read(descriptor, header.end - entry.offset, entry.offset)
    if len(content) < header.end - entry.offset:
        raise _refusal(entry, "ends before the matrix does", "was it cut, or is it being written?")
    matrix = _decode(entry, header, content)[_slices(entry, header)]
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(matrix, np.float32)


def _decode(entry: ForeignEntry, header: _Header, content: bytes) -> np.ndarray:
    if header.kind == "text":
        return _parse_text(entry, content)
    codec = CODECS.get(header.kind)
    if codec is not None:

        def fill(body):
            body.reshape(-1).view(np.uint8)[...] = np.frombuffer(content, np.uint8, offset=codec.header.size)

        matrix = np.empty(header.shape, np.float32)
        codec.decode(fill, codec.parse(content)[2], matrix)
        return matrix
    from kaldiio.matio import read_kaldi

    # Of these kinds it unpickles nothing: numpy refuses objects unless it is told otherwise.
    return read_kaldi(io.BytesIO(content))


# ---- scp


def _scp_entries(path: str) -> Iterator[ForeignEntry]:
    with _open(path, path) as (descriptor, _), open(descriptor, "rb", closefd=False) as lines:
        for number, line in enumerate(iter(lambda: lines.readline(_LINE_BYTES), b""), 1):
            where = f"{path}:{number}"
            if len(line) == _LINE_BYTES:
                raise AsvtkError(
                    f"{where}: has no end within {_LINE_BYTES} bytes; expected 'key file.ark:offset'"
                )
            try:
                fields = line.decode().split(maxsplit=1)
            except UnicodeDecodeError:
                raise AsvtkError(
                    f"{where}: expected lines of UTF-8 text; is it an ark, not an scp? Write ark:{path}"
                ) from None
            if len(fields) != 2:
                raise AsvtkError(f"{where}: expected 'key file.ark:offset', found {line.decode().strip()!r}")
            yield _parse_place(fields[0], fields[1].strip(), where)


def _parse_place(key: str, place: str, where: str) -> ForeignEntry:
    """``file.ark``, ``file.ark:OFFSET``, either with a range: ``[0:51]``, ``[0:51,3:5]``, ``[,3:5]``."""
    _refuse_commands(place, f"{where}: {key}")
    ranges = ()
    if place.endswith("]") and "[" in place:
        place, _, text = place[:-1].rpartition("[")
        parsed = [_RANGE.fullmatch(part.strip()) for part in text.split(",")]
        if len(parsed) > 2 or not all(parsed):
            raise AsvtkError(
                f"{where}: {key}: range [{text}]: expected [rows] or [rows,columns], each first:last"
            )
        ranges = tuple((int(part[1]), int(part[2])) if part[1] else None for part in parsed)
    ark, colon, offset = place.rpartition(":")
    if not colon or not offset.isdecimal():
        ark, offset = place, "0"  # a file that holds one matrix, and no key
    if len(offset) > 18:  # what fits 64 bits
        raise AsvtkError(
            f"{where}: {key}: offset {offset}: expected the byte of {ark} where the matrix begins"
        )
    return ForeignEntry(key, where, ark, int(offset), ranges)


def _refuse_commands(place: str, where: str) -> None:
    if place.strip().startswith("|") or place.strip().endswith("|"):
        raise AsvtkError(
            f"{where}: {place!r} is a command, which is never run here; run it yourself, and import "
            "the ark that it writes"
        )
    if place.strip() == "-":
        raise AsvtkError(f"{where}: '-' (standard input) cannot be read; expected the path of a file")


# ---- arks


def _ark_entries(path: str) -> Iterator[ForeignEntry]:
    where = path
    with _open(path, where) as (descriptor, size):
        offset = 0
        while offset < size:
            head = _read(descriptor, _HEAD_BYTES, offset)
            name = re.match(rb"[^\x00-\x20]+ ", head)
            if offset == 0:
                _refuse_compressed(where, head)
            try:
                key = name[0][:-1].decode() if name else None
            except UnicodeDecodeError:
                key = None
            if key is None:
                raise AsvtkError(
                    f"{where}: byte {offset}: expected a key, a space and a matrix, found {head[:12]!r}; "
                    "is this an ark? Was it cut?"
                )
            entry = ForeignEntry(key, where, path, offset + len(name[0]))
            yield entry
            header = _measure(descriptor, size, entry)
            offset = header.end
            if header.kind == "text" and _read(descriptor, 1, offset) == b"\n":
                offset += 1


def _measure(descriptor: int, size: int, entry: ForeignEntry) -> _Header:
    """Read a header and check it against the size of the file, before memory is taken for numbers."""
    offset = entry.offset
    if offset >= size:
        raise _refusal(entry, f"has {size} bytes", "was it cut, or has it changed since the scp was written?")
    head = _read(descriptor, _HEAD_BYTES, offset)
    if offset == 0:
        _refuse_compressed(_name(entry), head)
    for mark, what in _OTHER_KINDS.items():
        if head.startswith(mark):
            raise _refusal(entry, f"holds {what}", f"expected {_KINDS}")
    if head.lstrip(b" \n").startswith(b"["):
        return _measure_text(descriptor, size, entry)
    try:
        header = _parse_header(head, offset)
    except struct.error:
        raise _refusal(entry, "ends within a header", "was it cut?") from None
    except ValueError as error:
        raise _refusal(entry, f"has a header that claims {error}", "is it damaged?") from None
    if header is None:
        raise _refusal(entry, f"holds {head[:8]!r}", f"expected {_KINDS}")
    rows, columns = header.shape
    if header.end > size:
        raise _refusal(
            entry,
            f"ends {header.end - size} bytes before the {rows} x {columns} numbers that its header claims",
            "was it cut, or is it damaged?",
        )
    if header.end - offset > _MOST_BYTES:
        raise _refusal(entry, f"holds {rows} x {columns} numbers", "expected the features of an utterance")
    return header


def _parse_header(head: bytes, offset: int) -> _Header | None:
    """Raises ValueError: no header is like that; None: it is of no kind that is known here."""
    token = head[: head.find(b" ") + 1]
    if token in _OWN:
        codec = _OWN[token]
        codec.header.unpack_from(head)  # a short one is a struct.error
        rows, columns, _ = codec.parse(head)
        kind, begin, count = token[2:-1].decode(), codec.header.size, codec.body_size(rows, columns)
    elif token == b"\0BDM ":
        _, four, rows, also_four, columns = _DOUBLE.unpack_from(head)
        if (four, also_four) != (4, 4):
            raise ValueError(f"integers of {four} and {also_four} bytes")
        kind, begin, count = "DM", _DOUBLE.size, 8 * rows * columns
    elif token == b"\0BCM3 ":
        _, minimum, span, rows, columns = _EIGHT_BITS.unpack_from(head)
        if not (math.isfinite(minimum) and 0 <= span < math.inf):
            raise ValueError(f"minimum {minimum} and range {span}")
        kind, begin, count = "CM3", _EIGHT_BITS.size, rows * columns
    elif head.startswith(b"NPY"):
        return _parse_numpy_header(head, offset)
    else:
        return None
    if rows < 0 or columns < 0:
        raise ValueError(f"{rows} x {columns} numbers")
    return _Header(kind, (rows, columns), offset + begin + count)


def _parse_numpy_header(head: bytes, offset: int) -> _Header:
    """``NPY``, the number of bytes of a length, that length, and a file as ``numpy.save`` writes it."""
    digits = head[3] if len(head) > 3 else 0
    begin = 4 + digits
    stream = io.BytesIO(head[begin:])
    if not 1 <= digits <= 8:
        raise ValueError(f"a length of {digits} digits")
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        shape, _, dtype = readers[np.lib.format.read_magic(stream)](stream)
    except Exception:  # it is parsed as Python: whatever that may raise
        raise ValueError("no array in NumPy's format 1 or 2") from None
    if dtype.hasobject or dtype.kind not in "fiu":
        raise ValueError(f"a NumPy array of {dtype}, where numbers are expected")
    if len(shape) != 2 or min(shape) < 0:
        raise ValueError(f"a NumPy array of shape {shape}, where a matrix is expected")
    length = int.from_bytes(head[4:begin], "little")
    if length != stream.tell() + dtype.itemsize * math.prod(shape):
        raise ValueError(f"{length} bytes for a NumPy array of {shape[0]} x {shape[1]} numbers of {dtype}")
    return _Header("NPY", tuple(shape), offset + begin + length)


# ---- text


def _measure_text(descriptor: int, size: int, entry: ForeignEntry) -> _Header:
    position, closed = entry.offset, -1
    limit = min(size, entry.offset + _TEXT_BYTES)
    while position < limit and closed < 0:
        chunk = _read(descriptor, 1 << 20, position)
        closed = chunk.find(b"]")
        position += len(chunk) if closed < 0 else closed + 1
        if not chunk:
            break
    if closed < 0 or position > limit:
        raise _refusal(
            entry,
            f"has no ']' within {limit - entry.offset} bytes",
            "was it cut? Binary arks can be any size",
        )
    matrix = _parse_text(entry, _read(descriptor, position - entry.offset, entry.offset))
    return _Header("text", matrix.shape, position)


def _parse_text(entry: ForeignEntry, content: bytes) -> np.ndarray:
    """``[``, a line of numbers for each row, ``]``.

    Not by kaldiio, which takes a matrix for integers if its first number has no point, such as 0 or 1e-05.
    """
    text = content.strip()[1:-1]
    if b"\n" not in text and text.split():
        raise _refusal(entry, "holds a vector", f"expected {_KINDS}")
    lines = [line.split() for line in text.split(b"\n") if line.strip()]
    width = len(lines[0]) if lines else 0
    matrix = np.empty((len(lines), width), np.float64)
    for number, line in enumerate(lines, 1):
        if len(line) != width:
            raise _refusal(
                entry,
                f"has {len(line)} numbers in row {number} and {width} in row 1",
                "expected as many in each row",
            )
        for column, word in enumerate(line):
            try:
                matrix[number - 1, column] = float(
                    word.replace(b"_", b"?")
                )  # Python takes 1_000 for a number
            except ValueError:
                raise _refusal(entry, f"has {word[:20]!r} in row {number}", "expected numbers") from None
    return matrix


# ---- files


@contextmanager
def _open(path: str, where: str):
    """Yields descriptor and size of a regular file; nothing waits for the writer of a pipe."""
    name = path if where == path else f"{where}: {path}"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:  # ValueError: a name with \0 in it
        problem = getattr(error, "strerror", error)
        raise AsvtkError(f"{name} cannot be read: {problem}; relative paths begin in {os.getcwd()}") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise AsvtkError(f"{name} is no regular file; expected an ark or scp file")
        yield descriptor, status.st_size
    finally:
        os.close(descriptor)


def _read(descriptor: int, count: int, offset: int) -> bytes:
    """So many bytes, or as many as there are."""
    content = os.pread(descriptor, count, offset)
    while 0 < len(content) < count:  # one call reads at most 2 GB
        chunk = os.pread(descriptor, count - len(content), offset + len(content))
        if not chunk:
            break
        content += chunk
    return content


def _slices(entry: ForeignEntry, header: _Header) -> tuple[slice, slice]:
    """The range of an scp line; Kaldi's includes the last row."""
    slices = [slice(None), slice(None)]
    for axis, limits in enumerate(entry.ranges):
        if limits is not None:
            first, last = limits
            if not first <= last < header.shape[axis]:
                raise _refusal(
                    entry,
                    f"has {header.shape[axis]} {('rows', 'columns')[axis]} there",
                    f"expected a range within them, found {first}:{last}",
                )
            slices[axis] = slice(first, last + 1)
    return tuple(slices)


def _refuse_compressed(where: str, head: bytes) -> None:
    for mark, program in _COMPRESSED.items():
        if head.startswith(mark):
            raise AsvtkError(f"{where}: is compressed as a whole; expected a plain ark: run {program} first")


def _name(entry: ForeignEntry) -> str:
    return f"{entry.listed}: {entry.key}"


def _refusal(entry: ForeignEntry, problem: str, advice: str) -> AsvtkError:
    ark = "" if entry.listed == entry.ark else f"{entry.ark} "
    return AsvtkError(f"{_name(entry)}: {ark}at byte {entry.offset}: {problem}; {advice}")
