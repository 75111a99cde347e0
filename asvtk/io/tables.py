"""Kaldi's two-column text files (``wav.scp``, ``utt2label`` ...): a key, a space, a value.

Lines are sorted as ``LC_ALL=C sort`` does (code points, which for UTF-8 is byte order), keys are
unique, and the last line ends in a newline: Kaldi's own tools insist on all three.
"""

import re

from asvtk.io.atomic import write_text
from asvtk.io.errors import AsvtkError
from asvtk.io.text import read_lines, split_blanks

__all__ = ["read_table", "write_rows", "write_table"]

#: without the halves of surrogate pairs, in which Python keeps the bytes of file names that are not UTF-8
_KEY = re.compile(r"[^ \t\r\n\0\ud800-\udfff]+")
_VALUE = re.compile(r"(?![ \t])[^\r\n\0\ud800-\udfff]+(?<![ \t])")


def read_table(path) -> dict[str, str]:
    """Read a two-column file, in file order; blank lines count for nothing.

    Raises:
        AsvtkError: the file is missing or no text (see ``io.text.read_text``), a line has no value, or a
            key comes twice; with the line.
    """
    table = {}
    for number, line in enumerate(read_lines(path), 1):
        fields = split_blanks(line, 2)
        if not fields:
            continue
        if len(fields) != 2:
            raise AsvtkError(f"{path}:{number}: expected 'key value', found {line[:100]!r}")
        key, value = fields
        if key in table:
            raise AsvtkError(f"{path}:{number}: {key} stands here for the second time")
        table[key] = value
    return table


def write_table(path, table: dict) -> None:
    """Write ``table`` sorted and in one step; values are written with ``str``.

    Raises:
        AsvtkError: a key or a value would not be read back as it is: an empty one, a key with blanks, a value
            with blanks at an end, a line end in either, or a file name that is not UTF-8. Or the file
            cannot be written.
    """
    keys = sorted(table)
    write_rows(path, keys, list(map(str, map(table.__getitem__, keys))))


def write_rows(path, keys: list[str], values: list[str]) -> None:
    """``write_table`` of keys that are sorted and unique, and their values.

    Raises:
        AsvtkError: as ``write_table``.
    """
    if not (_are_words(keys) and _are_words(values)):  # of a million rows each test counts
        for key, value in zip(keys, values, strict=True):
            if not (_KEY.fullmatch(key) and _VALUE.fullmatch(value)):
                raise AsvtkError(
                    f"{path}: cannot hold {f'{key} {value}'!r}: a Kaldi table is UTF-8 text, keys have no "
                    "blanks, values no line end and no blank at their ends; rename it"
                )
    write_text(path, "".join([f"{key} {value}\n" for key, value in zip(keys, values, strict=True)]))


def _are_words(strings: list[str]) -> bool:
    """Whether each surely is one word, which both a key and a value may be."""
    return all(strings) and _KEY.fullmatch("".join(strings)) is not None
