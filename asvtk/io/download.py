"""Files from the net: resumed where they were cut off, compared with their SHA-256, whole or not there."""

import contextlib
import http.client
import logging
import os
import time
import urllib.error
import urllib.request
from pathlib import Path

from asvtk.io.errors import AsvtkError
from asvtk.io.locks import locked
from asvtk.io.stamps import file_digest

__all__ = ["cache_home", "download"]

_log = logging.getLogger(__name__)

_TIMEOUT = 30.0  # seconds without a byte
_PAUSES = (0.5, 2.0, 5.0)  # seconds before the second, third and fourth try
_BLOCK = 1 << 16
_BUSY = (408, 425, 429, 500, 502, 503, 504)  # answers that may be others a little later


def cache_home() -> Path:
    """Folder of what asvtk fetches: ``$ASVTK_HOME``, or ``asvtk`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    if home := os.environ.get("ASVTK_HOME"):
        return Path(home).expanduser()
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    # By the XDG specification a path that is not absolute is to be ignored.
    return (Path(xdg) if os.path.isabs(xdg) else Path.home() / ".cache") / "asvtk"


def download(url: str, path, sha256: str, size: int) -> None:
    """Have the file of ``url`` at ``path``; one that is there and sound is left as it is.

    What came before a connection was cut stays in ``PATH.part``, and the next call goes on there. One process
    at a time fetches a file, others wait for it.

    Args:
        url: http, https or file.
        path: the final name; its folder is made.
        sha256: of the file, in hexadecimal digits.
        size: of the file, in bytes; no more is read.

    Raises:
        AsvtkError: it cannot be had, is another file, which is thrown away, or cannot be written.
    """
    path = Path(path)
    with _writing(path), locked(path.with_name(f".{path.name}.lock"), f"fetches {path.name}"):
        if path.exists():
            if file_digest(path) == sha256:
                return
            _log.warning(f"{path}: is not the file with SHA-256 {sha256}; thrown away and fetched again")
            path.unlink()
        part = path.with_name(f"{path.name}.part")
        resumed = _size(part) > 0
        _log.info(f"{url} -> {path} ({size / 1e6:.1f} MB)")
        _fetch(url, part, size)
        if resumed and file_digest(part) != sha256:  # the beginning may be of an older file
            part.unlink()
            _fetch(url, part, size)
        if (found := file_digest(part)) != sha256:
            part.unlink()
            raise AsvtkError(
                f"{url}: is another file than expected: SHA-256 {found}, expected {sha256}; it was thrown "
                "away. Something on the way changed it, or its publisher did"
            )
        os.replace(part, path)


@contextlib.contextmanager
def _writing(path: Path):
    try:
        yield
    except OSError as error:
        where = error.filename or path
        raise AsvtkError(
            f"{where}: cannot be written: {error.strerror or error}; ASVTK_HOME names another folder "
            "for what is fetched"
        ) from None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _fetch(url: str, part: Path, size: int) -> None:
    """Bring ``part`` to ``size`` bytes, or to what the server calls the whole file."""
    if _size(part) > size:
        part.unlink()
    tries = 0
    while (before := _size(part)) < size:
        try:
            if _fetch_rest(url, part, size):
                return
            reason = "the connection was cut"
        except urllib.error.HTTPError as error:
            error.close()
            reason = f"{error.code} {error.reason}"
            if error.code == 416:  # the file there is shorter than what is here
                part.unlink()
            elif error.code not in _BUSY:  # 404, 403 ...
                raise AsvtkError(f"{url}: {reason}; {_elsewhere(part)}") from None
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
            if url.startswith("file:"):
                raise AsvtkError(f"{url}: {reason}") from None
        tries = (
            0 if _size(part) > before else tries + 1
        )  # as long as something comes, it is worth another try
        if tries > len(_PAUSES):
            raise AsvtkError(f"{url}: could not be fetched ({reason}); {_elsewhere(part)}")
        time.sleep(_PAUSES[max(tries - 1, 0)])


def _elsewhere(part: Path) -> str:
    kept = f"what came stays in {part}, and the next call goes on there; " if _size(part) else ""
    return f"{kept}without a network, fetch the file elsewhere and give its path"


def _fetch_rest(url: str, part: Path, size: int) -> bool:
    """One request for what is missing. False: the answer ended before its end."""
    begin = _size(part)
    headers = {"User-Agent": "asvtk", **({"Range": f"bytes={begin}-"} if begin else {})}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT) as answer:
        span = answer.headers.get("Content-Range", "")
        if begin and not (answer.status == 206 and span.startswith(f"bytes {begin}-")):
            begin = 0  # a server without ranges sends the whole
        length = answer.headers.get("Content-Length", "")
        with open(part, "r+b" if begin else "wb") as stream:
            stream.seek(begin)
            while (left := size + 1 - stream.tell()) > 0 and (block := _read(answer, min(left, _BLOCK))):
                stream.write(block)
            end = stream.tell()
            os.fsync(stream.fileno())
    return end >= size or (length.isdecimal() and end - begin >= int(length))


def _read(answer, size: int) -> bytes:
    try:
        return answer.read(size)
    except OSError as error:  # of the connection, and not of the disk
        raise ConnectionError(str(error) or type(error).__name__) from None
