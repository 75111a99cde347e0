"""Tables in text files: score files, protocols, keys; columns parted by blanks, commas, tabs ...

Blank-separated tables are cut by `str.split` and all others by the `csv` module, a block of lines at a
time, so that a bad file is refused before it fills the memory.
"""

import re
from typing import NamedTuple

import numpy as np

from asvtk.io.errors import AsvtkError, listing, shown
from asvtk.io.factors import Fields, Names
from asvtk.io.rows import Form, cut_rows, is_number, read_rows, split_line
from asvtk.io.text import as_text, parse_float, read_bytes

__all__ = ["HEADER_NAMES", "KEY_WORDS", "Columns", "read_columns"]

#: Our name of a column -> what headers in the wild call it, in lower case, the best first.
HEADER_NAMES = {
    "utterance": "utterance utt utt_id utterance_id filename file file_name flac_file audio_file_name "
    "flac_file_name path trial",
    "score": "llr score scores cm-score cm_score",
    "key": "key label cm-label",
    "attack": "attack attack_id attack_label system system_id",
    "speaker": "speaker speaker_id spk",
    "asv_score": "asv_score asv-score asv_scores",
}
_NAME_OF = {alias: name for name, aliases in HEADER_NAMES.items() for alias in aliases.split()}
#: In-the-Wild's key says bona-fide; every ASVspoof protocol says bonafide.
#: In keys of speaker verification bona fide speech is a target's or a nontarget's.
KEY_WORDS = {
    "bonafide": True,
    "bona-fide": True,
    "spoof": False,
    "target": "target",
    "nontarget": "nontarget",
}
#: ASVspoof 2021 DF's key, the largest there is, has 60 MB and 0.6 million lines.
_MAX_BYTES, _MAX_LINES = 160 << 20, 1_500_000
_WORTH_IT = 1 << 16  # bytes: the other way needs no longer for less
_LONGEST_HEADER = 1 << 16  # characters
_LOG_LINE = re.compile(r"^Output,.*$", re.MULTILINE)


class Columns(NamedTuple):
    """Columns of one file, and where each row came from.

    Attributes:
        path: the file.
        fields: a list of strings, one per row, per column; or `Fields`, which make them when asked.
        names: one name per column when the file has a header or somebody told them, else None.
        lines: the line number of each row.
        labels: ``{word: is it bona fide?}`` of key words that this form of file defines, see `KEY_WORDS`.
    """

    path: str
    fields: list | Fields
    names: list | None
    lines: list | range
    labels: dict = {}

    def where(self, row: int) -> str:
        """``file:line`` of a row, for messages."""
        return f"{self.path}:{self.lines[row]}"

    def first(self) -> list[str]:
        """The fields of the first row."""
        if isinstance(self.fields, Fields):
            return self.fields.first()
        return [column[0] for column in self.fields]

    def prepare(self, places) -> None:
        """Say which columns will be asked for as `array` or `identifiers`."""
        if isinstance(self.fields, Fields):
            self.fields.prepare(places)

    def array(self, place: int) -> np.ndarray:
        """A column as an array of strings, dtype object."""
        factored = self.fields.factored(place) if isinstance(self.fields, Fields) else None
        # Of dtype object: one id of 20,000 letters would make each of 60,000 fixed-width ones as wide.
        return np.array(self.fields[place], dtype=object) if factored is None else factored

    def identifiers(self, place: int) -> np.ndarray | Names:
        """The same of a column whose strings all differ."""
        if isinstance(self.fields, Fields):
            return self.fields.names(place)
        return np.array(self.fields[place], dtype=object)

    def numbers(self, column: int, meaning: str) -> np.ndarray:
        """A column as float64 (n_rows,), each the double nearest to its decimal digits.

        Raises:
            AsvtkError: a field is no number (see `parse_float`); names file and line. nan and inf are
                numbers here.
        """
        if isinstance(self.fields, Fields):
            raw = self.fields.raw(column)
            if b"_" not in b"".join(raw):
                try:
                    return np.fromiter(map(float, raw), np.float64, len(raw))
                except ValueError:
                    pass
        texts = self.fields[column]
        together = "".join(texts)
        try:
            if "_" in together or not together.isascii():  # `float` takes more than `parse_float`
                return np.fromiter(map(parse_float, texts), np.float64, len(texts))
            return np.fromiter(map(float, texts), np.float64, len(texts))
        except ValueError:
            row = next(row for row, text in enumerate(texts) if not is_number(text))
            raise AsvtkError(
                f"{self.where(row)}: {shown(texts[row])} is no number, expected {meaning} there. If the line "
                "is a header, or the columns stand in another order, name them: --columns "
                "utterance=...,score=...,key=...,attack=..."
            ) from None


