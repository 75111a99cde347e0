"""Batches of utterances: padding, their layout in shared memory, and features that stay compressed."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from asvtk.io.ark import StoredMatrices
from asvtk.io.ring_buffer import RingBuffer
from asvtk.models import Batch

__all__ = ["CompressedFeatures", "Layout", "collate", "decoded"]


class CompressedFeatures(NamedTuple):
    """Features in the 16 bits that CM2 stores: half the bytes to copy, and decoding is nothing for a GPU."""

    steps: Tensor  # uint16, ([batch,] layers, frames, d)
    scales: Tensor  # float32, ([batch,] layers, 2): what a step is worth, and the minimum

    def to(self, device, non_blocking: bool = False) -> "CompressedFeatures":
        return CompressedFeatures(*(x.to(device, non_blocking=non_blocking) for x in self))

    def decode(self) -> Tensor:
        """float32, the same bits as reading them decoded."""
        step, minimum = self.scales[..., None, None].unbind(-3)
        return self.steps.float().mul_(step).add_(minimum)  # two operations, as they round twice


class Layout(NamedTuple):
    """Shapes of a batch's features and audio, None where there are none, and whether it is compressed."""

    features: tuple[int, ...] | None
    audio: tuple[int, ...] | None
    compressed: bool

    def allocate(self, ring: RingBuffer | None = None, number: int = 0):
        """Features and audio, with whatever is there: in new memory, or in slot ``number`` of a ring."""
        kinds = (np.uint16 if self.compressed else np.float32), np.float32, np.float32
        shapes = self.features, (*self.features[:2], 2) if self.compressed else None, self.audio
        parts = [shape and (shape, kind) for shape, kind in zip(shapes, kinds, strict=True)]
        arrays = [part and np.empty(*part) for part in parts] if ring is None else ring.arrays(number, parts)
        features, scales, audio = (x if x is None else torch.from_numpy(x) for x in arrays)
        return CompressedFeatures(features, scales) if self.compressed else features, audio


def collate(
    items: list[tuple[Tensor | StoredMatrices | None, Tensor | None, Tensor]],
    allocate: Callable[[Layout], tuple] = Layout.allocate,
) -> tuple[Batch, Tensor]:
    """Utterances as one batch, shorter ones padded behind: with zeros, or the minimum where it is compressed.

    Args:
        items: as a data set gives them; where the features of all are yet to be read, they stay compressed.
        allocate: gives memory for features and audio.

    Raises:
        AsvtkError: features cannot be read.
    """
    features, audio, bonafide = zip(*items, strict=True)
    compressed = all(isinstance(x, StoredMatrices) for x in features)
    if not compressed:
        features = [_read(x).decode() if isinstance(x, StoredMatrices) else x for x in features]
    lengths = samples = None
    shapes = [None, None]
    if features[0] is not None:
        # Stored layers (layers, frames, d), or prepared audio (samples,) as long.
        time = max(0, len(features[0].shape) - 2)
        lengths = torch.tensor([x.shape[time] for x in features])
        shape = list(features[0].shape)
        shape[time] = int(lengths.max())
        shapes[0] = (len(items), *shape)
    if audio[0] is not None:
        samples = torch.tensor([len(waveform) for waveform in audio])
        shapes[1] = (len(items), int(samples.max()))
    batch_features, batch_audio = allocate(Layout(*shapes, compressed))
    if batch_features is not None:
        rows = batch_features.steps if compressed else batch_features
        for number, (row, x) in enumerate(zip(rows, features, strict=True)):
            real = row.narrow(time, 0, x.shape[time])
            if compressed:
                x.read(real.numpy())
                batch_features.scales[number] = torch.from_numpy(x.scales)
            else:
                real.copy_(x)
            row.narrow(time, x.shape[time], row.shape[time] - x.shape[time]).zero_()
    if batch_audio is not None:
        for row, waveform in zip(batch_audio, audio, strict=True):
            row[: len(waveform)] = waveform
            row[len(waveform) :] = 0
    return Batch(batch_features, lengths, batch_audio, samples), torch.stack(bonafide)


def _read(stored: StoredMatrices) -> CompressedFeatures:
    steps = np.empty(stored.shape, np.uint16)
    stored.read(steps)
    return CompressedFeatures(torch.from_numpy(steps), torch.from_numpy(stored.scales))


def decoded(batch: Batch) -> Batch:
    """The batch with features in float32."""
    stored = isinstance(batch.features, CompressedFeatures)
    return batch._replace(features=batch.features.decode()) if stored else batch
