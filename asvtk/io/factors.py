"""Columns of many strings of which few differ, and columns of names: quick where a plain array is slow.

A key of ASVspoof 2021 has 0.6 million rows and 13 columns. As Python strings they take seconds to make and
to compare; here they stay bytes of the file, of which 8 are compared at once, until somebody asks for
strings.
"""

from functools import cached_property

import numpy as np

__all__ = ["Factored", "Fields", "Names", "factorize", "match_names"]

#: Keeps the first 0 ... 8 bytes of a little-endian word.
_FIRST = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)
_MULTIPLIERS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
_BUCKETS_LOG2 = 16
_ROWS = 1 << 13  # of a key of 2021, one megabyte
_NARROW = 3  # columns: all fields together are cut sooner than those of one column, one by one
_LONGEST_NAME = 64  # bytes, of those that are compared as words


class _AsArray:
    """What becomes an array of strings, dtype object, as soon as it is asked for what only that can do."""

    __hash__ = None

    def __len__(self):
        return self.size

    def __array__(self, dtype=None, copy=None):
        return self._strings if dtype is None else self._strings.astype(dtype)

    def __iter__(self):
        return iter(self._strings)

    def __eq__(self, other):
        return self._strings == np.asarray(other, dtype=object)

    def __ne__(self, other):
        return ~self.__eq__(other)

    def __contains__(self, name):
        return name in self._strings

    def __getattr__(self, name: str):
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._strings, name)


class Factored(_AsArray):
    """Strings (n,) of which few differ.

    Attributes:
        names: the different ones, sorted; some may have no place any more in a part of the strings.
        codes: uint16 (n,), ``names[codes[i]]`` is string i.
    """

    def __init__(self, names: list, codes: np.ndarray):
        self.names, self.codes = names, codes

    @property
    def size(self) -> int:
        return self.codes.size

    @cached_property
    def _strings(self) -> np.ndarray:
        strings = np.empty(len(self.names), object)
        strings[:] = self.names
        return strings[self.codes]

    def __getitem__(self, index):
        codes = self.codes[index]
        return Factored(self.names, codes) if isinstance(codes, np.ndarray) else self.names[codes]

    def __setitem__(self, index, value):
        strings = self._strings
        strings[index] = value
        self.names, codes = factorize(strings)
        self.codes = codes.astype(np.uint16 if len(self.names) <= 1 << 16 else np.intp)

    def __eq__(self, other):
        if not isinstance(other, str):
            return super().__eq__(other)
        return np.array([name == other for name in self.names], bool)[self.codes]


def factorize(strings: np.ndarray):
    """Number the different strings of an array.

    Args:
        strings: (n,), few different ones.

    Returns:
        names, sorted: list of str; and codes, int (n,), with ``names[codes[i]] == strings[i]``.
    """
    if isinstance(strings, Factored):
        count = np.bincount(strings.codes, minlength=len(strings.names))
        if count.all():
            return strings.names, strings.codes
        there = np.flatnonzero(count)
        code = np.cumsum(count > 0) - 1
        return [strings.names[place] for place in there], code[strings.codes]
    values = strings.tolist()
    names = sorted(set(values))
    code_of = {name: code for code, name in enumerate(names)}
    return names, np.fromiter(map(code_of.__getitem__, values), np.intp, len(values))


class Fields:
    """A text cut into rows of as many fields, like a list of columns, each a list of strings.

    Args:
        data: ASCII bytes.
        starts, ends: int (width, n), where each field lies.
    """

    def __init__(self, data: bytes, starts: np.ndarray, ends: np.ndarray):
        self._data, self._starts, self._ends = data, starts, ends
        self._words = {}

    def prepare(self, places) -> None:
        """Say which columns will be factored or matched: together that takes less than one by one."""
        columns = [(self._starts[place], self._ends[place]) for place in places]
        self._words = dict(zip(places, _words_of(self._data, columns), strict=True))

    @cached_property
    def _text(self) -> str:
        return self._data.decode("ascii")

    def __len__(self):
        return len(self._starts)

    def __getitem__(self, place):
        if isinstance(place, slice):
            return [self[at] for at in range(len(self))[place]]
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        if len(self) <= _NARROW:
            return self._text.split()[place % len(self) :: len(self)]
        return self.names(place).tolist()

    def first(self) -> list[str]:
        """The fields of the first row."""
        rows = zip(self._starts[:, 0].tolist(), self._ends[:, 0].tolist(), strict=True)
        return [self._data[start:end].decode("ascii") for start, end in rows]

    def names(self, place: int) -> "Names":
        names = Names(self, self._starts[place], self._ends[place])
        if place in self._words:
            names.words = self._words[place]
        return names

    def factored(self, place: int) -> Factored | None:
        """A column of which few strings differ; None if many do."""
        found = self.names(place).factor()
        return None if found is None else Factored(*found)

    def raw(self, place: int) -> list[bytes]:
        """A column as bytes."""
        if len(self) <= _NARROW:
            return self._data.split()[place % len(self) :: len(self)]
        return [text.encode() for text in self[place]]


