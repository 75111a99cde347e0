"""Process pools on this machine."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait

from tqdm import tqdm

from asvtk.io.errors import AsvtkError

__all__ = ["end_with_parent", "in_processes", "leave_interrupts_to_parent"]

_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


def in_processes(
    function: Callable,
    items: Sequence,
    jobs: int,
    description: str,
    unit: str = "utt",
    fresh: bool = False,
) -> Iterator:
    """``function`` of each item, in order, computed by ``jobs`` processes, with a progress bar.

    The processes end with this one, even if it is killed outright: none is left that writes into what
    the next run makes.

    Args:
        function: can be pickled, as can what it takes and returns.
        items: what it is called with.
        jobs: number of processes.
        description: for the progress bar and messages.
        unit: of the items, for the same.
        fresh: start them anew instead of forking: for those that compute with torch, whose threads do not
            survive a fork.

    Raises:
        AsvtkError: a process was killed. What ``function`` raises comes through.
    """
    context = multiprocessing.get_context("spawn" if fresh else None)
    with ProcessPoolExecutor(max(1, min(jobs, len(items))), context, initializer=end_with_parent) as pool:
        with _without_interrupts():  # a process that has just begun would die of Ctrl-C with a traceback
            results = pool.map(function, items, chunksize=1 if fresh else 4)
        try:
            yield from tqdm(results, total=len(items), desc=description, unit=unit, disable=None)
        except BrokenProcessPool as error:
            raise AsvtkError(
                f"{description}: a process was killed (out of memory?); run it again with fewer"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def leave_interrupts_to_parent() -> None:
    """In a process of a pool: Ctrl-C comes to the parent too, which ends this one in order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """In a process of a pool: leave interrupts to the parent, and end when it does, even if it is killed."""
    leave_interrupts_to_parent()

    def watch():
        wait([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
