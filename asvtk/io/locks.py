"""Locks between processes, on one machine or several that share a file system."""

import fcntl
import os
import platform
from contextlib import contextmanager
from pathlib import Path

__all__ = ["locked"]


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
            stream.seek(0)
            print(f"{path.parent}: waiting for {stream.read().strip() or 'another process'}", flush=True)
            fcntl.flock(stream, fcntl.LOCK_EX)
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {platform.node()}, which {purpose}\n")
        stream.flush()
        yield
