"""Linear-frequency cepstral coefficients, the baseline features of the ASVspoof 2019 database.

20 ms Hamming windows every 10 ms, a 512-point spectrum, 20 triangular filters spaced evenly on the
linear frequency axis up to 8 kHz, log10 filter energies, a DCT to 20 coefficients (the 0th
included), and their first and second differences: 60 numbers a frame. Source: Sahidullah, Kinnunen
and Hanilçi, "A comparison of features for synthetic speech detection", Interspeech 2015.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.fft import dct

from asvtk.frontends.base import Conditioning, Crop
from asvtk.frontends.filterbank import FilterbankFrontEnd

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
    conditioning: Conditioning = field(default_factory=Conditioning)

    def __post_init__(self):
        if not 1 <= self.coefficients <= self.filters:
            raise ValueError("coefficients must lie between 1 and the number of filters")
        if not 1 <= self.shift <= self.window <= self.fft:
            raise ValueError("expected 1 <= shift <= window <= fft")


class Lfcc(FilterbankFrontEnd):
    label = "lfcc"

    def __init__(self, config: LfccConfig, device: str = "cpu"):
        # The device is not used: this is a few products of small matrices.
        super().__init__(config, np.hamming(config.window), config.filters, 3 * config.coefficients)

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
            **self.conditioning.describe(),
            "implementation": 1,
        }

    def compute(self, audio: np.ndarray) -> np.ndarray:
        """(samples,) -> (frames, 3 * coefficients)."""
        emphasised = audio.copy()
        emphasised[1:] -= self.config.preemphasis * audio[:-1]
        energies = np.log10(self.energies(emphasised) + np.finfo(np.float32).eps)
        static = dct(energies, type=2, norm="ortho", axis=-1)[..., : self.config.coefficients]
        delta = _difference(static)
        return np.concatenate([static, delta, _difference(delta)], axis=-1).astype(np.float32)


def _difference(features: np.ndarray) -> np.ndarray:
    """next frame - previous frame, the first and last frame standing in for what lies outside."""
    padded = np.concatenate([features[:1], features, features[-1:]])
    return padded[2:] - padded[:-2]
