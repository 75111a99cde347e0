"""Front-ends: torch modules from audio to features, with a cut up to which they may be cached."""

import abc
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from asvtk.frontends.config import FrontEndConfig, Storage
from asvtk.frontends.crop import Conditioning, Crop
from asvtk.frontends.rounding import rounded
from asvtk.frontends.spec import FrontEndSpec
from asvtk.io.ark import as_stored
from asvtk.nn.exporting import is_exporting

__all__ = ["Conditioning", "Crop", "Extension", "Features", "FrontEnd", "FrontEndConfig", "Storage"]

#: where a window begins in its stream, and its audio (samples,) -> its features (layers, frames, width)
Extension = Callable[[int, np.ndarray], Tensor]


class Features(NamedTuple):
    """Features of a batch, and their real lengths."""

    x: Tensor  # (batch, layers, frames, width), padded with anything finite
    lengths: Tensor  # real frames, (batch,)


class FrontEnd(FrontEndSpec, nn.Module):
    """Front-end: prepared audio -> one or several layers of features.

    It is computed in two parts. ``lower`` is frozen, up to the cut: what it gives may be stored, and a
    store is all that the cache is. ``upper`` is what lies above, where training may change it. The
    constructor reads no weights; ``load`` does.
    """

    @abc.abstractmethod
    def lower(self, audio: Tensor, samples: Tensor | None) -> dict[int, Tensor]:
        """The frozen part, without gradients.

        Args:
            audio: prepared, float32 (batch, samples), padded with zeros.
            samples: real samples of each, (batch,); None: all are real, and all equally long.

        Returns:
            the layers at the cut, by number: float32 (batch, frames, width), beyond an utterance's real
            frames anything finite. What an utterance gets depends neither on its batch nor on padding,
            but for rounding.
        """

    def upper(self, layers: dict[int, Tensor], lengths: Tensor) -> dict[int, Tensor]:
        """What lies above the cut: layers at the cut and real frames (batch,) -> the layers heard."""
        return layers

    def load(self, lower: bool = True) -> "FrontEnd":
        """Read the weights of ``upper`` and, if wanted, of ``lower``; returns itself.

        Raises:
            AsvtkError: they are not to be had.
        """
        return self

    def extension(self, samples: int) -> Extension | None:
        """What computes windows of ``samples`` of a stream from new frames alone; None: it takes whole ones.

        Its windows must be those of ``forward``, but for rounding.
        """
        return None

    @property
    def frozen(self) -> tuple[nn.Module, ...]:
        """Modules that are no part of this one's parameters and state: a speech model that stays as it is."""
        return ()

    def prepare_heard(self, audio: Tensor, samples: Tensor | None) -> Tensor:
        """What ``prepare`` does behind ``hear``, in an exported graph: for windows that are full.

        Override it together with ``prepare``.

        Args:
            audio: as ``hear`` gives it, float32 (batch, samples).
            samples: of each, without repetitions, (batch,); given where ``by_real_samples``.
        """
        return audio

    def forward(self, audio: Tensor, samples: Tensor) -> Features:
        """Prepared audio (batch, samples), and real samples of each (batch,) -> what the back-end hears."""
        lengths = self.frames(samples)
        layers = self.lower(audio, None if self.crop.is_fixed else samples)
        if self.stored and self.storage != "FM":  # the back-end was trained on what had been rounded
            layers = {number: self._rounded(x, lengths) for number, x in layers.items()}
        return self._select(self.upper(layers, lengths), lengths)

    def from_cut(self, x: Tensor, lengths: Tensor) -> Features:
        """``forward`` from the cut on: layers (batch, layers, frames, width), and real frames of each."""
        layers = dict(zip(self.cut, x.unbind(1), strict=True))
        above = self.upper(layers, lengths)
        if above is layers and self.cut == self.layers:  # nothing lies above: no copy
            return Features(x, lengths)
        return self._select(above, lengths)

    def _rounded(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Features (batch, frames, width) as the cache gives them back."""
        if is_exporting():
            return rounded(x, self.storage)
        x = x.clone()
        for row, length in zip(x, lengths.tolist(), strict=True):
            if row[:length].isfinite().all():
                row[:length] = torch.from_numpy(as_stored(row[:length].cpu().numpy(), self.storage))
        return x

    def _select(self, layers: dict[int, Tensor], lengths: Tensor) -> Features:
        return Features(torch.stack([layers[number] for number in self.layers], dim=1), lengths)
