"""Text and JSON files from anywhere: UTF-8 with or without a byte order mark, plain or compressed.

Every file that a user may have written, downloaded or damaged is read here, so that its faults are told
alike: a line that names the file, and no traceback, no endless wait and no memory without end.
"""

import json
import math
import os
import re
import select
import stat

from asvtk.io.errors import AsvtkError

__all__ = [
    "as_text",
    "check_extent",
    "parse_float",
    "parse_int",
    "parse_json",
    "read_bytes",
    "read_json",
    "read_json_lines",
    "read_lines",
    "read_text",
    "split_blanks",
]

#: Unpacked bytes of the largest table: ASVspoof 5 has a million trials of some 80 bytes each.
MAX_TABLE = 512 << 20
#: Bytes of the largest JSON or YAML file. A training log of a hundred thousand epochs has 30 MB.
MAX_DOCUMENT = 64 << 20
_MAX_DEPTH, _MAX_VALUES = 64, 1_000_000
_BLOCK = 1 << 20
_BOM = b"\xef\xbb\xbf"
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz"}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_FLOAT = re.compile(
    r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|infinity|nan)", re.ASCII | re.IGNORECASE
)
_INT = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_BLANKS = re.compile(r"[ \t]+")


def parse_float(text: str) -> float:
    """The double nearest to decimal digits, or a nan or inf so called.

    Python's own ``float`` also takes ``1_0.5`` for 10.5 and digits of other scripts.

    Raises:
        ValueError: it is no number.
    """
    if not _FLOAT.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is no number")
    return float(text)


def parse_int(text: str) -> int:
    """A whole number in at most 18 ASCII digits.

    Raises:
        ValueError: it is none.
    """
    if not _INT.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is no whole number")
    return int(text)


