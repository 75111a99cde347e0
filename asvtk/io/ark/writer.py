"""Writing arks so that nothing that was written is ever lost or torn."""

import os
import time
from pathlib import Path

import numpy as np

from asvtk.io.ark.matrices import encode_matrix
from asvtk.io.errors import AsvtkError

__all__ = ["ArkWriter"]

_MOST_PARTS = os.sysconf("SC_IOV_MAX")  # that the system takes in one call


class ArkWriter:
    """Append matrices to a new ark, so that a kill at any instant loses only the open buffer.

    Numbers are synced to disk before the scp lines that point at them are written: every whole line
    of the scp, at any time, has its data behind it.

    Args:
        ark, scp: paths; neither may exist.
        buffer_bytes, buffer_seconds: how much, and how long, to gather before it is written. Nothing is
            copied for that: what was added must not change until ``flush``.
    """

    def __init__(self, ark, scp, buffer_bytes: int = 8 << 20, buffer_seconds: float = 5.0):
        self.ark = Path(ark).absolute()
        self.written = 0
        self._buffer_bytes, self._buffer_seconds = buffer_bytes, buffer_seconds
        self._flushed = time.monotonic()
        self._parts, self._lines = [], []
        self._used = 0  # bytes of the parts
        self._offset = 0  # size of the ark, and below of the scp, as of the last flush
        self._scp_size = 0
        self._ark_stream = open(self.ark, "xb", buffering=0)
        self._scp_stream = open(scp, "xb", buffering=0)

    def write(self, key: str, matrix: np.ndarray, kind: str = "FM") -> None:
        """Add one matrix, shape (frames, dimensions), as FM, CM2 or CM.

        Raises:
            ValueError: it cannot be stored so, see ``encode_matrix``; nothing is added.
            AsvtkError: as ``flush``.
        """
        self.write_encoded(key, encode_matrix(matrix, kind))

    def write_encoded(self, key: str, *parts) -> None:
        """Add what ``encode_matrix`` gave, in one part or several.

        That may run in many threads; a writer is for one.
        """
        name = key.encode() + b" "
        self._lines.append(f"{key} {self.ark}:{self._offset + self._used + len(name)}\n")
        for part in (name, *parts):
            view = memoryview(part).cast("B")
            self._parts.append(view)
            self._used += len(view)
        late = time.monotonic() - self._flushed > self._buffer_seconds
        if late or self._used >= self._buffer_bytes:
            self.flush()

    def flush(self) -> None:
        """Bring the buffer to disk: first the numbers, then the lines.

        Raises:
            AsvtkError: the disk is full or failed; what was flushed before is safe.
        """
        if not self._lines:
            return
        try:
            _write_all(self._ark_stream, self._parts)
            os.fsync(self._ark_stream.fileno())
            _write_all(self._scp_stream, [memoryview("".join(self._lines).encode())])
            os.fsync(self._scp_stream.fileno())
        except OSError as error:
            self._take_back()
            raise AsvtkError(
                f"{self.ark}: cannot be written: {error.strerror or error}. The {self.written} matrices "
                "written before are safe: make room and run the same command again, and it goes on there"
            ) from error
        self.written += len(self._lines)
        self._offset += self._used
        self._scp_size = os.fstat(self._scp_stream.fileno()).st_size
        self._flushed = time.monotonic()
        self._forget()

    def _take_back(self) -> None:
        """Drop what a failed flush left, in memory and on disk: another try behind torn bytes would lie."""
        self._forget()
        for stream, size in ((self._ark_stream, self._offset), (self._scp_stream, self._scp_size)):
            os.truncate(stream.fileno(), size)
            stream.seek(size)

    def _forget(self) -> None:
        self._used = 0
        self._parts.clear()
        self._lines.clear()

    def close(self) -> None:
        self.flush()
        self._ark_stream.close()
        self._scp_stream.close()


def _write_all(stream, parts: list[memoryview]) -> None:
    """Write all parts: on a nearly full disk the system may take only a part at a time."""
    for begin in range(0, len(parts), _MOST_PARTS):
        group = parts[begin : begin + _MOST_PARTS]
        while group:
            taken = os.writev(stream.fileno(), group)
            while group and taken >= len(group[0]):
                taken -= len(group.pop(0))
            if taken:
                group[0] = group[0][taken:]
