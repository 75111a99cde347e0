"""Batches of a data set on their way to the processor."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from asvtk.io.errors import AsvtkError
from asvtk.models import Inputs
from asvtk.training.data import UtteranceDataset
from asvtk.training.slots import Slots

__all__ = ["Loader", "collate", "in_parts"]

#: of memory for batches that are read ahead
_ROOM = 4 << 30
_Utterances = list[tuple[Tensor | None, Tensor | None, Tensor]]


class Loader:
    """Batches of one data set, as often as wanted.

    Reading runs ahead in worker processes where a GPU would wait for it; they live as long as the
    loader. On a CPU they would only take the cores away from training.

    Args:
        dataset: what to read; it serves the system already (``dataset.serve``).
        device: where batches go.
        workers: processes that read; None: as many as there are CPUs for, on a GPU.
    """

    def __init__(self, dataset: UtteranceDataset, device: str, workers: int | None = None):
        self._dataset, self._device = dataset, device
        self._workers = (_cpus_per_gpu() if device != "cpu" else 0) if workers is None else workers
        self._orders, self._loader, self._slots = [], None, None
        self._processes, self._owner = [], os.getpid()

    def __del__(self):
        # A DataLoader asks its workers to end, and waits five seconds for each that does not. On GPUs it
        # was seen to wait for all of them, two minutes at the end of a training. They only read.
        if os.getpid() == self._owner:
            for process in self._processes:
                process.terminate()

    def __call__(
        self, batches: list[list[int]], epoch_seed: int | None = None
    ) -> Iterator[tuple[Inputs, Tensor]]:
        """Inputs and labels (batch,) of each batch, on the device.

        Args:
            batches: numbers of utterances.
            epoch_seed: as in ``UtteranceDataset.draw``.

        Raises:
            AsvtkError: an utterance cannot be read; from the iterator.
        """
        if not batches:
            return iter(())
        is_new = self._open(max(map(len, batches)))
        # At any time so many batches are read or waiting, and one more is on its way to the device.
        count = self._slots.count if self._slots is not None else 1
        self._orders[:] = [(number % count, batch, epoch_seed) for number, batch in enumerate(batches)]
        others = multiprocessing.active_children()
        answers = iter(self._loader)
        if is_new and self._slots is not None:
            self._processes += [child for child in multiprocessing.active_children() if child not in others]
            if self._device != "cpu":
                self._slots.pin()
        return self._arriving(answers)

    def _open(self, batch_size: int) -> bool:
        """Start the workers, unless they run; returns whether it did."""
        numbers = batch_size * self._dataset.largest if self._workers else 0
        if self._loader is not None and (self._slots is None or numbers <= self._slots.numbers):
            return False
        options = {}
        if self._workers:
            fit = max(1, _ROOM // (4 * numbers))
            workers = min(self._workers, fit)
            ahead = 2 if 2 * workers <= fit else 1
            self._slots = Slots(workers * ahead + 1, numbers)
            # The seeds that workers get must not be drawn from the generator that training draws from:
            # how many are drawn depends on when the workers were started.
            options = dict(
                num_workers=workers, prefetch_factor=ahead, persistent_workers=True,
                generator=torch.Generator(), multiprocessing_context="fork",
            )  # fmt: skip
        reader = _Reader(self._dataset, self._slots)
        self._loader = DataLoader(reader, batch_sampler=self._orders, collate_fn=_as_it_is, **options)
        return True

    def _arriving(self, answers: Iterator) -> Iterator[tuple[Inputs, Tensor]]:
        """Copy each batch to a GPU while it still computes on the one before."""
        stream = torch.cuda.Stream() if self._device != "cpu" else None

        def fetch():
            if stream is not None:
                stream.synchronize()  # asking for a batch gives the slot of the last one away
            answer = next(answers, None)
            if isinstance(answer, AsvtkError):
                raise answer
            if answer is None:
                return None
            with torch.cuda.stream(stream):
                return self._received(answer)

        if stream is None:
            yield from iter(fetch, None)
            return
        ready = fetch()
        while ready is not None:
            compute = torch.cuda.current_stream()
            compute.wait_stream(stream)
            for tensor in (*ready[0], ready[1]):
                if tensor is not None:
                    tensor.record_stream(compute)  # its memory is not reused before computing is done with it
            now, ready = ready, fetch()
            yield now

    def _received(self, answer: "tuple[Inputs, Tensor] | _Sent") -> tuple[Inputs, Tensor]:
        """A batch on the device; what came through a slot is copied out of it."""
        if isinstance(answer, _Sent):
            inputs, bonafide = answer.unpack(self._slots)
            if self._device == "cpu":
                return Inputs(*(x if x is None else x.clone() for x in inputs)), bonafide
        else:
            inputs, bonafide = answer
        return inputs.to(self._device), bonafide.to(self._device, non_blocking=True)


class _Sent(NamedTuple):
    """A batch of which features and audio lie in a slot."""

    slot: int
    shapes: list[tuple[int, ...]]  # of those of the two that there are
    inputs: Inputs  # as lists of numbers; in place of features and audio, whether there are any
    bonafide: list[bool]

    @classmethod
    def pack(cls, slot: int, batch: tuple[Inputs, Tensor]) -> "_Sent":
        inputs, bonafide = batch
        shapes = [tuple(x.shape) for x in (inputs.features, inputs.audio) if x is not None]
        small = [None if x is None else x.tolist() for x in (inputs.lengths, inputs.samples)]
        has_features, has_audio = inputs.features is not None, inputs.audio is not None
        return cls(slot, shapes, Inputs(has_features, small[0], has_audio, small[1]), bonafide.tolist())

    def unpack(self, slots: Slots) -> tuple[Inputs, Tensor]:
        large = iter(slots.tensors(self.slot, self.shapes))
        features, audio = (next(large) if there else None for there in self.inputs[::2])
        lengths, samples = (None if x is None else torch.tensor(x) for x in self.inputs[1::2])
        return Inputs(features, lengths, audio, samples), torch.tensor(self.bonafide)


class _Reader(Dataset):
    """Whole batches, in a slot if there are any; faults are items.

    Those raised in a worker would reach the user as a page of traceback.
    """

    def __init__(self, dataset: UtteranceDataset, slots: Slots | None):
        self._dataset, self._slots = dataset, slots

    def __getitems__(self, order: tuple[int, list[int], int | None]):
        slot, batch, epoch_seed = order
        try:
            items = [self._dataset.draw(index, epoch_seed) for index in batch]
        except AsvtkError as fault:
            return fault
        if self._slots is None:
            return collate(items)
        return _Sent.pack(slot, collate(items, lambda shapes: self._slots.tensors(slot, shapes)))


def _as_it_is(batch):
    return batch


def _cpus_per_gpu(most: int = 12) -> int:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(most, cpus // int(os.environ.get("LOCAL_WORLD_SIZE", 1)) - 1))


def in_parts(items: list[int], count: int) -> list[list[int]]:
    """``items`` in up to ``count`` parts of nearly equal size; none is empty."""
    return [items[number::count] for number in range(min(count, len(items)))]


def _new(shapes: list[tuple[int, ...]]) -> list[Tensor]:
    return [torch.empty(shape) for shape in shapes]


def collate(
    items: _Utterances, allocate: Callable[[list[tuple[int, ...]]], list[Tensor]] = _new
) -> tuple[Inputs, Tensor]:
    """Utterances as one batch, shorter ones padded with zeros behind.

    Args:
        items: as a data set gives them.
        allocate: gives memory for features and audio, as far as there are any, by their shapes.
    """
    features, audio, bonafide = zip(*items, strict=True)
    inputs, shapes = Inputs(None, None, None, None), []
    if features[0] is not None:
        inputs = inputs._replace(lengths=torch.tensor([matrix.shape[1] for matrix in features]))
        layers, _, d = features[0].shape
        shapes.append((len(items), layers, int(inputs.lengths.max()), d))
    if audio[0] is not None:
        inputs = inputs._replace(samples=torch.tensor([len(samples) for samples in audio]))
        shapes.append((len(items), int(inputs.samples.max())))
    padded = iter(allocate(shapes))
    if features[0] is not None:
        inputs = inputs._replace(features=next(padded))
        for row, matrix in zip(inputs.features, features, strict=True):
            row[:, : matrix.shape[1]] = matrix
            row[:, matrix.shape[1] :] = 0
    if audio[0] is not None:
        inputs = inputs._replace(audio=next(padded))
        for row, samples in zip(inputs.audio, audio, strict=True):
            row[: len(samples)] = samples
            row[len(samples) :] = 0
    return inputs, torch.stack(bonafide)
