"""Batches of a data set on their way to the processor."""

import os
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from asvtk.io.errors import AsvtkError
from asvtk.models import Inputs
from asvtk.training.data import UtteranceDataset

__all__ = ["Loader", "collate", "in_parts"]


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
        self._device, self._batches = device, []
        on_gpu = device != "cpu"
        if workers is None:
            workers = _cpus_per_gpu() if on_gpu else 0
        options = {}
        if workers:
            # The seeds that workers get must not be drawn from the generator that training draws from:
            # how many are drawn depends on when the workers were started.
            options = {"persistent_workers": True, "prefetch_factor": 2, "generator": torch.Generator()}
        self._loader = DataLoader(
            _Careful(dataset),
            batch_sampler=self._batches,
            collate_fn=collate,
            num_workers=workers,
            pin_memory=on_gpu,
            **options,
        )

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
        self._batches[:] = [[(index, epoch_seed) for index in batch] for batch in batches]
        arriving = map(_raise_fault, iter(self._loader))
        if self._device == "cpu":
            return arriving
        return _copied_ahead(arriving, self._device)


class _Careful(Dataset):
    """Hands faults over as items: those raised in a worker reach the user as a page of traceback."""

    def __init__(self, dataset: UtteranceDataset):
        self._dataset = dataset

    def __getitem__(self, key: tuple[int, int | None]):
        try:
            return self._dataset.draw(*key)
        except AsvtkError as fault:
            return fault


def _raise_fault(batch):
    if isinstance(batch, AsvtkError):
        raise batch
    return batch


def _copied_ahead(batches, device: str) -> Iterator[tuple[Inputs, Tensor]]:
    """Copy each batch to the GPU while it still computes on the one before."""
    stream = torch.cuda.Stream()

    def copy():
        batch = next(batches, None)
        if batch is None:
            return None
        with torch.cuda.stream(stream):
            return batch[0].to(device), batch[1].to(device, non_blocking=True)

    ready = copy()
    while ready is not None:
        compute = torch.cuda.current_stream()
        compute.wait_stream(stream)
        for tensor in (*ready[0], ready[1]):
            if tensor is not None:
                tensor.record_stream(compute)  # its memory is not reused before computing is done with it
        now, ready = ready, copy()
        yield now


def _cpus_per_gpu(most: int = 8) -> int:
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(most, cpus // int(os.environ.get("LOCAL_WORLD_SIZE", 1)) - 1))


def in_parts(items: list[int], count: int) -> list[list[int]]:
    """``items`` in up to ``count`` parts of nearly equal size; none is empty."""
    return [items[number::count] for number in range(min(count, len(items)))]


def collate(items) -> tuple[Inputs, Tensor] | AsvtkError:
    """Utterances as one batch, shorter ones padded with zeros behind; a fault in place of one stays."""
    for item in items:
        if isinstance(item, AsvtkError):
            return item
    features, audio, bonafide = zip(*items, strict=True)
    inputs = Inputs(None, None, None, None)
    if features[0] is not None:
        frames_first = [matrix.transpose(0, 1) for matrix in features]
        inputs = inputs._replace(
            features=pad_sequence(frames_first, batch_first=True).transpose(1, 2),
            lengths=torch.tensor([matrix.shape[1] for matrix in features]),
        )
    if audio[0] is not None:
        inputs = inputs._replace(
            audio=pad_sequence(audio, batch_first=True),
            samples=torch.tensor([len(samples) for samples in audio]),
        )
    return inputs, torch.stack(bonafide)
