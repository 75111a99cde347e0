"""Batches of audio through the frozen part of a front-end, encoded as an ark stores them."""

import functools
from collections.abc import Callable
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from asvtk.frontends.base import FrontEnd
from asvtk.io.ark import Encoded
from asvtk.io.ark.batches import as_entries, encode_batch
from asvtk.nn.cuda_graph import CudaGraphs

__all__ = ["Extractor"]


class Extractor:
    """Extractor of the layers at a front-end's cut; its caller reads and writes files meanwhile.

    Args:
        frontend: whose weights are loaded when the first batch comes.
        device: ``cpu`` | ``cuda``.
    """

    def __init__(self, frontend: FrontEnd, device: str = "cpu"):
        self.frontend, self.device, self.on_gpu = frontend, device, device != "cpu"
        self._lower = None

    def start(
        self, batch: list[np.ndarray], layers: tuple[int, ...]
    ) -> Callable[[], list[dict[int, Encoded]]]:
        """Start to compute.

        Args:
            batch: prepared utterances; they may be overwritten as soon as this returns.
            layers: which layers, of those at the cut.

        Returns:
            a function that waits for the entries of each utterance, of the front-end's ``storage``; None
            stands for features that are not finite (nan or inf).
        """
        storage = self.frontend.storage
        states, frames = self._compute(batch)
        places = [(layer, run) for layer in layers for run in _runs(frames)]
        fetch = _fetch(
            [
                part
                for layer, run in places
                for part in encode_batch(states[layer][run, : frames[run.start]], storage)
            ]
        )

        def wait() -> list[dict[int, Encoded]]:
            entries, fetched = [{} for _ in batch], iter(fetch())
            for layer, run in places:
                shape = frames[run.start], self.frontend.width
                stored = as_entries(storage, shape, scales=next(fetched), bodies=next(fetched))
                for utterance, entry in zip(entries[run], stored, strict=True):
                    utterance[layer] = entry
            return entries

        return wait

    def __call__(self, batch: list[np.ndarray], layers: tuple[int, ...]) -> list[dict[int, np.ndarray]]:
        """Layer -> float32 matrix (frames, width) of each prepared utterance, before it is stored."""
        states, frames = self._compute(batch)
        matrices = [states[layer].cpu().numpy() for layer in layers]
        return [
            {layer: matrix[row, :count] for layer, matrix in zip(layers, matrices, strict=True)}
            for row, count in enumerate(frames)
        ]

    def _compute(self, batch: list[np.ndarray]) -> tuple[dict[int, Tensor], list[int]]:
        """The layers, each (utterances, frames, width), and how many frames of each utterance are real."""
        if self._lower is None:
            self._load()
        samples = [len(audio) for audio in batch]
        audio = torch.empty(len(batch), max(samples), pin_memory=self.on_gpu)
        # Filled by numpy: torch would share out each row's copy over its own threads, which wait for
        # each other while the readers keep all processors busy.
        for row, utterance in zip(audio.numpy(), batch, strict=True):
            row[: len(utterance)] = utterance
            row[len(utterance) :] = 0
        with torch.inference_mode():
            audio = audio.to(self.device, non_blocking=True)
            if len(set(samples)) > 1:
                states = self.frontend.lower(audio, torch.tensor(samples, device=self.device))
            else:
                states = self._lower(audio)
        return states, [self.frontend.frames(count) for count in samples]

    def _load(self) -> None:
        self.frontend.load().to(self.device)

        def lower(audio: Tensor) -> dict[int, Tensor]:
            return self.frontend.lower(audio, None)

        recorded = self.on_gpu and self.frontend.crop.is_fixed
        self._lower = functools.partial(CudaGraphs(), lower) if recorded else lower


def _fetch(tensors: list[Tensor]) -> Callable[[], list[np.ndarray]]:
    """Start to copy tensors to this machine's memory; returns a function that waits for the copies."""
    if not tensors[0].is_cuda:
        return lambda: [tensor.numpy() for tensor in tensors]
    copies = [
        torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
        for tensor in tensors
    ]
    done = torch.cuda.Event()
    done.record()

    def wait() -> list[np.ndarray]:
        done.synchronize()
        return [copy.numpy() for copy in copies]

    return wait


def _runs(numbers: list[int]) -> list[slice]:
    """Where neighbours are equal: all of a batch, or a few utterances of one of whole utterances."""
    groups = (list(places) for _, places in groupby(range(len(numbers)), numbers.__getitem__))
    return [slice(places[0], places[-1] + 1) for places in groups]
