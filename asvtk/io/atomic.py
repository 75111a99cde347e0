"""Atomic writes: files that are either whole or not there.

A reader (or a rerun after ``kill -9`` or a full disk) must never meet half a file, so everything
small is written beside its final name, synced, and renamed over it. A link is followed, and what is no
file (a device, a pipe, a socket) is written into: ``--json /dev/null`` must not cost the machine its device.
"""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from pathlib import Path

from asvtk.io.errors import AsvtkError

__all__ = ["atomic_path", "write_text"]

_NAME_MAX = 255  # bytes of a name, on nearly all file systems
_PIPE_WAIT = 5.0  # seconds for the reader of a named pipe to come

_ADVICE = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free space and run the same command again")
_ADVICE |= dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "mend the permissions, or write elsewhere")


@contextlib.contextmanager
def atomic_path(path):
    """Yield a temporary path; on success what was written there replaces ``path``.

    The temporary file is ``.NAME.tmp`` in the folder of ``path``; what a killed process left under that
    name is overwritten. A symbolic link stays, and its target is replaced. What exists and is no regular
    file, ``/dev/stdout`` and its like included, is written into at the end.

    Args:
        path: the final name. Its folder is created when missing.

    Raises:
        AsvtkError: the file could not be written (disk full, read-only folder ...). An older file
            of that name is untouched.
    """
    temporary = None
    try:
        if _is_stream(path):
            with tempfile.TemporaryDirectory(prefix="asvtk_") as folder:
                temporary = os.path.join(folder, "content")
                yield Path(temporary)
                _pour(temporary, path)
            return
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        with _temporary_beside(target) as temporary:
            yield Path(temporary)
            os.chmod(temporary, 0o666 & ~_UMASK)  # some libraries make private files; ours are shared
            descriptor = os.open(temporary, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temporary, target)
    except BrokenPipeError:  # `--json /dev/stdout | head` is no fault
        raise
    except OSError as error:
        if temporary is not None and error.filename not in (None, str(temporary), os.fspath(path)):
            raise  # a fault of what is read meanwhile
        advice = f"; {_ADVICE[error.errno]}" if error.errno in _ADVICE else ""
        raise AsvtkError(f"{path}: cannot be written: {error.strerror or error}{advice}") from error


def write_text(path, text: str) -> None:
    """Replace the file ``path`` by ``text`` in one step: UTF-8, with an escape for what has no UTF-8.

    (Names of files may be any bytes; Python has half characters for those that are no UTF-8.)
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def _is_stream(path) -> bool:
    """Is there something that no file can replace? A folder cannot be written at all."""
    if _descriptor(path) is not None:
        return True
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return not stat.S_ISREG(mode)


def _descriptor(path) -> int | None:
    """The open file of this process that a path such as /dev/stdout or /dev/fd/3 stands for."""
    path = os.path.abspath(path)
    for _ in range(8):  # /dev/stdout -> /proc/self/fd/1, perhaps by a link of the user's
        folder, name = os.path.split(path)
        if re.fullmatch(rf"/proc/(self|{os.getpid()})(/task/\d+)?/fd", os.path.realpath(folder)):
            return int(name) if name.isdecimal() else None
        if not os.path.islink(path):
            return None
        path = os.path.join(folder, os.readlink(path))
    return None


def _pour(source: str, path) -> None:
    """Write the file ``source`` into a device, pipe or open file."""
    descriptor = _descriptor(path)
    if descriptor is None:
        descriptor = _open_stream(path)
    else:
        # At the place where the open file is: what was printed before stays before.
        for printed in filter(None, (sys.stdout, sys.stderr)):
            printed.flush()
        descriptor = os.dup(descriptor)
    with open(source, "rb") as stream, open(descriptor, "wb") as into:
        shutil.copyfileobj(stream, into)


def _open_stream(path) -> int:
    """A device, or a pipe of which the other end is open; that may come a little later."""
    deadline = time.monotonic() + _PIPE_WAIT
    while True:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            if error.errno != errno.ENXIO or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            os.set_blocking(descriptor, True)
            return descriptor


@contextlib.contextmanager
def _temporary_beside(target: Path):
    """An empty file for one writer, removed at the end unless it was renamed.

    Its name is always the same, and the writer locks it: what a killed one left is taken over by the next,
    and who finds it locked takes another name.
    """
    # A long name is cut: the temporary one is longer by five bytes, or by fourteen.
    name = os.fsdecode(os.fsencode(target.name)[: _NAME_MAX - 14])
    path = str(target.with_name(f".{name}.tmp"))
    descriptor = _lock(path)
    if descriptor is None:
        descriptor, path = tempfile.mkstemp(prefix=f".{name}.", suffix=".tmp", dir=target.parent)
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            # Not by its name alone: after the renaming that may be another writer's.
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                os.unlink(path)
        os.close(descriptor)


def _lock(path: str) -> int | None:
    """Open, lock and empty a file of our own; None where that is not to be had."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(descriptor)
        ours = stat.S_ISREG(status.st_mode) and status.st_nlink == 1 and status.st_uid == os.geteuid()
        if ours and os.path.samestat(status, os.stat(path)):  # not renamed by its writer just now
            os.ftruncate(descriptor, 0)
            return descriptor
    os.close(descriptor)
    return None


def _read_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


#: read once, before there are threads: it cannot be read without being changed for a moment
_UMASK = _read_umask()
