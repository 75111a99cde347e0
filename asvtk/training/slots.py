"""Memory in which processes that read batches and the one that trains on them meet."""

import contextlib
import math
import mmap
import weakref
from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["Slots"]


class Slots:
    """A ring of places, each of which takes the tensors of one batch.

    What a DataLoader passes on lies in new shared memory for each batch, and a thread copies it to
    memory that a GPU can fetch from, meeting every page for the first time. Here the pages stay, and the
    GPU fetches from them.

    The memory has no name, so nothing is left behind by a kill, and no size but the machine's: only
    processes that are forked afterwards share it.

    Args:
        count: how many places.
        numbers: float32 numbers that one takes.
    """

    def __init__(self, count: int, numbers: int):
        self.count, self.numbers = count, numbers
        self._memory = torch.frombuffer(mmap.mmap(-1, 4 * count * numbers), dtype=torch.float32)

    def tensors(self, slot: int, shapes: Iterable[tuple[int, ...] | None]) -> list[Tensor | None]:
        """Views of a slot, one behind the other: float32, with whatever numbers are there; None for None."""
        begin, views = slot * self.numbers, []
        for shape in shapes:
            if shape is None:
                views.append(None)
                continue
            end = begin + math.prod(shape)
            views.append(self._memory[begin:end].view(shape))
            begin = end
        assert begin <= (slot + 1) * self.numbers
        return views

    def pin(self) -> None:
        """Let a GPU fetch from here while it computes; to be called after forking.

        Where the system refuses it, copies work all the same but hold up their process.
        """
        address, cuda = self._memory.data_ptr(), torch.cuda.cudart()
        if int(cuda.cudaHostRegister(address, 4 * len(self._memory), 0)) == 0:
            weakref.finalize(self._memory, cuda.cudaHostUnregister, address)
            return
        with contextlib.suppress(RuntimeError):  # CUDA would tell whoever launches the next kernel
            torch.ones(1, device="cuda")
