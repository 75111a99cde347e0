"""Common batches: windows of all recordings and streams that are judged at once, computed together."""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

__all__ = ["SharedBatches"]


class _Request(NamedTuple):
    windows: list
    answer: Future


class SharedBatches:
    """What computes windows for many threads: what waits when a batch is begun goes into it.

    Nothing waits for a batch to fill up. What a window gets must not depend on what else is in its batch, but
    for rounding, as `Detector.score_batch` has it. Where a batch fails, each recording's windows are computed
    again alone, so that a fault stays with its own.

    Args:
        compute: windows -> sequences of results, an entry a window in each, such as scores and embeddings.
        most: windows in a batch; 1: each recording's alone.
        workers: batches that are computed side by side.
        begin: what each worker does first, such as to say how many threads a batch has.
        observe: is told how many windows each batch has.
        name: of the workers' threads.
    """

    def __init__(
        self,
        compute: Callable[[list], tuple[Sequence, ...]],
        most: int = 16,
        workers: int = 1,
        begin: Callable[[], None] | None = None,
        observe: Callable[[int], None] = lambda windows: None,
        name: str = "scorer",
    ):
        self._compute, self._most, self._observe = compute, most, observe
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._workers = [
            threading.Thread(target=self._work, args=(begin,), name=name, daemon=True) for _ in range(workers)
        ]
        for worker in self._workers:
            worker.start()

    def __call__(self, windows: list) -> tuple[Sequence, ...]:
        """As ``compute``; waits for the answer, and raises what ``compute`` raised."""
        answer: Future = Future()
        self._requests.put(_Request(windows, answer))
        return answer.result()

    def close(self) -> None:
        """Compute what waits, and end the workers."""
        for _ in self._workers:
            self._requests.put(None)
        for worker in self._workers:
            worker.join()

    def _work(self, begin: Callable[[], None] | None) -> None:
        if begin is not None:
            begin()
        while (request := self._requests.get()) is not None:
            batch, count = [request], len(request.windows)
            while count < self._most:
                try:
                    request = self._requests.get_nowait()
                except queue.Empty:
                    break
                if request is None:
                    self._requests.put(None)  # for after this batch
                    break
                batch.append(request)
                count += len(request.windows)
            self._answer(batch)

    def _answer(self, batch: list[_Request]) -> None:
        self._observe(sum(len(request.windows) for request in batch))
        try:
            results = self._compute([window for request in batch for window in request.windows])
        except Exception as error:
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
                return
            for request in batch:
                self._answer([request])
            return
        begin = 0
        for request in batch:
            here = slice(begin, begin + len(request.windows))
            request.answer.set_result(tuple(result[here] for result in results))
            begin = here.stop
