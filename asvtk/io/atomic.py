"""Files that are either whole or not there.

A reader (or a rerun after ``kill -9`` or a full disk) must never meet half a file, so everything
small is written beside its final name, synced, and renamed over it.
"""

import contextlib
import os
import tempfile
from pathlib import Path

from asvtk.io.errors import AsvtkError

__all__ = ["atomic_path", "write_text"]


@contextlib.contextmanager
def atomic_path(path):
    """Yield a temporary path in the folder of ``path``; on success it replaces ``path``.

    Args:
        path: the final name. Its folder is created when missing.

    Raises:
        AsvtkError: the file could not be written (disk full, read-only folder ...). An older file
            of that name is untouched.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        yield Path(temporary)
        os.chmod(temporary, 0o666 & ~_UMASK)  # mkstemp and some libraries make private files; ours are shared
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise AsvtkError(
            f"{path}: cannot be written: {error.strerror or error}. Free space or mend the "
            "permissions and run the same command again; an earlier version of the file is untouched."
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


def write_text(path, text: str) -> None:
    """Replace the file ``path`` by ``text`` (UTF-8) in one step."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _read_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


#: read once, before there are threads: it cannot be read without being changed for a moment
_UMASK = _read_umask()
