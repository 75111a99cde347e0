"""Front-ends: torch modules from audio to features, with a cut up to which they may be cached."""

import abc
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from asvtk.frontends.config import FrontEndConfig, Storage
from asvtk.frontends.crop import Conditioning, Crop, hear
from asvtk.frontends.rounding import rounded
from asvtk.io.ark import as_stored
from asvtk.nn.exporting import is_exporting

__all__ = ["Conditioning", "Crop", "Extension", "Features", "FrontEnd", "FrontEndConfig", "Storage"]

#: where a window begins in its stream, and its audio (samples,) -> its features (layers, frames, width)
Extension = Callable[[int, np.ndarray], Tensor]


class Features(NamedTuple):
    """Features of a batch, and their real lengths."""

    x: Tensor  # (batch, layers, frames, width), padded with anything finite
    lengths: Tensor  # real frames, (batch,)


class FrontEnd(nn.Module, abc.ABC):
    """Front-end: prepared audio -> one or several layers of features.

    It is computed in two parts. ``lower`` is frozen, up to the cut: what it gives may be stored, and a
    store is all that the cache is. ``upper`` is what lies above, where training may change it. The
    constructor reads no weights; ``load`` does.

    Attributes:
        label: short name for the cache folder.
        layers: numbers of the layers that the back-end hears, in ascending order; (0,) where there is one,
            () for a front-end that leaves the audio to the back-end.
        width: numbers a frame.
        min_samples: fewest samples that give a frame; shorter audio is padded.
        cut: numbers of the layers at the cut, which ``upper`` needs; the default is ``layers``.
        trainable: blocks of ``upper`` that training may change.
        uses_gpu: whether a GPU would help ``lower``; if not, stage 2 asks for none.
        batch_size: how many utterances of the crop's length ``lower`` likes at once.
        storage: how its features are stored.
        by_real_samples: whether ``prepare`` asks what of an utterance is no repetition.
    """

    label: str
    layers: tuple[int, ...] = (0,)
    width: int
    min_samples: int = 1
    trainable: int = 0
    uses_gpu: bool = False
    batch_size: int = 16
    storage: Storage = "FM"
    by_real_samples: bool = False

    def __init__(self, config: FrontEndConfig):
        super().__init__()
        self.config, self.crop, self.conditioning = config, config.crop, config.conditioning

    @abc.abstractmethod
    def details(self) -> dict:
        """What ``lower`` and ``prepare`` do, in words that JSON can hold: see ``describe``.

        Raise a number ``implementation`` in it when the code gives other numbers than before.
        """

    @abc.abstractmethod
    def frames(self, samples):
        """Frames of so many samples of prepared audio: a number, or a tensor of them."""

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

    def describe(self) -> dict:
        """Everything that the features at the cut depend on, except the choice of layers.

        Its digest is the cache's fingerprint: two descriptions that are equal must mean equal
        features, so weights go in by their hash.
        """
        heard = {
            "crop (samples)": self.crop.samples,
            "shorter utterances are repeated": self.crop.repeat,
        }
        return {**self.details(), **heard, **self.conditioning.describe()}

    def extension(self, samples: int) -> Extension | None:
        """What computes windows of ``samples`` of a stream from new frames alone; None: it takes whole ones.

        Its windows must be those of ``forward``, but for rounding.
        """
        return None

    @property
    def frozen(self) -> tuple[nn.Module, ...]:
        """Modules that are no part of this one's parameters and state: a speech model that stays as it is."""
        return ()

    @property
    def cut(self) -> tuple[int, ...]:
        return self.layers

    @property
    def frame_shift(self) -> int:
        """Samples from one frame to the next; 1 where there are no frames."""
        samples = 1 << 30  # so many that a frame more or less does not count
        frames = self.frames(2 * samples) - self.frames(samples)
        return round(samples / frames) if frames else 1

    @property
    def stored(self) -> tuple[int, ...]:
        """The layers that stage 2 caches: those at the cut, or none."""
        return self.cut if self.config.cache else ()

    def hear(self, audio: np.ndarray) -> np.ndarray:
        """The head of an utterance, conditioned, repeated where short: float32 (samples,) -> (samples',)."""
        return hear(audio, self.crop, self.conditioning)

    def prepare(self, audio: np.ndarray) -> np.ndarray:
        """What ``lower`` takes: ``hear``, then padding to ``min_samples``."""
        return self.pad(self.hear(audio))

    def prepare_heard(self, audio: Tensor, samples: Tensor | None) -> Tensor:
        """What ``prepare`` does behind ``hear``, in an exported graph: for windows that are full.

        Override it together with ``prepare``.

        Args:
            audio: as ``hear`` gives it, float32 (batch, samples).
            samples: of each, without repetitions, (batch,); given where ``by_real_samples``.
        """
        return audio

    def pad(self, audio: np.ndarray) -> np.ndarray:
        """Zeros behind audio that is shorter than ``min_samples``."""
        short = self.min_samples - len(audio)
        return np.pad(audio, (0, short)) if short > 0 else audio

    def shape(self, samples: int) -> tuple[int, int]:
        """Frames and width of an utterance of so many samples, before cropping."""
        return self.frames(max(self.crop.length(samples), self.min_samples)), self.width

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
