"""Short-time power spectra, bands evenly spaced on the linear frequency axis, and front-ends made of them."""

import abc
from collections.abc import Callable

import numpy as np

from asvtk.frontends.base import Features, FrontEnd
from asvtk.io.audio import SAMPLE_RATE
from asvtk.nn.triangles import linear_triangles

__all__ = ["FilterbankFrontEnd"]


class FilterbankFrontEnd(FrontEnd):
    """A front-end on the CPU that makes a vector of each frame's bands.

    Args:
        config: with ``window``, ``shift`` and ``fft`` in samples, a ``crop`` and a ``conditioning``.
        window: the window's values, shape (config.window,).
        bands: how many.
        dimensions: numbers a frame that ``compute`` gives.
    """

    layers = (0,)
    uses_gpu = False
    batch_size = 16

    def __init__(self, config, window: np.ndarray, bands: int, dimensions: int):
        self.config, self._dimensions = config, dimensions
        self.crop, self.conditioning = config.crop, config.conditioning
        self._window = window.astype(np.float32)
        self._filters = linear_triangles(bands, config.fft, SAMPLE_RATE).astype(np.float32)

    @abc.abstractmethod
    def compute(self, audio: np.ndarray) -> np.ndarray:
        """Features of prepared audio: (samples,) -> (frames, dimensions)."""

    def energies(self, audio: np.ndarray) -> np.ndarray:
        """(samples,) -> (frames, bands)."""
        return _power_spectra(audio, self._window, self.config.shift, self.config.fft) @ self._filters

    def prepare(self, audio: np.ndarray) -> np.ndarray:
        audio = self.hear(audio)
        short = self.config.window - len(audio)
        return np.pad(audio, (0, short)) if short > 0 else audio

    def shape(self, samples: int) -> tuple[int, int]:
        heard = max(self.crop.length(samples), self.config.window)
        return (heard - self.config.window) // self.config.shift + 1, self._dimensions

    def start(self, batch: list[np.ndarray], layers: tuple[int, ...]) -> Callable[[], list[Features]]:
        features = [{0: self.compute(audio)} for audio in batch]
        return lambda: features


def _power_spectra(samples: np.ndarray, window: np.ndarray, shift: int, fft: int) -> np.ndarray:
    """Power of windowed frames: (samples,), at least one window long -> (frames, fft // 2 + 1)."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, len(window))[::shift]
    return np.abs(np.fft.rfft(frames * window, fft)) ** 2
