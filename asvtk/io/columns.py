"""Columns of text files: score files, protocols, keys; white space, comma or tab; plain or gzipped.

A hundred thousand lines are cut up inside numpy: making a Python list of every line would cost
more than all the metrics together. Files with comments, blank lines, quotes or letters beyond
ASCII take a slower road to the same result, and so does every file with a fault, because only that
road knows which line is to blame.
"""

import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asvtk.io.errors import AsvtkError

__all__ = ["HEADER_NAMES", "Columns", "read_columns"]

#: Our name of a column -> what headers in the wild call it (compared in lower case).
HEADER_NAMES = {
    "utterance": "utterance utt utt_id utterance_id filename file file_name audio_file_name flac_file_name",
    "score": "score scores cm-score cm_score",
    "key": "key label cm-label",
    "attack": "attack attack_id attack_label system system_id",
    "speaker": "speaker speaker_id",
}
_NAME_OF = {alias: name for name, aliases in HEADER_NAMES.items() for alias in aliases.split()}
_WIDEST_FIELD = 256  # characters; wider ones would make the fixed-width arrays explode


class Columns(NamedTuple):
    """Columns of one file: equally long arrays of strings, and where each row came from.

    Attributes:
        path: the file.
        fields: one array of strings (n_rows,) per column.
        names: one name per column when the file has a header, else None.
        lines: the line number of each row (n_rows,).
    """

    path: str
    fields: list
    names: list | None
    lines: np.ndarray

    def where(self, row: int) -> str:
        """``file:line`` of a row, for messages."""
        return f"{self.path}:{self.lines[row]}"

    def numbers(self, column: int, meaning: str) -> np.ndarray:
        """A column as float64 (n_rows,), each the double nearest to its decimal digits.

        Raises:
            AsvtkError: a field is no number; names file and line. nan and inf are numbers here.
        """
        texts = self.fields[column].tolist()
        try:
            return np.fromiter(map(float, texts), np.float64, len(texts))
        except ValueError:
            row = next(row for row, text in enumerate(texts) if not _is_number(text))
            raise AsvtkError(
                f"{self.where(row)}: {texts[row]!r} is no number, expected {meaning} there. If the line is "
                "a header, name its columns: --columns utterance=...,score=...,key=...,attack=..."
            ) from None


def read_columns(path, header_names: dict | None = None) -> Columns:
    """Read a file of columns, whatever its separators, line ends, comments (``#``) or packing.

    A first line that holds a known column name (`HEADER_NAMES`) is a header; ``header_names``
    (ours -> the file's) says so outright for names that we do not know. With a header the
    separator is the comma, semicolon or tab that stands in it; else white space, or a comma.

    Raises:
        AsvtkError: no such file, no text, no lines, or lines of unequal numbers of fields.
    """
    data = _read_bytes(path)
    skipped, start = 0, 0
    while True:  # to the first line that says something
        stop = data.find(b"\n", start)
        if stop < 0:
            raise AsvtkError(f"{path}: is empty; expected one line per trial. Was the file fully written?")
        first = data[start:stop].decode("utf-8", "replace").strip()
        if first and not first.startswith("#"):
            break
        start, skipped = stop + 1, skipped + 1

    names = _header(path, first, header_names)
    separator = _separator(first, names is not None)
    if names is not None:
        start, skipped = stop + 1, skipped + 1
    body = data[start:]
    fields = _cut_in_numpy(body) if separator is None else None
    if fields is not None:
        lines = np.arange(skipped + 1, skipped + 1 + fields[0].size)
    else:
        fields, lines = _cut_in_python(path, body, separator, skipped)
    if names is not None and len(names) != len(fields):
        raise AsvtkError(
            f"{path}:{lines[0]}: {len(fields)} fields, but the header names {len(names)}: {', '.join(names)}"
        )
    return Columns(str(path), fields, names, lines)


