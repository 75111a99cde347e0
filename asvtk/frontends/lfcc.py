"""Linear-frequency cepstral coefficients, the baseline features of the ASVspoof 2019 database.

20 ms Hamming windows every 10 ms, a 512-point spectrum, 20 triangular filters spaced evenly on the
linear frequency axis up to 8 kHz, log10 filter energies, a DCT to 20 coefficients (the 0th
included), and their first and second differences: 60 numbers a frame. Source: Sahidullah, Kinnunen
and Hanilçi, "A comparison of features for synthetic speech detection", Interspeech 2015.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.fft import dct

from asvtk.frontends.base import Crop, Features, FrontEnd
from asvtk.frontends.filterbank import linear_filters, power_spectra

__all__ = ["Lfcc", "LfccConfig"]


@dataclass(frozen=True)
class LfccConfig:
    name = "lfcc"
    coefficients: int = 20  # static coefficients; the features have three times as many numbers
    filters: int = 20
    window: int = 320  # samples: 20 ms
    shift: int = 160  # samples: 10 ms
    fft: int = 512
    preemphasis: float = 0.97
    crop: Crop = field(default_factory=Crop)

    def __post_init__(self):
        if not 1 <= self.coefficients <= self.filters:
            raise ValueError("coefficients must lie between 1 and the number of filters")
        if not 1 <= self.shift <= self.window <= self.fft:
            raise ValueError("expected 1 <= shift <= window <= fft")


class Lfcc(FrontEnd):
    label = "lfcc"
    layers = (0,)
    uses_gpu = False
    batch_size = 16

    def __init__(self, config: LfccConfig, device: str = "cpu"):
        self.config = config  # the device is not used: this is a few products of small matrices
        self.crop = config.crop
        self._window = np.hamming(config.window).astype(np.float32)
        self._filters = linear_filters(config.filters, config.fft).astype(np.float32)

    def describe(self) -> dict:
        config = self.config
        return {
            "front-end": "LFCC with first and second differences",
            "static coefficients": config.coefficients,
            "filters": config.filters,
            "window, shift, FFT (samples)": [config.window, config.shift, config.fft],
            "pre-emphasis": config.preemphasis,
            "crop (samples)": self.crop.samples,
            "shorter utterances are repeated": self.crop.repeat,
            "implementation": 1,
        }

    def prepare(self, audio: np.ndarray) -> np.ndarray:
        audio = self.crop(audio)
        short = self.config.window - len(audio)
        return np.pad(audio, (0, short)) if short > 0 else audio

    def shape(self, samples: int) -> tuple[int, int]:
        heard = max(self.crop.length(samples), self.config.window)
        return (heard - self.config.window) // self.config.shift + 1, 3 * self.config.coefficients

    def start(self, batch: list[np.ndarray], layers: tuple[int, ...]) -> Callable[[], list[Features]]:
        features = [{0: self._compute(audio)} for audio in batch]
        return lambda: features

    def _compute(self, audio: np.ndarray) -> np.ndarray:
        """(samples,) -> (frames, 3 * coefficients)."""
        config = self.config
        emphasised = audio.copy()
        emphasised[1:] -= config.preemphasis * audio[:-1]
        power = power_spectra(emphasised, self._window, config.shift, config.fft)
        energies = np.log10(power @ self._filters + np.finfo(np.float32).eps)
        static = dct(energies, type=2, norm="ortho", axis=-1)[..., : config.coefficients]
        delta = _difference(static)
        return np.concatenate([static, delta, _difference(delta)], axis=-1).astype(np.float32)


def _difference(features: np.ndarray) -> np.ndarray:
    """next frame - previous frame, the first and last frame standing in for what lies outside."""
    padded = np.concatenate([features[:1], features, features[-1:]])
    return padded[2:] - padded[:-2]
