"""Reading matrices from arks: from anywhere, in any order, in any number of threads and processes."""

import os
import re
import resource
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from asvtk.io.ark.matrices import CODECS, Codec, TwoBytes
from asvtk.io.errors import AsvtkError

__all__ = ["MatrixReader", "StoredMatrices"]

_CODECS = {codec.token: codec for codec in CODECS.values()}
_HEAD_BYTES = max(codec.header.size for codec in CODECS.values())
_BEYOND_BYTES = 1024  # longer than any key
# What may stand behind an entry: nothing, or a key and the \0B of the next. In an ark that is being
# written to, the end may fall anywhere within them.
_BEYOND = re.compile(rb"\Z|[^\x00-\x20]+ \x00B|[!-~]+(?: \x00?)?\Z")
_TOO_SHORT = "ends before the entry does"


class MatrixReader:
    """Read matrices by (ark path, offset). Safe in threads and forked workers."""

    def __init__(self):
        self._files = {}  # ark -> (descriptor, size)
        # Every ark stays open: closing one while another thread reads it would be a race. 25 layers
        # by 32 jobs are 800 arks, and the usual soft limit is 1024 files.
        _, hardest = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hardest, hardest))

    def read(self, ark: str, offset: int, key: str | None = None) -> np.ndarray:
        """One matrix of whatever kind: float32, shape (frames, dimensions), writable.

        Args:
            ark, offset: as an scp has them.
            key: whose matrix it must be; None: anybody's.

        Raises:
            AsvtkError: the ark is missing, or holds no whole matrix of ours there, or that of another key.
        """
        entry = self._find(ark, offset, key)
        return entry.load(np.empty(entry.shape, np.float32))

    def stack(self, places: Iterable[tuple[str, int]], key: str | None = None) -> np.ndarray:
        """Matrices of one shape, at least one: float32, (matrices, frames, dimensions).

        The same as ``np.stack`` of single reads, with a copy of everything less.

        Raises:
            AsvtkError: as ``read``; or two of them differ in shape.
        """
        entries = self._find_all(places, key)
        stacked = np.empty((len(entries), *entries[0].shape), np.float32)
        for entry, matrix in zip(entries, stacked, strict=True):
            entry.load(matrix)
        return stacked

    def find(self, places: Iterable[tuple[str, int]], key: str | None = None) -> "StoredMatrices | None":
        """Matrices of one shape as ``stack`` takes them, to be read later; None: they are not all CM2.

        Raises:
            AsvtkError: as ``stack``.
        """
        entries = self._find_all(places, key)
        if not all(isinstance(entry.codec, TwoBytes) for entry in entries):
            return None
        return StoredMatrices(self, entries, 0, entries[0].shape[0])

    def _find_all(self, places: Iterable[tuple[str, int]], key: str | None) -> list["_Entry"]:
        entries = [self._find(*place, key) for place in places]
        first = entries[0]
        for entry in entries:
            if entry.shape != first.shape:
                raise AsvtkError(
                    f"{entry.ark}: the matrix at byte {entry.offset} has shape {entry.shape}, "
                    f"that at {first.ark}:{first.offset} has {first.shape}; expected equal ones"
                )
        return entries

    def _find(self, ark: str, offset: int, key: str | None = None) -> "_Entry":
        """Read a header and check it against the size of the ark, before memory is taken for the numbers."""
        descriptor, size = self._files.get(ark) or self._open(ark)
        try:
            name = b"" if key is None else f"{key} ".encode()  # stands before every entry
            begin = max(0, offset - len(name))
            head = os.pread(descriptor, offset - begin + _HEAD_BYTES, begin)
        except OSError as error:
            raise _unreadable(ark, error) from None
        if head[: offset - begin] != name:
            raise AsvtkError(
                f"{ark}: the name before byte {offset} is another one than {key}; its index (feats.scp) is "
                "of another ark or was changed: run stage 2 again, which writes it anew"
            )
        head = head[offset - begin :]
        codec = _CODECS.get(head[: head.find(b" ") + 1])
        if codec is None and not any(token.startswith(head) for token in _CODECS):
            kinds = ", ".join(CODECS)
            raise _damaged(ark, offset, f"holds no matrix of kind {kinds} there (found {head[:5]!r})")
        if codec is None or len(head) < codec.header.size:
            raise _damaged(ark, offset, _TOO_SHORT)
        try:
            rows, columns, scale = codec.parse(head)
        except ValueError as error:
            raise _damaged(ark, offset, f"the header there claims {error}") from None
        if rows < 0 or columns < 0:
            raise _damaged(ark, offset, f"the header there claims {rows} x {columns} numbers")
        end = offset + codec.header.size + codec.body_size(rows, columns)
        if end > size:  # it may have grown since it was opened
            size = os.fstat(descriptor).st_size
            self._files[ark] = descriptor, size
            if end > size:
                raise _damaged(ark, offset, _TOO_SHORT)
        return _Entry(ark, offset, descriptor, codec, (rows, columns), scale)

    def _open(self, ark: str) -> tuple[int, int]:
        try:
            descriptor = os.open(ark, os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, ValueError) as error:  # ValueError: a name with \0 in it
            raise _unreadable(ark, error) from None
        opened = descriptor, os.fstat(descriptor).st_size
        kept = self._files.setdefault(ark, opened)
        if kept is not opened:  # another thread was faster
            os.close(descriptor)
        return kept

    def __getstate__(self):
        return {"_files": {}}  # a spawned worker opens its own files

    def __del__(self):
        for descriptor, _ in self.__dict__.get("_files", {}).values():
            os.close(descriptor)


