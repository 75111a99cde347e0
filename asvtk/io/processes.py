"""Work shared out to processes of this machine."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait

from tqdm import tqdm

from asvtk.io.errors import AsvtkError

__all__ = ["in_processes"]


def in_processes(function: Callable, items: Sequence, jobs: int, description: str) -> Iterator:
    """``function`` of each item, in order, computed by ``jobs`` processes, with a progress bar.

    The processes end with this one, even if it is killed outright: none is left that writes into what
    the next run makes.

    Args:
        function: can be pickled, as can what it takes and returns.
        items: what it is called with.
        jobs: number of processes.
        description: for the progress bar and messages.

    Raises:
        AsvtkError: a process was killed. What ``function`` raises comes through.
    """
    with ProcessPoolExecutor(max(1, min(jobs, len(items))), initializer=_end_with_parent) as pool:
        results = pool.map(function, items, chunksize=4)
        try:
            yield from tqdm(results, total=len(items), desc=description, unit="utt", disable=None)
        except BrokenProcessPool as error:
            raise AsvtkError(
                f"{description}: a process was killed (out of memory?); run it again with fewer"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends this one

    def watch():
        wait([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