def _read_bytes(path) -> bytes:
    """The text of a file with plain newlines, unpacked when its first two bytes say gzip."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise AsvtkError(f"{path}: cannot be read: {error.strerror or error}") from error
    if data[:2] == b"\x1f\x8b":
        data = _gunzip(path, data)
    if b"\0" in data:
        raise AsvtkError(f"{path}: is no plain text (UTF-16 or binary?). Save it as UTF-8 text.")
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    data = data.rstrip()
    return data + b"\n" if data else b""


def _gunzip(path, data: bytes) -> bytes:
    parts = []
    try:
        while data:  # `cat a.gz b.gz` is a valid gzip file of two members
            member = zlib.decompressobj(wbits=31)
            parts.append(member.decompress(data))
            if not member.eof:
                raise AsvtkError(f"{path}: the gzip file is cut off; copy or download it again.")
            data = member.unused_data.lstrip(b"\0")
    except zlib.error as error:
        raise AsvtkError(f"{path}: is a damaged gzip file ({error}); copy or download it again.") from error
    return b"".join(parts)


def _header(path, line: str, header_names: dict | None) -> list | None:
    """Our names of the columns if the first line is a header, else None."""
    theirs = _split(line.lower(), _separator(line, True))
    if header_names is None:
        return [_NAME_OF.get(name, name) for name in theirs] if any(n in _NAME_OF for n in theirs) else None
    absent = [name for name in header_names.values() if name.lower() not in theirs]
    if absent:
        raise AsvtkError(f"{path}: the header has no column {', '.join(absent)}; it has: {', '.join(theirs)}")
    ours = {alias: name for alias, name in _NAME_OF.items() if name not in header_names}
    ours |= {alias.lower(): name for name, alias in header_names.items()}
    return [ours.get(name, name) for name in theirs]


def _separator(line: str, is_header: bool) -> str | None:
    """None means white space. Without a header `utt spoof 0,5` is a decimal comma, no separator."""
    for mark in ",;\t" if is_header else ",;":
        if mark in line and (is_header or not any(" " in field.strip() for field in line.split(mark))):
            return mark
    return None


def _split(line: str, separator: str | None) -> list:
    return [field.strip().strip('"') for field in line.split(separator)]


def _cut_in_numpy(body: bytes) -> list | None:
    """White-space separated columns, or None if the lines are not all alike and plain."""
    if not body or b"#" in body or not body.isascii():
        return None
    body = b"\n" + body
    characters = np.frombuffer(body, np.uint8)
    in_field = characters > 32
    edges = np.flatnonzero(in_field[1:] != in_field[:-1]) + 1
    ends_of_line = np.flatnonzero(characters == 10)
    rows = ends_of_line.size - 1
    if edges.size == 0 or edges.size % (2 * rows):
        return None
    starts, stops = edges.reshape(rows, -1, 2).transpose(2, 1, 0)
    if (starts[0] < ends_of_line[:-1]).any() or (stops[-1] > ends_of_line[1:]).any():
        return None
    widths = (stops - starts).max(axis=1)
    if widths.max() > _WIDEST_FIELD:
        return None
    padded = np.frombuffer(body + bytes(int(widths.max())), np.uint8)
    fields = []
    for start, stop, width in zip(starts, stops, widths.tolist(), strict=True):
        # Every position seen as the start of a string of `width` bytes, of which we take our starts.
        windows = np.ndarray(padded.size - width + 1, f"S{width}", padded, strides=(1,))
        letters = windows[start].view(np.uint8).reshape(rows, width)
        letters *= np.arange(width, dtype=np.uint16) < (stop - start).astype(np.uint16)[:, None]
        fields.append(letters.astype(np.uint32).view(f"U{width}")[:, 0])  # ASCII is its own code point
    return fields


def _cut_in_python(path, body: bytes, separator: str | None, skipped: int):
    """The same for any file, with each row's line number."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        line = skipped + 1 + body.count(b"\n", 0, error.start)
        raise AsvtkError(f"{path}:{line}: is not UTF-8 text; convert the file with iconv.") from error
    numbered = [
        (number, line)
        for number, line in enumerate(text.split("\n"), skipped + 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not numbered:
        raise AsvtkError(f"{path}: holds no trial, only a header or comments.")
    if separator is None:
        rows = [line.split() for _, line in numbered]
    else:
        import csv

        rows = [
            [field.strip() for field in row]
            for row in csv.reader([line for _, line in numbered], delimiter=separator)
        ]
    expected = len(rows[0])
    for (number, _), row in zip(numbered, rows, strict=False):
        if len(row) != expected:
            raise AsvtkError(
                f"{path}:{number}: {len(row)} fields where line {numbered[0][0]} has {expected}. Every line "
                "holds one trial with the same columns; mend or remove that line."
            )
    return [np.array(column) for column in zip(*rows, strict=True)], np.array(
        [number for number, _ in numbered]
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