class StoredMatrices:
    """Matrices of kind CM2 and of one shape that ``MatrixReader.find`` found and nobody read yet.

    They are for the process that found them, whose reader keeps the arks open.

    Attributes:
        shape: (matrices, frames, dimensions).
        scales: float32, (matrices, 2): what a step is worth, and the minimum, to which the steps are added.
    """

    def __init__(self, reader: MatrixReader, entries: list["_Entry"], first: int, frames: int):
        self._reader, self._entries, self._first = reader, entries, first
        self.shape = len(entries), frames, entries[0].shape[1]
        self.scales = np.array([(TwoBytes.step(e.scale), e.scale[0]) for e in entries], np.float32)

    def cut(self, begin: int, frames: int) -> "StoredMatrices":
        """``frames`` of them from ``begin`` on, or as many as there are."""
        left = max(0, min(frames, self.shape[1] - begin))
        return StoredMatrices(self._reader, self._entries, self._first + begin, left)

    def __getstate__(self):
        raise TypeError("another process has not opened the arks of these matrices; read them first")

    def read(self, out: np.ndarray) -> None:
        """Read the steps into uint16 of ``shape``, each matrix in C order.

        Raises:
            AsvtkError: an ark is damaged or cannot be read.
        """
        for entry, matrix in zip(self._entries, out, strict=True):
            entry.fill(matrix, self._first)


class _Entry(NamedTuple):
    """A matrix of which the header is read."""

    ark: str
    offset: int
    descriptor: int
    codec: Codec
    shape: tuple[int, int]
    scale: Any  # what the codec takes from the header

    def load(self, out: np.ndarray) -> np.ndarray:
        """Read and decode the numbers into ``out``: float32, of the entry's shape, in C order."""
        self.codec.decode(self.fill, self.scale, out)
        return out

    def fill(self, body: np.ndarray, first: int = 0) -> None:
        """Read numbers as they are stored, and a look beyond all: there the next entry must begin.

        Were a bit of the shape turned, the numbers would come out in wrong rows otherwise.

        Args:
            body: what to read, contiguous.
            first: row that it begins with; of kinds that are stored row by row.
        """
        view, beyond = body.reshape(-1).view(np.uint8), bytearray(_BEYOND_BYTES)
        begin = self.offset + self.codec.header.size
        position, end = begin + first * body[:1].nbytes, begin + self.codec.body_size(*self.shape)
        whole = position + len(view) == end
        try:
            while (count := os.preadv(self.descriptor, [view, beyond][: 1 + whole], position)) < len(view):
                if count == 0:
                    raise _damaged(self.ark, self.offset, _TOO_SHORT)
                view, position = view[count:], position + count
            beyond = beyond[: count - len(view)] if whole else os.pread(self.descriptor, _BEYOND_BYTES, end)
        except OSError as error:
            raise _unreadable(self.ark, error) from None
        if not _BEYOND.match(beyond):
            rows, columns = self.shape
            what = f"the header there claims {rows} x {columns} numbers, but no entry begins behind them"
            raise _damaged(self.ark, self.offset, what)


def _damaged(ark: str, offset: int, what: str) -> AsvtkError:
    return AsvtkError(f"{ark}: damaged at byte {offset}: {what}; delete this ark and run stage 2 again")


def _unreadable(ark: str, error: Exception) -> AsvtkError:
    return AsvtkError(f"{ark}: cannot be read: {getattr(error, 'strerror', error)}; run stage 2 again")
