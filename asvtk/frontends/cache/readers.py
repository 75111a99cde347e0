"""Worker pool that decodes audio ahead of a front-end, with shared-memory batches.

Opening and decoding a file is dozens of short calls from Python. Threads would do them too, but then
the one thread that keeps a GPU busy waits with all of them for the interpreter's lock. What is decoded
passes through a ring buffer that all share. A batch is split among the processes, where a DataLoader would
give all of it to one: here a single batch must come soon, there many at once.
"""

import multiprocessing
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

import numpy as np

from asvtk.io.errors import AsvtkError
from asvtk.io.processes import end_with_parent
from asvtk.io.ring_buffer import RingBuffer

__all__ = ["AudioReaders", "Request"]

_BATCHES = 3  # in shared memory: one that is used, and those being read meanwhile
_AT_ONCE = 8  # utterances that a process is asked for at a time: each asking costs as much as a short one


class Request(NamedTuple):
    """Utterances to read together, and the most samples that any of them gives."""

    utterances: Sequence[str]
    longest: int


class AudioReaders:
    """Pool of processes that decode batch after batch.

    Args:
        read: utterance -> float32 samples; raises AsvtkError if they cannot be had. It runs in forked
            processes: what it changes stays there.
        processes: how many.
        worked: is told the seconds that one of them worked, now and then.
    """

    def __init__(
        self,
        read: Callable[[str], np.ndarray],
        processes: int,
        worked: Callable[[float], None] = lambda seconds: None,
    ):
        self._read, self._processes, self._worked = read, processes, worked

    def prefetch(self, requests: Sequence[Request]) -> Iterator[list[np.ndarray | AsvtkError]]:
        """What ``read`` gives or raises for the utterances of each request, in order.

        The samples must not be used any more once the next batch is asked for.

        Raises:
            AsvtkError: a process was killed.
        """
        room = max((len(request.utterances) * request.longest for request in requests), default=0)
        if not room:
            yield from ([] for _ in requests)
            return
        ring = RingBuffer(_BATCHES, room)
        pool = ProcessPoolExecutor(
            self._processes, multiprocessing.get_context("fork"), _begin, (self._read, ring)
        )
        try:
            yield from self._collect(pool, ring, requests)
        except BrokenProcessPool:
            raise AsvtkError(
                "a process that decodes audio was killed, perhaps for want of memory; what was computed is "
                "cached: run the same command again, with fewer jobs if need be"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)

    def _collect(
        self, pool: ProcessPoolExecutor, ring: RingBuffer, requests: Iterable[Request]
    ) -> Iterator[list[np.ndarray | AsvtkError]]:
        reading: deque[tuple[Request, np.ndarray, list[Future]]] = deque()
        upcoming = enumerate(requests)
        while True:
            while len(reading) < _BATCHES and (following := next(upcoming, None)) is not None:
                number, request = following
                reading.append((request, ring.slot(number), self._submit(pool, number, request)))
            if not reading:
                return
            request, batch, answers = reading.popleft()
            utterances = []
            for answer in answers:
                lengths, seconds = answer.result()
                self._worked(seconds)
                for length in lengths:
                    begin = len(utterances) * request.longest
                    utterances.append(
                        length if isinstance(length, AsvtkError) else batch[begin : begin + length]
                    )
            yield utterances

    def _submit(self, pool: ProcessPoolExecutor, number: int, request: Request) -> list[Future]:
        count, longest = len(request.utterances), request.longest
        step = min(_AT_ONCE, -(-count // self._processes))
        return [
            pool.submit(_fill, number, start * longest, longest, request.utterances[start : start + step])
            for start in range(0, count, step)
        ]


# What follows runs in the processes.

_read, _ring = None, None


def _begin(read: Callable[[str], np.ndarray], ring: RingBuffer) -> None:
    global _read, _ring
    _read, _ring = read, ring
    end_with_parent()


def _fill(
    number: int, begin: int, longest: int, utterances: Sequence[str]
) -> tuple[list[int | AsvtkError], float]:
    """Read utterances to ``begin``, ``begin + longest`` ...; returns how long they are, and the seconds."""
    started, lengths, slot = time.perf_counter(), [], _ring.slot(number)
    for place in range(begin, begin + longest * len(utterances), longest):
        try:
            samples = _read(utterances[len(lengths)])
        except AsvtkError as error:
            lengths.append(error)
        else:
            slot[place : place + longest][: len(samples)] = samples  # a longer one is a ValueError
            lengths.append(len(samples))
    return lengths, time.perf_counter() - started
