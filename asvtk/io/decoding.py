"""The one way from a sound file to samples: libsndfile, what it refuses PyAV, then our own FLAC decoder."""

import contextlib
import logging
import mmap
import os
import stat
from collections.abc import Callable, Iterator
from typing import BinaryIO, TypeVar

import numpy as np
import soundfile

from asvtk.io import flac, pyav
from asvtk.io.errors import AsvtkError
from asvtk.io.extent import Extent, read_extent
from asvtk.io.sound import CutOff, Refused, Sound

__all__ = ["LONGEST", "decode", "path_text"]

_log = logging.getLogger(__name__)

#: Hz and channels that recordings have; others stand in damaged headers
_RATES, _CHANNELS = (4_000, 384_000), 32
LONGEST = 70 * 60  #: seconds: 256 MiB at 16 kHz, where a recording is held in memory
_BLOCK = 1 << 18
_MAX_FLAC = 64 << 20  # bytes that our own decoder takes
_NEVER_IN_TEXT = set(range(32)) - set(b"\t\n\v\f\r\x1b")
_UNTOLD = Extent()
_told = mmap.mmap(-1, 1)  # 1: that another decoder read what libsndfile refused. Forked processes share it
_Result = TypeVar("_Result")


def decode(
    path, use: Callable[[Sound], _Result], most: int | None = None, longest: float = LONGEST
) -> tuple[_Result, str]:
    """Hand a sound file to a function, decoded by the first decoder that reads all of it.

    What the file is, its content tells and not its name. Files that libsndfile reads cost nothing more.

    Args:
        path: the file.
        use: what to do with it. It is called again with the next decoder where one gives up midway.
        most: how many samples of a channel are looked at; None: all.
        longest: seconds; longer files are refused.

    Returns:
        what ``use`` returned, and the decoder: ``"libsndfile"``, ``"PyAV"`` or ``"asvtk"``.

    Raises:
        AsvtkError: it is missing, no regular file, empty, cut off, no sound file; its header says what cannot
            be; or no decoder reads all of it.
    """
    with _regular_file(path) as (file, size):
        extent = _UNTOLD if os.pread(file.fileno(), 4, 0) == b"fLaC" else read_extent(file, size)
        if extent.promised is not None and extent.promised > size:
            raise _fault(
                path,
                f"is cut off: by its header it has {extent.promised} bytes or more, here are {size}; "
                "copy or download it again",
            )
        refusals = {}
        for decoder, opened in _DECODERS.items():
            if decoder == "libsndfile" and extent.misread:
                refusals[decoder] = extent.misread
                continue
            try:
                with opened(file, extent, most) as sound:
                    _require_sense(path, sound, longest)
                    sound = sound._replace(blocks=_limited(sound, longest))
                    result = use(sound._replace(doubt=extent.doubt) if extent.doubt else sound)
            except CutOff as fault:
                raise _fault(path, f"is cut off: {fault}; copy or download it again") from None
            except Refused as refusal:
                refusals[decoder] = str(refusal)
                continue
            if refusals and not _told[0]:
                _told[0] = 1
                name, reason = path_text(path), refusals["libsndfile"]
                _log.warning(
                    f"{name}: libsndfile refuses it ({reason}), {decoder} decoded it; other "
                    "files may follow without a word"
                )
            return result, decoder
        raise _fault(path, f"{_verdict(refusals, os.pread(file.fileno(), 512, 0))}")