def read_bytes(path, limit: int = MAX_TABLE) -> bytes:
    """The content of a file or of a pipe, unpacked if it begins as gzip, bzip2 or xz do.

    Args:
        path: the file; a pipe that nobody writes to is refused instead of waited for.
        limit: most bytes, also after unpacking.

    Raises:
        AsvtkError: it is missing, a folder or a pipe without a writer; it cannot be read, is too large, or
            its compression is cut off or damaged.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # opening a FIFO would wait
    except FileNotFoundError:
        raise AsvtkError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise AsvtkError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        data = _read_descriptor(path, descriptor, limit)
    except OSError as error:
        raise AsvtkError(f"{path}: cannot be read: {error.strerror or error}") from None
    finally:
        os.close(descriptor)
    return _unpack(path, data, limit)


def read_text(path, limit: int = MAX_TABLE) -> str:
    """The text of a file (see `read_bytes`), without byte order mark, each line ended by ``\\n`` alone.

    Raises:
        AsvtkError: as `read_bytes`, or it is no UTF-8 text; with the line.
    """
    return as_text(path, read_bytes(path, limit))


def as_text(path, data: bytes) -> str:
    """`read_text` of what `read_bytes` gave; ``path`` names it in messages."""
    data = data.removeprefix(_BOM)
    if b"\0" in data or data.startswith(_UTF16):
        raise AsvtkError(f"{path}: is no plain text (UTF-16 or binary?); save it as UTF-8 text")
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise AsvtkError(f"{path}:{line}: is not UTF-8 text; convert the file with iconv") from None


def read_lines(path, limit: int = MAX_TABLE) -> list[str]:
    """The lines of a text file (see `read_text`), the blank ones too, of which none is the last.

    Only ``\\n`` ends a line, as in Kaldi; ``str.splitlines`` also cuts at form feeds, U+0085 and U+2028.
    """
    return read_text(path, limit).rstrip("\n \t").split("\n")


def split_blanks(line: str, parts: int = 0) -> list[str]:
    """The fields of a line, which only spaces and tabs part, as in Kaldi; none of a blank line.

    ``str.split`` also cuts at non-breaking spaces and control characters.

    Args:
        parts: at most so many fields, the last of which keeps its inner blanks; 0: any number.
    """
    line = line.strip(" \t")
    return _BLANKS.split(line, max(parts - 1, 0)) if line else []


def read_json(path, expected: type = dict):
    """A JSON file of our own or of somebody else.

    Args:
        path: the file.
        expected: what its outermost value must be: dict or list.

    Raises:
        AsvtkError: as `read_text`, or it is no JSON, holds a number that is not finite, a key twice in one
            object, values nested more than 64 deep, or something else than expected.
    """
    return parse_json(read_text(path, MAX_DOCUMENT), str(path), expected)


def read_json_lines(path) -> list[dict]:
    """A log of one JSON object a line, in order; a last line without its end is cut off and left out.

    Losses may be NaN or infinite in it.

    Raises:
        AsvtkError: see `read_json`; with the line.
    """
    lines = read_text(path, MAX_DOCUMENT).split("\n")[:-1]
    return [
        parse_json(line, f"{path}:{number}", finite=False)
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]


def parse_json(text: str, where: str, expected: type = dict, finite: bool = True):
    """The same from text; ``where`` names it in messages. Python writes NaN and Infinity: not ``finite``."""
    hooks = {"parse_constant": _refuse_constant, "parse_float": _finite} if finite else {}
    try:
        content = json.loads(text, object_pairs_hook=_unique_keys, **hooks)
    except json.JSONDecodeError as error:
        raise AsvtkError(f"{where}: is no JSON: {error}") from None
    except (ValueError, RecursionError) as error:  # integers of thousands of digits among them
        raise AsvtkError(f"{where}: is no JSON that asvtk reads: {error}") from None
    if not isinstance(content, expected):
        names = {dict: "an object {...}", list: "a list [...]"}
        raise AsvtkError(f"{where}: expected {names[expected]}, found {type(content).__name__}")
    check_extent(content, where)
    return content


def check_extent(content, where: str) -> None:
    """Refuse lists and mappings that nest too deep or hold too many values, each alias counted anew.

    Raises:
        AsvtkError: more than 64 in each other, more than a million values, or a whole number beyond 64 bits.
    """
    level, depth, values = [content], 0, 0
    while level := [value for value in level if isinstance(value, (dict, list))]:
        depth += 1
        values += sum(map(len, level))  # before they are looked at: an alias costs a file nothing
        if depth > _MAX_DEPTH:
            raise AsvtkError(f"{where}: is nested more than {_MAX_DEPTH} deep")
        if values > _MAX_VALUES:
            raise AsvtkError(f"{where}: holds more than {_MAX_VALUES} values")
        level = [value for item in level for value in (item.values() if isinstance(item, dict) else item)]
        for value in level:
            if isinstance(value, int) and value.bit_length() > 64:  # hexadecimal ones have no other limit
                raise AsvtkError(f"{where}: holds a whole number of {value.bit_length()} bits")


def _read_descriptor(path, descriptor: int, limit: int) -> bytes:
    about = os.fstat(descriptor)
    mode, block = about.st_mode, _BLOCK
    if stat.S_ISREG(mode) and about.st_size <= limit:
        block = max(block, about.st_size)  # at once: nothing to put together
    if stat.S_ISDIR(mode):
        raise AsvtkError(f"{path}: is a folder, expected a file")
    parts, size = [], 0
    while True:
        try:
            part = os.read(descriptor, block)
        except BlockingIOError:  # somebody has the other end of the pipe, and has nothing to say yet
            select.select([descriptor], [], [])
            continue
        if not part:
            break
        parts.append(part)
        size += len(part)
        if size > limit:
            raise _too_large(path, limit)
    if not parts and stat.S_ISFIFO(mode):
        raise AsvtkError(f"{path}: is a pipe into which nobody writes; expected a file")
    return b"".join(parts)


def _unpack(path, data: bytes, limit: int) -> bytes:
    """The content of a compressed file, or ``data`` itself."""
    name = next((name for magic, name in _PACKED.items() if data.startswith(magic)), None)
    if name is None:
        return data
    new, parts, size = _decompressor(name), [], 0
    try:
        while data:  # `cat a.gz b.gz` is a valid file of two members
            member = new()
            while not member.eof:
                part = member.decompress(data, _BLOCK)
                data = member.unconsumed_tail if name == "gzip" else b""
                parts.append(part)
                size += len(part)
                if size > limit:
                    raise _too_large(path, limit)
                if not (part or data or member.eof):
                    raise AsvtkError(f"{path}: the {name} file is cut off; copy or download it again")
            data = member.unused_data.lstrip(b"\0")
    except (OSError, EOFError, ValueError, _library_error(name)) as error:
        raise AsvtkError(f"{path}: is a damaged {name} file ({error}); copy or download it again") from None
    return b"".join(parts)


def _decompressor(name: str):
    """What makes a decompressor of one member; each library is imported when a file needs it."""
    if name == "gzip":
        import zlib

        return lambda: zlib.decompressobj(wbits=31)
    if name == "bzip2":
        import bz2

        return bz2.BZ2Decompressor
    import lzma

    return lambda: lzma.LZMADecompressor(memlimit=256 << 20)


def _library_error(name: str) -> type[Exception]:
    if name == "gzip":
        import zlib

        return zlib.error
    if name == "xz":
        import lzma

        return lzma.LZMAError
    return OSError


def _too_large(path, limit: int) -> AsvtkError:
    return AsvtkError(f"{path}: has more than {limit >> 20} MiB of text, which is no file of this kind")


def _refuse_constant(name: str):
    raise ValueError(f"{name} is no number of JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:40]} is too large for a number")
    return number


def _unique_keys(pairs: list) -> dict:
    content = dict(pairs)
    if len(content) < len(pairs):
        seen = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the key {twice[:40]!r} stands twice in one object")
    return content
