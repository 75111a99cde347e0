"""Lines of text -> columns of strings: blanks, CSV quotes, comments, and lines that do not fit."""

import csv
import re
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from asvtk.io.errors import AsvtkError
from asvtk.io.factors import Fields
from asvtk.io.text import parse_float

__all__ = ["MAX_FIELDS", "MAX_LINE", "Form", "cut_rows", "is_number", "read_rows", "split_line"]

#: ASVspoof 2021 DF's key, the largest there is, holds 8 million fields; each takes some 60 bytes.
MAX_FIELDS = 16_000_000
#: Characters of the longest line, and of the blocks of lines that are cut at once.
MAX_LINE = 1 << 20
_BLOCK = 1 << 18
_END = "\0"  # stands for the end of a line among the fields; `read_text` refuses files that hold it
_BLANKS = " \t\v\f"
_AT_BLANKS = re.compile(f"[^{_BLANKS}\n]+")
#: `str.split` takes these for blanks too, but a no-break space is part of a file's name.
_NO_BLANKS = "".join(map(chr, (*range(0x1C, 0x20), 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B)))) + (
    "\u2028\u2029\u202f\u205f\u3000"
)


class Form(NamedTuple):
    """What all rows of a table have in common.

    Attributes:
        separator: a comma, semicolon, tab or pipe; None = blanks.
        width: number of fields.
        numeric: places of the fields that are numbers in the first row.
        expected: the fields in words, for the message about a line that has another number of them.
        quoted: whether quotes are those of CSV; else they are letters like others.
    """

    separator: str | None
    width: int
    numeric: tuple
    expected: str = ""
    quoted: bool = True


def is_number(text: str) -> bool:
    try:
        parse_float(text)
    except ValueError:
        return False
    return True


def split_line(line: str, separator: str | None, quoted: bool = True) -> list:
    """The fields of one line, quotes of CSV taken off."""
    if separator is None:
        return _split_at_blanks(line)
    if not quoted:
        return [field.strip(_BLANKS) for field in line.split(separator)]
    try:
        row = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:  # one that `read_rows` will refuse
        row = line.split(separator)
    return [field.strip(_BLANKS) for field in row]


def read_rows(path, text: str, form: Form, start: int, skipped: int):
    """Cut a text into columns.

    Args:
        path: of the file, for messages.
        text: the whole file, see `read_text`.
        form: of its rows.
        start: where in ``text`` to begin, behind ``skipped`` lines.

    Returns:
        a list of strings per column, and the list of the rows' line numbers.

    Raises:
        AsvtkError: a line of another number of fields, one too long, bad quotes, or too many fields.
    """
    fields, lines = [[] for _ in range(form.width)], []
    read = _blank_separated if form.separator is None else _csv
    for numbers, columns in read(path, text, form, start, skipped):
        lines.extend(numbers)
        for column, more in zip(fields, columns, strict=True):
            column.extend(more)
        if len(lines) * form.width > MAX_FIELDS:
            raise AsvtkError(f"{path}: has more than {MAX_FIELDS:,} fields, which is no file of this kind")
    if not lines:
        raise AsvtkError(f"{path}: holds no trial, only a header or comments")
    return fields, lines


def cut_rows(data: bytes, width: int, rows: int) -> Fields | None:
    """Cut plain rows at their blanks without making strings; None where anything is out of the ordinary.

    Ordinary are lines of ``width`` fields in ASCII, with one blank or tab between two and none elsewhere,
    and no line that begins with ``#``. For all else there is `read_rows`, which also says what is wrong.

    Args:
        data: the whole file, without a header, of ``rows`` lines, each ended by a newline.
    """
    if rows * width > MAX_FIELDS:
        return None
    size = len(data)
    ends = np.empty((width, rows), np.int32 if size < 1 << 31 else np.int64)
    start = row = 0
    while start < size:  # in blocks that stay in the processor's cache
        stop = data.rfind(b"\n", start, start + _BLOCK) + 1
        if not stop:
            return None
        block = np.frombuffer(data, np.uint8, stop - start, start)
        cuts = np.flatnonzero(block <= 0x20)
        marks = block[cuts]
        n = cuts.size // width
        if n * width != cuts.size or np.count_nonzero(block == 10) != n or cuts[0] == 0 or block[0] == 35:
            return None
        by_row = marks.reshape(n, width)
        ordinary = (
            (by_row[:, -1] == 10).all()
            and ((by_row[:, :-1] == 32) | (by_row[:, :-1] == 9)).all()
            and np.diff(cuts).min(initial=2) > 1
            and not (block[cuts[width - 1 : -1 : width] + 1] == 35).any()
        )
        if not ordinary:
            return None
        ends[:, row : row + n] = cuts.reshape(n, width).T + start
        start, row = stop, row + n
    starts = np.empty_like(ends)
    starts[1:] = ends[:-1] + 1
    starts[0, 1:] = ends[-1, :-1] + 1
    starts[0, 0] = 0
    return Fields(data, starts, ends)