def read_columns(path, told: dict | None = None, kaldi: bool = False) -> Columns:
    """Read a table, whatever its separator, line ends or packing.

    A first line that holds a known column name (`HEADER_NAMES`), and neither a number nor a key word, is
    a header. With a header the separator is the comma, semicolon, tab or pipe that stands in it; without
    one a comma, semicolon or pipe, else blanks. Quotes are those of CSV. Of a training log of NII's
    scripts only the lines ``Output, NAME, LABEL, SCORE`` are read, where label 1 is bona fide.

    A line that begins with ``#`` is a row if it has as many fields as the other rows and numbers where
    they have numbers. Else it is a comment if it stands before the first row or goes on with a blank.

    Args:
        path: the file.
        told: our name of a column -> its name in the header, or its place from 1.
        kaldi: it is a table of a data directory, which has blanks between columns and never a header.

    Raises:
        AsvtkError: no such file, no text, no rows, lines of unequal numbers of fields, a column told of
            that is not there, or a file larger than any table.
    """
    data = read_bytes(path, _MAX_BYTES)
    if (plain := _read_plain(path, data, told, kaldi)) is not None:
        return plain
    text = as_text(path, data)
    if text.count("\n") > _MAX_LINES:
        raise AsvtkError(f"{path}: has more than {_MAX_LINES:,} lines, which is no file of this kind")
    if "Output," in text and (output := _LOG_LINE.search(text)):
        return _read_log(path, text, output[0], told)
    first, start, skipped = _first_line(path, text)
    _refuse_long(path, first)
    names = None if kaldi else _header(path, first, told)
    if names is None:
        separator, sample = None if kaldi else _separator(first, False), first
        start = skipped = 0
    else:
        separator, sample = _separator(first, True), _first_line(path, text, start)[0]
    _refuse_long(path, sample)
    sample = split_line(sample, separator)
    numeric = tuple(place for place, field in enumerate(sample) if is_number(field))
    form = Form(separator, len(names or sample), numeric)
    if names is None and told:
        names = _named_by_place(path, told, form.width)
    fields, lines = read_rows(path, text, form, start, skipped)
    return Columns(str(path), fields, names, lines)


def _read_plain(path, data: bytes, told: dict | None, kaldi: bool) -> Columns | None:
    """A blank-separated table in ASCII without header and comments; None if it is any other."""
    if len(data) < _WORTH_IT or not data.isascii():
        return None
    data = data if data.endswith(b"\n") else data + b"\n"
    if (rows := data.count(b"\n")) > _MAX_LINES:
        return None
    if b"Output," in data:  # perhaps a log
        return None
    first = data[: data.find(b"\n") + 1 or len(data)].decode("ascii")
    if len(first) > _LONGEST_HEADER or not kaldi and _separator(first, True) not in (None, "\t"):
        return None
    if not first.strip() or first.startswith("#"):
        return None
    if not kaldi and (_header(path, first.strip(), told) or _separator(first, False)) is not None:
        return None
    width = len(split_line(first, None))
    if (fields := cut_rows(data, width, rows)) is None:
        return None
    names = _named_by_place(path, told, width) if told else None
    return Columns(str(path), fields, names, range(1, 1 + rows))


def _refuse_long(path, line: str) -> None:
    if len(line) > _LONGEST_HEADER:
        raise AsvtkError(f"{path}: a first line of {len(line)} characters is no trial and no header")