def path_text(path) -> str:
    """A file's name for messages and tables; bytes in it that are not UTF-8 are written as ``\\xff``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _fault(path, what: str) -> AsvtkError:
    return AsvtkError(f"{path_text(path)}: {what}")


@contextlib.contextmanager
def _regular_file(path) -> Iterator[tuple[BinaryIO, int]]:
    """The open file, and its bytes."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # opening a FIFO would wait
    except FileNotFoundError:
        raise _fault(path, "no such file") from None
    except (OSError, ValueError) as error:
        raise _fault(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise _fault(path, f"is {kind}, expected a sound file")
    with open(descriptor, "rb", buffering=0) as file:  # libsndfile moves the place of a buffer, too
        if not status.st_size:
            raise _fault(path, "the file is empty (0 bytes)")
        yield file, status.st_size


def _require_sense(path, sound: Sound, longest: float) -> None:
    """Refuse headers that would cost memory or time without end."""
    if not _RATES[0] <= sound.rate <= _RATES[1]:
        raise _fault(path, f"its header says {sound.rate} Hz; recordings have {_RATES[0]} to {_RATES[1]} Hz")
    if not 1 <= sound.channels <= _CHANNELS:
        raise _fault(path, f"its header says {sound.channels} channels, expected 1 to {_CHANNELS}")
    if sound.length is not None and sound.length > longest * sound.rate:
        raise _fault(
            path,
            f"by its header it lasts {sound.length / sound.rate / 60:.0f} minutes; cut it into "
            f"pieces of at most {longest / 60:.0f}",
        )


@contextlib.contextmanager
def _libsndfile(file: BinaryIO, extent: Extent, most: int | None) -> Iterator[Sound]:
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    try:
        # By descriptor, as a name's suffix could make noise of any bytes (.vox, .raw).
        opened = soundfile.SoundFile(file.fileno(), closefd=False)
    except soundfile.LibsndfileError as error:
        raise Refused(error.error_string.rstrip(".")) from None
    with opened:
        length, rate = opened.frames, opened.samplerate
        if length >= 1 << 62:  # 2**63 - 1, for a FLAC file whose header does not tell
            raise Refused("its header does not tell how long it is")
        slack = 2 * 1152 if opened.format == "MP3" else 0  # see asvtk.io.extent
        subtype = opened.subtype
        wanted = length if most is None else min(most, length)
        yield Sound(
            rate=rate,
            channels=opened.channels,
            coding=subtype,
            integer=subtype.startswith("PCM"),
            length=length,
            blocks=_libsndfile_blocks(opened, wanted, slack),
        )


def _libsndfile_blocks(opened: soundfile.SoundFile, wanted: int, slack: int) -> Iterator[np.ndarray]:
    count = 0
    while count < wanted:
        try:
            block = opened.read(min(wanted - count, _BLOCK), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            reason = error.error_string.removeprefix("Error : ").rstrip(".")
            raise Refused(reason or f"an error after {count} samples") from None
        if not len(block):
            break
        count += len(block)
        yield block
    if count < wanted - slack:
        reason = f"{count} of {wanted} samples could be decoded"
        raise CutOff(reason) if slack else Refused(reason)


@contextlib.contextmanager
def _pyav(file: BinaryIO, extent: Extent, most: int | None) -> Iterator[Sound]:
    with pyav.opened(file) as sound:
        yield sound


@contextlib.contextmanager
def _own_flac(file: BinaryIO, extent: Extent, most: int | None) -> Iterator[Sound]:
    file.seek(0)
    if os.fstat(file.fileno()).st_size > _MAX_FLAC:
        raise Refused(f"it has more than {_MAX_FLAC >> 20} MiB, which asvtk's own FLAC decoder does not take")
    samples, info = flac.decode(file.read())
    yield Sound(
        rate=info.rate,
        channels=info.channels,
        coding="flac",
        integer=True,
        length=len(samples),
        blocks=iter([samples.astype(np.float32) * np.float32(0.5 ** (info.bits - 1))]),
    )


_DECODERS = {"libsndfile": _libsndfile, "PyAV": _pyav, "asvtk": _own_flac}


def _limited(sound: Sound, longest: float) -> Iterator[np.ndarray]:
    count = 0
    for block in sound.blocks:
        count += len(block)
        if count > longest * sound.rate:
            raise Refused(f"it lasts more than {longest / 60:.0f} minutes; cut it into pieces")
        yield block


def _verdict(refusals: dict[str, str], head: bytes) -> str:
    """Why no decoder reads a file."""
    first, second, own = refusals["libsndfile"], refusals["PyAV"], refusals["asvtk"]
    if own != flac.NO_FLAC:
        missing = f"; {second}" if "cannot be imported" in second else ""
        return f"cannot be decoded: {own}{missing}"
    if not first.startswith("Format not recognised"):
        return f"cannot be decoded (libsndfile: {first}; PyAV: {second})"
    if second != pyav.UNKNOWN:
        return f"cannot be decoded: {second}"
    if len(head) >= 16 and not set(head) & _NEVER_IN_TEXT:
        return "is text, not a sound file"
    return "is not a sound file, or of a kind that cannot be read here"