def _blank_separated(path, text: str, form: Form, start: int, skipped: int) -> Iterator:
    """Line numbers and columns, block by block."""
    number, step, begun = skipped + 1, form.width + 1, False
    while start < len(text):
        stop = text.find("\n", start + MAX_LINE) + 1 or len(text)
        block = text[start:stop].removesuffix("\n")
        if len(block) > 2 * MAX_LINE:
            raise _too_long(path, number + block.count("\n"))
        # One split of a whole block takes a third of the time of one of each line.
        flat = _split_at_blanks(block.rstrip().replace("\n", f" {_END} ") + f" {_END}")
        ends = flat[form.width :: step]
        alike = len(flat) == step * len(ends) and flat.count(_END) == ends.count(_END) == len(ends)
        if alike and ends and not ("#" in block and any(field.startswith("#") for field in flat[::step])):
            yield range(number, number + len(ends)), [flat[place::step] for place in range(form.width)]
        else:
            numbered = enumerate(map(_split_at_blanks, block.split("\n")), number)
            rows = list(_rows(path, numbered, form, begun))
            if rows:
                yield [at for at, _ in rows], list(zip(*(row for _, row in rows), strict=True))
        start, number, begun = stop, number + block.count("\n") + 1, True


def _csv(path, text: str, form: Form, start: int, skipped: int) -> Iterator:
    """The same from the `csv` module, whose quoted fields may hold separators and newlines."""
    lines = _lines(path, text, form, start, skipped + 1)
    quoting = csv.QUOTE_MINIMAL if form.quoted else csv.QUOTE_NONE
    reader = csv.reader(
        lines, delimiter=form.separator, skipinitialspace=True, strict=form.quoted, quoting=quoting
    )
    rows = _rows(path, _numbered(path, reader, skipped + 1), form, True)
    while block := list(islice(rows, 10_000)):
        yield [at for at, _ in block], list(zip(*(row for _, row in block), strict=True))


def _lines(path, text: str, form: Form, start: int, number: int) -> Iterator:
    """The lines of a CSV file, comments before its first row left blank."""
    begun = False
    while start < len(text):
        stop = text.find("\n", start) + 1 or len(text)
        if stop - start > MAX_LINE:
            raise _too_long(path, number)
        line = text[start:stop]
        comment = (
            not begun and line.startswith("#") and _is_comment(split_line(line, form.separator), form, False)
        )
        begun = begun or not (comment or line.isspace())
        yield "\n" if comment else line
        start, number = stop, number + 1


def _numbered(path, reader, first: int) -> Iterator:
    """Rows of a CSV file with the number of the line where each begins."""
    while True:
        number = first + reader.line_num
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:  # quotes that never end, a field of more than 131,072 characters
            raise AsvtkError(f"{path}:{number}: is no row of a CSV file: {error}; mend its quotes") from None
        yield number, [field.strip(_BLANKS) for field in row]


def _rows(path, numbered, form: Form, begun: bool) -> Iterator:
    """What is no blank line and no comment; ``begun`` tells whether there were rows before."""
    for number, row in numbered:
        if not any(row) and len(row) < 2:
            continue
        if row[0].startswith("#") and _is_comment(row, form, begun):
            continue
        if len(row) != form.width:
            if form.expected:
                raise AsvtkError(
                    f"{path}:{number}: expected {form.width} fields '{form.expected}', found {len(row)}: "
                    f"{' '.join(row)[:100]!r}"
                )
            raise AsvtkError(
                f"{path}:{number}: {len(row)} fields, but the first line has {form.width}. Every line holds "
                "one trial with the same columns; mend or remove that line (comments begin with `# `)."
            )
        begun = True
        yield number, row


def _is_comment(row: list, form: Form, begun: bool) -> bool:
    """Is this line, which begins with ``#``, no trial? Ids may begin so; what could be one is one."""
    if len(row) == form.width and all(is_number(row[place]) for place in form.numeric):
        return False
    text = row[0].lstrip("#")
    return not begun or not text or text[0] in _BLANKS


def _split_at_blanks(text: str) -> list:
    # `any` of 27 quick searches; a regular expression for all text would take ten times as long.
    if text.isascii() and not any(mark in text for mark in "\x1c\x1d\x1e\x1f"):
        return text.split()
    return _AT_BLANKS.findall(text) if any(mark in text for mark in _NO_BLANKS) else text.split()


def _too_long(path, number: int) -> AsvtkError:
    return AsvtkError(
        f"{path}:{number}: has more than {MAX_LINE:,} characters; is this a table, line by line?"
    )
