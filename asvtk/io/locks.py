"""Locks between processes, on one machine or several that share a file system."""

import fcntl
import logging
import os
import platform
from contextlib import contextmanager
from pathlib import Path

__all__ = ["locked", "locked_together"]

_log = logging.getLogger(__name__)


@contextmanager
def locked(path, purpose: str = "works here"):
    """Hold the lock file ``path``; one process at a time does, another one waits and says for whom.

    It may be one that outlived its killed launcher. The system drops the lock of a killed process.

    Args:
        path: the lock file; made if need be.
        purpose: what the holder does, for those who wait.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say_wait(path, _content(stream))
            fcntl.flock(stream, fcntl.LOCK_EX)
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {platform.node()}, which {purpose}\n")
        stream.flush()
        yield


@contextmanager
def locked_together(path, group: str):
    """Hold the lock file ``path`` together with all processes that name the same ``group``; others wait."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                fcntl.flock(stream, fcntl.LOCK_SH)
                if (holders := _content(stream)) == group:
                    break
                _say_wait(path, holders)
                fcntl.flock(stream, fcntl.LOCK_UN)
                fcntl.flock(stream, fcntl.LOCK_EX)
            stream.truncate(0)
            stream.write(group)
            stream.flush()
            fcntl.flock(stream, fcntl.LOCK_SH)  # others may come in between
            if _content(stream) == group:
                break
        yield


def _content(stream) -> str:
    stream.seek(0)
    return stream.read().strip()


def _say_wait(path: Path, holder: str) -> None:
    _log.info(f"{path.parent}: waiting for {holder or 'another process'}")
