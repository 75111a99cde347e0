"""Where a sound file says that it ends: decoders read files that were cut short without a word."""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from asvtk.io.sound import id3_size

__all__ = ["Extent", "read_extent"]

#: From here on a length of 32 bits that runs past the end of the file stands for "unknown": programs that
#: write into pipes cannot know it, and put in 0, 0xFFFFFFFF, 0x7FFFFFFF and numbers a little below.
_UNKNOWN_32 = 0x7FFF0000
_UNKNOWN_64 = 1 << 62
_MAX_CHUNKS = 100_000
_UNTOLD = "its header does not tell how long it is"


class Extent(NamedTuple):
    """What the containers tell of a file's length."""

    promised: int | None = None  # bytes that there must be; None: it does not tell
    misread: str = ""  # why libsndfile would read only a part; empty: it reads all
    doubt: str = ""  # why the end may be missing, where nothing says so for sure


def read_extent(file: BinaryIO, size: int) -> Extent:
    """Where the file's own header says that its sound ends.

    Args:
        file: the open file.
        size: its bytes.
    """
    file.seek(0)
    head = file.read(64)
    for magics, reader in _READERS:
        if any(head[place : place + len(magic)] == magic for place, magic in magics):
            return reader(file, size, head)
    return Extent()


def _riff(file, size, head) -> Extent:
    """WAV, also of 64 bits: RF64 of EBU Tech 3306, BW64 of ITU-R BS.2088."""
    order = "big" if head[:4] == b"RIFX" else "little"
    if head[8:12] == b"AVI ":
        return _samples(8, int.from_bytes(head[4:8], order), size)
    large = None
    for name, begin, length in _chunks(file, size, order):
        if name == b"ds64":
            large = int.from_bytes(_read(file, size, begin, 16)[8:], "little")
        if name == b"data":
            if length == 0xFFFFFFFF and large is not None:
                length = large if large < _UNKNOWN_64 else 0
            return _samples(begin, length, size)
    return Extent()


