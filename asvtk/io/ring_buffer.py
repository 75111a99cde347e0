"""Shared-memory ring buffer for worker processes: arrays of a bounded number of batches."""

import math
import mmap
from collections.abc import Iterable

import numpy as np

__all__ = ["RingBuffer"]


class RingBuffer:
    """A ring of slots, each of which takes the arrays of a batch: batch ``number`` has ``number % slots``.

    What goes through a pipe, or through new shared memory for each batch, meets every page for the first
    time. Here the pages stay. The memory has no name, so nothing is left behind by a kill, and no size but
    the machine's: only processes that are forked afterwards share it.

    Args:
        slots: how many batches there may be at a time.
        numbers: float32 numbers that a slot takes.

    Attributes:
        slots, numbers: the same.
        memory: all of it, float32 (slots, numbers).
    """

    def __init__(self, slots: int, numbers: int):
        self.slots, self.numbers = slots, numbers
        self.memory = np.frombuffer(mmap.mmap(-1, 4 * slots * numbers), np.float32).reshape(slots, numbers)

    def slot(self, number: int) -> np.ndarray:
        """All of a batch's slot, float32 (numbers,), with whatever is there."""
        return self.memory[number % self.slots]

    def arrays(
        self, number: int, parts: Iterable[tuple[tuple[int, ...], type] | None]
    ) -> list[np.ndarray | None]:
        """Views of a batch's slot, one behind the other, with whatever is there.

        Args:
            number: of the batch.
            parts: shape and type, float32 or uint16, of each; None gives None.
        """
        slot, begin, views = self.slot(number), 0, []
        for part in parts:
            if part is None:
                views.append(None)
                continue
            shape, dtype = part
            count = math.prod(shape)
            end = begin + -(-count * np.dtype(dtype).itemsize // 4)
            views.append(slot[begin:end].view(dtype)[:count].reshape(shape))
            begin = end
        assert begin <= self.numbers
        return views
