"""Kaldi archives of float32 matrices: our own writer and reader.

An entry of an ark is ``key``, a space, ``\\0B``, the token ``FM ``, and rows and columns, each as the
byte 4 and a little-endian int32, followed by the numbers row by row. A line of the scp is
``key file.ark:OFFSET``, where the offset points at ``\\0``. Kaldi and kaldiio read these files.

Why our own: kaldiio unpickles what an ark tells it to, runs pipes found in scp files, shares file
positions between threads, and returns short vectors without a word. Here only matrices are read,
with ``pread`` (no shared position: any number of threads and forked workers), length-checked.
"""

import os
import resource
import struct
import time
from pathlib import Path

import numpy as np

from asvtk.io.errors import AsvtkError

__all__ = ["ArkWriter", "MatrixReader", "parse_scp_line", "read_scp"]

_TOKEN = b"\0BFM "
_HEADER = struct.Struct("<5sbibi")  # token, 4, rows, 4, columns


class ArkWriter:
    """Append matrices to a new ark, so that a kill at any instant loses only the open buffer.

    Numbers are synced to disk before the scp lines that point at them are written: every whole line
    of the scp, at any time, has its data behind it.

    Args:
        ark, scp: paths; neither may exist.
        buffer_bytes, buffer_seconds: how much, and how long, to gather before it is written.
    """

    def __init__(self, ark, scp, buffer_bytes: int = 8 << 20, buffer_seconds: float = 5.0):
        self.ark = Path(ark).absolute()
        self.written = 0
        self._buffer_bytes, self._buffer_seconds = buffer_bytes, buffer_seconds
        self._flushed = time.monotonic()
        self._data = bytearray()
        self._lines = []
        self._offset = 0  # size of the ark, and below of the scp, as of the last flush
        self._scp_size = 0
        self._ark_stream = open(self.ark, "xb", buffering=0)
        self._scp_stream = open(scp, "xb", buffering=0)

    def write(self, key: str, matrix: np.ndarray) -> None:
        """Add one matrix, shape (frames, dimensions)."""
        matrix = np.ascontiguousarray(matrix, dtype="<f4")
        rows, columns = matrix.shape
        self._data += key.encode() + b" "
        self._lines.append(f"{key} {self.ark}:{self._offset + len(self._data)}\n")
        self._data += _HEADER.pack(_TOKEN, 4, rows, 4, columns)
        self._data += matrix.data.cast("B")
        late = time.monotonic() - self._flushed > self._buffer_seconds
        if late or len(self._data) >= self._buffer_bytes:
            self.flush()

    def flush(self) -> None:
        """Bring the buffer to disk: first the numbers, then the lines.

        Raises:
            AsvtkError: the disk is full or failed; what was flushed before is safe.
        """
        if not self._lines:
            return
        try:
            _write_all(self._ark_stream, self._data)
            os.fsync(self._ark_stream.fileno())
            _write_all(self._scp_stream, "".join(self._lines).encode())
            os.fsync(self._scp_stream.fileno())
        except OSError as error:
            self._take_back()
            raise AsvtkError(
                f"{self.ark}: cannot be written: {error.strerror or error}. The {self.written} matrices "
                "written before are safe: make room and run the same command again, and it goes on there"
            ) from error
        self.written += len(self._lines)
        self._offset += len(self._data)
        self._scp_size = os.fstat(self._scp_stream.fileno()).st_size
        self._flushed = time.monotonic()
        self._data.clear()
        self._lines.clear()

    def _take_back(self) -> None:
        """Drop what a failed flush left, in memory and on disk: another try behind torn bytes would lie."""
        self._data = bytearray()  # not clear(): the traceback may still hold a view of the old one
        self._lines.clear()
        for stream, size in ((self._ark_stream, self._offset), (self._scp_stream, self._scp_size)):
            os.truncate(stream.fileno(), size)
            stream.seek(size)

    def close(self) -> None:
        self.flush()
        self._ark_stream.close()
        self._scp_stream.close()


def _write_all(stream, data) -> None:
    """Write all of ``data``: on a nearly full disk the system may take only a part at a time."""
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]


def parse_scp_line(line: str, where: str) -> tuple[str, str, int]:
    """Split ``key file.ark:OFFSET``.

    Raises:
        AsvtkError: another form; above all a command (``... |``), which is never run.
    """
    fields = line.split(maxsplit=1)
    path, colon, offset = fields[1].strip().rpartition(":") if len(fields) == 2 else ("", "", "")
    if not colon or not offset.isdigit():
        raise AsvtkError(f"{where}: expected 'key file.ark:offset', found {line.strip()!r}")
    return fields[0], path, int(offset)


def read_scp(path) -> dict[str, tuple[str, int]]:
    """Read an scp file: key -> (ark path, offset), in file order.

    Raises:
        AsvtkError: the file is missing, or a line is malformed or a key comes twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise AsvtkError(f"{path}: no such file") from None
    entries = {}
    for number, line in enumerate(lines, 1):
        key, ark, offset = parse_scp_line(line, f"{path}:{number}")
        if key in entries:
            raise AsvtkError(f"{path}:{number}: {key} stands here for the second time")
        entries[key] = (ark, offset)
    return entries


class MatrixReader:
    """Read matrices by (ark path, offset). Safe in threads and forked workers."""

    def __init__(self):
        self._descriptors = {}
        # Every ark stays open: closing one while another thread reads it would be a race. 25 layers
        # by 32 jobs are 800 arks, and the usual soft limit is 1024 files.
        _, hardest = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hardest, hardest))

    def read(self, ark: str, offset: int) -> np.ndarray:
        """One float32 matrix, shape (frames, dimensions), writable.

        Raises:
            AsvtkError: the ark is missing or truncated, or holds no float32 matrix there.
        """
        descriptor = self._open(ark)
        header = os.pread(descriptor, _HEADER.size, offset)
        if len(header) < _HEADER.size:
            raise self._damaged(ark, offset, "ends before the entry does")
        token, four, rows, also_four, columns = _HEADER.unpack(header)
        if token != _TOKEN or (four, also_four) != (4, 4) or rows < 0 or columns < 0:
            raise self._damaged(ark, offset, f"holds no float32 matrix there (found {header[:5]!r})")
        matrix = np.empty((rows, columns), dtype="<f4")
        view, position = memoryview(matrix.reshape(-1)).cast("B"), offset + _HEADER.size
        while len(view):
            count = os.preadv(descriptor, [view], position)
            if count == 0:
                raise self._damaged(ark, offset, "ends before the entry does")
            view, position = view[count:], position + count
        return matrix

    def _open(self, ark: str) -> int:
        if ark not in self._descriptors:
            try:
                self._descriptors[ark] = os.open(ark, os.O_RDONLY | os.O_CLOEXEC)
            except OSError as error:
                raise AsvtkError(f"{ark}: cannot be read: {error.strerror}; run stage 2 again") from None
        return self._descriptors[ark]

    @staticmethod
    def _damaged(ark: str, offset: int, what: str) -> AsvtkError:
        return AsvtkError(f"{ark}: damaged at byte {offset}: {what}; delete this ark and run stage 2 again")

    def __getstate__(self):
        return {"_descriptors": {}}  # a spawned worker opens its own files

    def __del__(self):
        for descriptor in self.__dict__.get("_descriptors", {}).values():
            os.close(descriptor)