def _chunks(file, size: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Name, first byte and length of the chunks of an IFF file, each padded to an even length."""
    at = 12
    for _ in range(_MAX_CHUNKS):
        chunk = _read(file, size, at, 8)
        length = int.from_bytes(chunk[4:], order)
        yield chunk[:4], at + 8, length
        at += 8 + length + length % 2
        if len(chunk) < 8:
            return


def _wave64(file, size, head) -> Extent:
    at = 40
    for _ in range(_MAX_CHUNKS):
        chunk = _read(file, size, at, 24)
        length = int.from_bytes(chunk[16:], "little")
        if chunk[:4] == b"data":
            return _samples(at + 24, max(0, length - 24), size)
        if len(chunk) < 24 or length < 24:
            break
        at += (length + 7) // 8 * 8
    return Extent()


def _aiff(file, size, head) -> Extent:
    for name, begin, length in _chunks(file, size, "big"):
        if name == b"SSND":
            return _samples(begin, length, size)
    return Extent()


def _au(file, size, head) -> Extent:
    order = "big" if head[:4] == b".snd" else "little"
    return _samples(*(int.from_bytes(head[place : place + 4], order) for place in (4, 8)), size)


def _caf(file, size, head) -> Extent:
    at = 8
    for _ in range(_MAX_CHUNKS):
        chunk = _read(file, size, at, 12)
        length = int.from_bytes(chunk[4:], "big", signed=True)
        if chunk[:4] == b"data":
            return Extent() if length < 0 else Extent(at + 12 + length)
        if len(chunk) < 12 or length < 0:
            break
        at += 12 + length
    return Extent()


def _sphere(file, size, head) -> Extent:
    """NIST SPHERE: lines of name, type and value."""
    file.seek(0)
    lines = file.read(1 << 14).split(b"\n")
    fields = {words[0]: words[2] for line in lines if len(words := line.split(None, 2)) == 3}
    if b"," in fields.get(b"sample_coding", b""):  # packed
        return Extent()
    try:
        begin = int(lines[1])
        counts = [int(fields[name]) for name in (b"sample_count", b"sample_n_bytes")]
        return Extent(begin + counts[0] * counts[1] * int(fields.get(b"channel_count", b"1")))
    except (KeyError, ValueError, IndexError):
        return Extent()


def _ogg(file, size, head) -> Extent:
    """Pages of RFC 3533."""
    at, flags, begun, misread = 0, 0, False, ""
    while at < size:
        page = _read(file, size, at, 27 + 255)
        if page[:4] != b"OggS":
            break
        if len(page) < 27 or len(page) < 27 + page[26]:
            return Extent(at + 28)
        flags = page[5]
        if flags & 2 and begun:
            misread = "one stream after another"
        begun = begun or not flags & 2
        at += 27 + page[26] + sum(page[27 : 27 + page[26]])
    return Extent(at, misread, "" if flags & 4 else "no page says that the stream ends there")


def _mp4(file, size, head) -> Extent:
    """Boxes of ISO/IEC 14496-12."""
    at = 0
    for _ in range(_MAX_CHUNKS):
        if at >= size:
            break
        box = _read(file, size, at, 16)
        length, least = int.from_bytes(box[:4], "big"), 8
        if length == 1:
            length, least = int.from_bytes(box[8:], "big"), 16
        if length < least:  # 0: up to the end
            break
        at += length
    return Extent(at)


def _matroska(file, size, head) -> Extent:
    """Elements of RFC 8794: a header, and one segment that holds all else."""
    at = 0
    for _ in range(2):
        element = _read(file, size, at, 12)
        if len(element) < 12:
            return Extent(at + 12)
        width = 9 - element[4].bit_length()
        length = int.from_bytes(element[4 : 4 + width], "big") & (1 << 7 * width) - 1
        if width > 8 or length == (1 << 7 * width) - 1:  # unknown
            return Extent()
        at += 4 + width + length
    return Extent(at)


def _asf(file, size, head) -> Extent:
    """Objects of the Advanced Systems Format; the second holds the packets."""
    at = 0
    for _ in range(2):
        length = int.from_bytes(_read(file, size, at, 24)[16:], "little")
        if not 24 <= length < _UNKNOWN_64:
            return Extent()
        at += length
    return Extent(at)


def _mp3(file, size, head) -> Extent:
    """A frame with the tag Xing, Info or VBRI in place of sound; few files have the bytes of a CBR file."""
    at = id3_size(head)
    if at > size:
        return Extent(at)
    frame = _read(file, size, at, 256)
    for tag in (b"Xing", b"Info"):
        if 4 <= (place := frame.find(tag)) <= 40:
            flags = int.from_bytes(frame[place + 4 : place + 8], "big")
            place += 8 + 4 * (flags & 1)
            length = int.from_bytes(frame[place : place + 4], "big") if flags & 2 else 0
            return _mp3_extent(at, length, size)
    if frame.find(b"VBRI") == 36:
        return _mp3_extent(at, int.from_bytes(frame[46:50], "big"), size)
    return Extent(misread=_UNTOLD)  # of which libsndfile makes a guess, and stops there


def _mp3_extent(begin: int, length: int, size: int) -> Extent:
    """Programs that take a tag or a frame out forget to count again: 1 % and a frame are forgiven."""
    slack = length // 100 + 1441
    if length and size - begin - length > slack + (64 << 10):  # far more than tags: files were joined
        return Extent(misread="its header counts only a part of it")
    return Extent(begin + max(0, length - slack) if length else None)


def _read(file, size: int, at: int, count: int) -> bytes:
    """Bytes at a place, which a header may have told; none behind the end."""
    if at >= size:
        return b""
    file.seek(at)
    return file.read(count)


def _samples(begin: int, length: int, size: int) -> Extent:
    """A chunk of samples that begins at a byte and has a length, which may stand for "unknown"."""
    if begin + length > size and length >= _UNKNOWN_32:
        return Extent()
    if length == 0 and begin < size:
        return Extent(misread=_UNTOLD)
    return Extent(begin + length)


_READERS = (
    (((0, b"RIFF"), (0, b"RIFX"), (0, b"RF64"), (0, b"BW64")), _riff),
    (((0, b"riff\x2e\x91\xcf\x11"),), _wave64),
    (((0, b"FORM"),), _aiff),
    (((0, b".snd"), (0, b"dns.")), _au),
    (((0, b"caff"),), _caf),
    (((0, b"NIST_1A"),), _sphere),
    (((0, b"OggS"),), _ogg),
    (tuple((4, kind) for kind in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")), _mp4),
    (((0, b"\x1a\x45\xdf\xa3"),), _matroska),
    (((0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),), _asf),
    (((0, b"ID3"), *((0, bytes([0xFF, octet])) for octet in range(0xE2, 0x100))), _mp3),
)