class Names(_AsArray):
    """Strings (n,), each a piece of a text; an array of them as soon as anything but their match is asked."""

    def __init__(self, fields: Fields, starts: np.ndarray, ends: np.ndarray):
        self._fields, self._starts, self._ends = fields, starts, ends

    @property
    def size(self) -> int:
        return self._starts.size

    @cached_property
    def words(self) -> list | None:
        """uint64 (n,) of each 8 bytes, nil behind the end; None where there are names of more than 64."""
        return _words_of(self._fields._data, [(self._starts, self._ends)])[0]

    @cached_property
    def hashes(self) -> np.ndarray:
        """uint64 (n,), equal for equal names."""
        found = np.zeros(self.size, np.uint64)
        for word in self.words:
            found = (found ^ word) * np.uint64(_MULTIPLIERS[0])
            found ^= found >> np.uint64(29)
        return found

    @cached_property
    def order(self) -> np.ndarray:
        return np.argsort(self.hashes)

    def are_unique(self) -> bool:
        """Surely no name stands twice; False: perhaps one does."""
        if self.words is None:
            return False
        ranked = self.hashes[self.order]
        return not (ranked[1:] == ranked[:-1]).any()

    def factor(self):
        """names, sorted, and codes, as `factorize`; None if many differ."""
        if self.words is None or not self.size:
            return None
        for multiplier in _MULTIPLIERS:
            bucket = (self.hashes * np.uint64(multiplier)) >> np.uint64(64 - _BUCKETS_LOG2)
            bucket = bucket.astype(np.intp)
            row_of = np.full(1 << _BUCKETS_LOG2, -1, np.intp)
            row_of[bucket] = np.arange(self.size)
            row = row_of[bucket]
            if all((word[row] == word).all() for word in self.words):
                there = np.flatnonzero(row_of >= 0)
                names = [self[row] for row in row_of[there].tolist()]
                rank = np.argsort(np.array(names, dtype=object), kind="stable")
                code_of = np.empty(row_of.size, np.uint16)
                code_of[there[rank]] = np.arange(there.size)
                return [names[place] for place in rank], code_of[bucket]
        return None

    @cached_property
    def _strings(self) -> np.ndarray:
        text = self._fields._text
        places = zip(self._starts.tolist(), self._ends.tolist(), strict=True)
        return np.fromiter((text[start:end] for start, end in places), object, self.size)

    def __getitem__(self, index):
        if isinstance(index, (int, np.integer)):
            return self._fields._data[self._starts[index] : self._ends[index]].decode("ascii")
        return Names(self._fields, self._starts[index], self._ends[index])

    def astype(self, dtype) -> np.ndarray:
        """Of strings cut to a few letters, no more is looked at."""
        dtype = np.dtype(dtype)
        letters = dtype.itemsize // 4
        if dtype.kind != "U" or not 0 < letters <= 8 or not self.words:
            return self._strings.astype(dtype)
        first = self.words[0] & _FIRST[letters]
        if (first == first[0]).all():
            different, codes = first[:1], np.zeros(self.size, np.uint8)
        else:
            different, codes = np.unique(first, return_inverse=True)
        return different.astype("<u8").view("S8").astype(dtype)[codes]


def _words_of(data: bytes, columns: list) -> list:
    """`Names.words` of several columns, ``(starts, ends)`` each.

    A part of the rows at a time, so that the text comes from memory once.
    """
    at_byte = np.ndarray((max(len(data) - 7, 0),), "<u8", data, 0, (1,))  # 8 bytes, beginning at any
    last = at_byte.size - 1
    found = []
    for starts, ends in columns:
        longest = int((ends - starts).max(initial=0))
        count = (longest + 7) // 8
        fits = longest <= _LONGEST_NAME and last >= 0
        found.append([np.empty(starts.size, np.uint64) for _ in range(count)] if fits else None)
    n = max((starts.size for starts, _ in columns), default=0)
    for begin in range(0, n, _ROWS):
        part = slice(begin, begin + _ROWS)
        for (starts, ends), words in zip(columns, found, strict=True):
            at, lengths = starts[part].astype(np.intp), ends[part] - starts[part]
            for place, word in enumerate(words or ()):
                if (
                    at.size and at.max() > last
                ):  # in the last 7 bytes of the file, or behind a short name there
                    word[part] = [int.from_bytes(data[start : start + 8], "little") for start in at.tolist()]
                else:
                    word[part] = at_byte[at]
                word[part] &= _FIRST.take(lengths - 8 * place, mode="clip")
                at += 8
    return found


def match_names(names, wanted) -> np.ndarray | None:
    """Index (n,) that puts ``names`` in the order of ``wanted``; None if they differ, or it is unsure.

    Both are `Names` without repetition, else the answer is None.
    """
    if not (isinstance(names, Names) and isinstance(wanted, Names)) or names.size != wanted.size:
        return None
    if names.words is None or wanted.words is None or len(names.words) != len(wanted.words):
        return None
    if not np.array_equal(names.hashes[names.order], wanted.hashes[wanted.order]):
        return None
    place = np.empty(wanted.size, np.intp)
    place[wanted.order] = names.order
    same = all((a[place] == b).all() for a, b in zip(names.words, wanted.words, strict=True))
    return place if same else None
