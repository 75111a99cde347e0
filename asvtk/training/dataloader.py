"""DataLoader with prefetching workers: batches of a dataset, on their way to the device."""

import contextlib
import functools
import multiprocessing
import os
import weakref
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from asvtk.io.errors import AsvtkError
from asvtk.io.ring_buffer import RingBuffer
from asvtk.models import Batch
from asvtk.training.collate import Layout, collate, decoded
from asvtk.training.dataset import UtteranceDataset

__all__ = ["Loader", "split_batch"]

#: bytes of the batches that a loader reads ahead, or two batches if these are larger
_ROOM = 4 << 30


class Loader:
    """Batches of one data set, as often as wanted.

    Reading runs ahead in worker processes where a GPU would wait for it; they live as long as the
    loader. On a CPU they would only take the cores away from training.

    Args:
        dataset: what to read; it serves the system already (``dataset.serve``).
        device: where batches go.
        workers: processes that read; None: as many as there are CPUs for, on a GPU.
        compressed: whether features of 16 bits are decoded on the device; None: on a GPU.
    """

    def __init__(
        self,
        dataset: UtteranceDataset,
        device: str,
        workers: int | None = None,
        compressed: bool | None = None,
    ):
        self._processes, self._owner = [], os.getpid()
        self._dataset, self._device = dataset, device
        self._workers = (_cpus_per_gpu() if device != "cpu" else 0) if workers is None else workers
        self._compressed = device != "cpu" if compressed is None else compressed
        self._orders, self._loader, self._ring = [], None, None

    def __call__(
        self,
        batches: list[list[int]],
        epoch_seed: int | None = None,
        windows: list[int | None] | None = None,
    ) -> Iterator[tuple[Batch, Tensor]]:
        """Batch and labels (batch,) of each batch, on the device.

        Args:
            batches: numbers of utterances.
            epoch_seed: as in ``UtteranceDataset.draw``.
            windows: of each batch, as there; None: none has one.

        Raises:
            AsvtkError: an utterance cannot be read; from here or from the iterator.
        """
        if not batches:
            return iter(())
        answers = map(_raise_fault, self._read(batches, epoch_seed, windows or [None] * len(batches)))
        return self._to_cpu(answers) if self._device == "cpu" else self._to_gpu(answers)

    def _read(self, batches: list[list[int]], epoch_seed: int | None, windows: list[int | None]) -> Iterator:
        """Start to read; what workers answer comes in the order of the batches."""
        numbers = max(map(len, batches)) * self._largest if self._workers else 0
        starts = self._loader is None or (self._workers > 0 and numbers > self._ring.numbers)
        if starts:
            self._end_workers()
            self._open(numbers)
        self._orders[:] = [
            (number, batch, epoch_seed, window)
            for number, (batch, window) in enumerate(zip(batches, windows, strict=True))
        ]
        others = multiprocessing.active_children()
        answers = iter(self._loader)
        if starts and self._workers:
            self._processes = [child for child in multiprocessing.active_children() if child not in others]
            if self._device != "cpu":
                _pin(self._ring)
        return answers

    @functools.cached_property
    def _largest(self) -> int:
        return self._dataset.largest

    def _open(self, numbers: int) -> None:
        """Make what reads batches of up to so many numbers."""
        options = {}
        if self._workers:
            fit = max(1, _ROOM // (4 * numbers))
            workers = min(self._workers, fit)
            ahead = 2 if 2 * workers <= fit else 1
            # A slot for each batch that is read or waits, and one for that on its way to the device.
            self._ring = RingBuffer(workers * ahead + 1, numbers)
            # The seeds that workers get must not be drawn from the generator that training draws from:
            # how many are drawn depends on when the workers were started.
            options = dict(
                num_workers=workers, prefetch_factor=ahead, persistent_workers=True,
                generator=torch.Generator(), multiprocessing_context="fork",
            )  # fmt: skip
        reader = _Reader(self._dataset, self._ring, self._compressed)
        self._loader = DataLoader(
            reader, sampler=self._orders, batch_size=None, collate_fn=_as_it_is, **options
        )

    def _end_workers(self) -> None:
        """At once: they only read.

        A DataLoader asks its workers to end and waits five seconds for each that does not. On GPUs it was
        seen to wait for all of them, a minute or two after a training; why they did not end is not known.
        """
        for process in self._processes:
            process.terminate()
        self._processes = []

    def __del__(self):
        if os.getpid() == self._owner:  # and not in a process that was forked later
            self._end_workers()

    def _to_cpu(self, answers: Iterator) -> Iterator[tuple[Batch, Tensor]]:
        for answer in answers:
            if isinstance(answer, _Sent):
                inputs, bonafide = answer.unpack(self._ring)
                copies = (x.clone() if isinstance(x, Tensor) else x for x in inputs)
                yield decoded(Batch(*copies)), bonafide
            else:
                inputs, bonafide = answer
                yield decoded(inputs), bonafide

    def _to_gpu(self, answers: Iterator) -> Iterator[tuple[Batch, Tensor]]:
        """Copy each batch while the GPU still computes on the one before."""
        stream = torch.cuda.Stream()

        def copy():
            stream.synchronize()  # asking for a batch gives the slot of the last one away
            answer = next(answers, None)
            if answer is None:
                return None
            inputs, bonafide = answer.unpack(self._ring) if isinstance(answer, _Sent) else answer
            with torch.cuda.stream(stream):
                return decoded(inputs.to(self._device)), bonafide.to(self._device, non_blocking=True)

        ready = copy()
        while ready is not None:
            compute = torch.cuda.current_stream()
            compute.wait_stream(stream)
            for tensor in (*ready[0], ready[1]):
                if tensor is not None:
                    tensor.record_stream(compute)  # its memory is not reused before computing is done with it
            now, ready = ready, copy()
            yield now


class _Sent(NamedTuple):
    """A batch of which features and audio lie in the ring buffer."""

    number: int  # of the batch, which says where they lie
    layout: Layout
    lengths: list[int] | None
    samples: list[int] | None
    bonafide: list[bool] | list[float]

    def unpack(self, ring: RingBuffer) -> tuple[Batch, Tensor]:
        features, audio = self.layout.allocate(ring, self.number)
        lengths, samples = (None if x is None else torch.tensor(x) for x in (self.lengths, self.samples))
        return Batch(features, lengths, audio, samples), torch.tensor(self.bonafide)


class _Reader(Dataset):
    """Whole batches, in the ring buffer if there is one; faults are items.

    Those raised in a worker would reach the user as a page of traceback.
    """

    def __init__(self, dataset: UtteranceDataset, ring: RingBuffer | None, compressed: bool):
        self._dataset, self._ring, self._compressed = dataset, ring, compressed

    def __getitem__(self, order: tuple[int, list[int], int | None, int | None]):
        number, batch, epoch_seed, window = order
        try:
            items = [self._dataset.draw(index, epoch_seed, window, self._compressed) for index in batch]
            return collate(items) if self._ring is None else self._send(number, items)
        except AsvtkError as fault:
            return fault

    def _send(self, number: int, items: list) -> _Sent:
        layouts = []

        def allocate(layout: Layout):
            layouts.append(layout)
            return layout.allocate(self._ring, number)

        (_, lengths, _, samples), bonafide = collate(items, allocate)
        counts = (x if x is None else x.tolist() for x in (lengths, samples))
        return _Sent(number, *layouts, *counts, bonafide.tolist())


def _pin(ring: RingBuffer) -> None:
    """Let a GPU fetch from a ring buffer while it computes; to be called after forking.

    Else a thread would copy each batch to memory that a GPU can fetch from. Where the system refuses it,
    copies work all the same but hold up their process.
    """
    address, cuda = ring.memory.ctypes.data, torch.cuda.cudart()
    if int(cuda.cudaHostRegister(address, ring.memory.nbytes, 0)) == 0:
        weakref.finalize(ring.memory, cuda.cudaHostUnregister, address)
        return
    with contextlib.suppress(RuntimeError):  # CUDA would tell whoever launches the next kernel
        torch.ones(1, device="cuda")


def _as_it_is(batch):
    return batch


def _raise_fault(answer):
    if isinstance(answer, AsvtkError):
        raise answer
    return answer


def _cpus_per_gpu(most: int = 12) -> int:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(most, cpus // int(os.environ.get("LOCAL_WORLD_SIZE", 1)) - 1))


def split_batch(items: list[int], count: int) -> list[list[int]]:
    """A batch as up to ``count`` micro-batches of nearly equal size; none is empty."""
    return [items[number::count] for number in range(min(count, len(items)))]