def _first_line(path, text: str, start: int = 0):
    """The first line that is surely none of the comments, its end, and the number of lines up to there.

    Without any such line, the first one whose ``#`` may begin an id; or nothing behind a header.
    """
    begin, number, spare = start, text.count("\n", 0, start), None
    while start < len(text):
        stop = text.find("\n", start) + 1 or len(text)
        line, number = text[start:stop].strip(), number + 1
        if line and not line.startswith("#"):
            return line, stop, number
        if spare is None and line.lstrip("#")[:1].strip():
            spare = line, stop, number
        start = stop
    if spare is None and not begin:
        raise AsvtkError(f"{path}: is empty; expected one line per trial. Was the file fully written?")
    return spare or ("", len(text), number)


def _header(path, line: str, told: dict | None) -> list | None:
    """Our names of the columns if the first line is a header, else None."""
    theirs = [name.lower() for name in split_line(line, _separator(line, True))]
    named = {ours: name.lower() for ours, name in (told or {}).items()}
    absent = [name for name in named.values() if name not in theirs and not name.isdecimal()]
    surely = any(name in theirs and not name.isdecimal() for name in named.values())
    known = any(name in _NAME_OF for name in theirs)
    if not (surely or known) or any(name in KEY_WORDS or is_number(name) for name in theirs if not surely):
        if absent:
            raise AsvtkError(
                f"{path}: the header has no column {listing(absent)}; the first line "
                f"is {listing(theirs)}. Columns of a file without a header are told by place: "
                "--columns utterance=1,score=2"
            )
        return None
    if absent:
        raise AsvtkError(f"{path}: the header has no column {listing(absent)}; it has: {listing(theirs, 40)}")
    names = [_NAME_OF.get(name, name) for name in theirs]
    place_of = {
        ours: theirs.index(name) if name in theirs else _place(path, name, len(theirs))
        for ours, name in named.items()
    }
    for ours, aliases in HEADER_NAMES.items():
        places = [place for place, name in enumerate(names) if name == ours]
        best = place_of.get(ours, min(places, key=lambda place: _rank(aliases, theirs[place]), default=None))
        for place in places:
            if place != best:
                names[place] = theirs[place] if theirs[place] != ours else f"{ours}_"
    for ours, place in place_of.items():
        names[place] = ours
    return names


def _rank(aliases: str, name: str) -> int:
    return aliases.split().index(name)


def _named_by_place(path, told: dict, width: int) -> list:
    names = [f"column{place}" for place in range(1, width + 1)]
    for ours, place in told.items():
        names[_place(path, place, width)] = ours
    return names


def _place(path, place: str, width: int) -> int:
    """A place told as 1, 2 ...: from 0."""
    if not (place.isascii() and 1 <= int(place[:9]) <= width):
        raise AsvtkError(f"{path}: there is no column {place}; the lines have {width} fields")
    return int(place) - 1


def _separator(line: str, is_header: bool) -> str | None:
    """None means blanks. Without a header `utt spoof 0,5` is a decimal comma, no separator."""
    for mark in ",;\t|" if is_header else ",;|":
        if mark in line and (
            is_header or line.startswith('"') or not any(" " in part.strip() for part in line.split(mark))
        ):
            return mark
    return None


def _read_log(path, text: str, first: str, told: dict | None) -> Columns:
    """The lines `Output, NAME, LABEL, SCORE` of a log of project-NN-Pytorch-scripts, label 1 = bona fide."""
    text = "\n".join(line if line.startswith("Output,") else "" for line in text.split("\n"))
    form = Form(",", len(split_line(first, ",")), ())
    if form.width != 4 and not told:
        raise AsvtkError(
            f"{path}: a log with {shown(first)}; asvtk knows `Output, NAME, LABEL, SCORE`. Say which columns "
            "are what: --columns utterance=2,key=3,score=4"
        )
    names = _named_by_place(path, told or {"utterance": "2", "key": "3", "score": "4"}, form.width)
    fields, lines = read_rows(path, text, form, 0, 0)
    if "key" in names and set(fields[names.index("key")]) == {"-1"}:  # scored without labels
        names[names.index("key")] = "label"
    return Columns(str(path), fields, names, lines, {"1": True, "0": False})
