"""Linear-frequency cepstral coefficients (LFCC), the baseline features of the ASVspoof challenges.

20 ms Hamming windows every 10 ms, a 512-point spectrum, 20 triangular filters spaced evenly on the
linear frequency axis up to 8 kHz, log10 filter energies, a DCT to 20 coefficients (the 0th
included), and their first and second differences: 60 numbers a frame. Source: Sahidullah, Kinnunen
and Hanilçi, "A comparison of features for synthetic speech detection", Interspeech 2015.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asvtk.frontends.base import Conditioning, Extension, FrontEnd, FrontEndConfig
from asvtk.nn.cepstra import LinearCepstra

__all__ = ["Lfcc", "LfccConfig"]


@dataclass(frozen=True)
class LfccConfig(FrontEndConfig):
    name = "lfcc"
    coefficients: int = 20  # static coefficients; the features have three times as many numbers
    filters: int = 20
    window: int = 320  # samples: 20 ms
    shift: int = 160  # samples: 10 ms
    fft: int = 512
    preemphasis: float = 0.97

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= self.coefficients <= self.filters:
            raise ValueError("coefficients must lie between 1 and the number of filters")
        if not 1 <= self.shift <= self.window <= self.fft:
            raise ValueError("expected 1 <= shift <= window <= fft")


class Lfcc(FrontEnd):
    """LFCC with first and second differences."""

    Config = LfccConfig
    label = "lfcc"

    def __init__(self, config: LfccConfig):
        super().__init__(config)
        self.cepstra = LinearCepstra(
            config.coefficients, config.filters, config.window, config.shift, config.fft, config.preemphasis
        )
        self.width, self.min_samples = self.cepstra.width, config.window

    def details(self) -> dict:
        config = self.config
        return {
            "front-end": "LFCC with first and second differences",
            "static coefficients": config.coefficients,
            "filters": config.filters,
            "window, shift, FFT (samples)": [config.window, config.shift, config.fft],
            "pre-emphasis": config.preemphasis,
            "implementation": 2,
        }

    def frames(self, samples):
        return self.cepstra.frames(samples)

    def lower(self, audio: Tensor, samples: Tensor | None) -> dict[int, Tensor]:
        return {0: self.cepstra(audio, samples)}

    def extension(self, samples: int) -> Extension | None:
        # A level, a filter or a repetition is of the whole window.
        if self.conditioning != Conditioning() or not self.min_samples <= samples == self.crop.length(samples):
            return None
        return _Extension(self.cepstra)


class _Extension:
    """LFCC of windows that overlap: a static frame that the window before had is not computed again.

    Two things are a window's own: the first frame, whose first sample has none before it, and the differences.
    """

    def __init__(self, cepstra: LinearCepstra):
        self._cepstra, self._start, self._static = cepstra, 0, torch.zeros(0, 0)

    @torch.inference_mode()
    def __call__(self, start: int, audio: np.ndarray) -> Tensor:
        samples, bank = torch.from_numpy(audio), self._cepstra.filterbank
        new, between = divmod(start - self._start, bank.shift)
        known = self._static[max(new, 0) + 1 :]
        if between or new < 1 or not len(known):
            static = self._compute(samples)
        else:
            # A frame more before the new ones: its first sample is heard without the one before.
            later = self._compute(samples[len(known) * bank.shift :])
            static = torch.cat([self._compute(samples[: bank.length]), known, later[1:]])
        self._start, self._static = start, static
        return self._cepstra.with_differences(static.unsqueeze(0))

    def _compute(self, samples: Tensor) -> Tensor:
        return self._cepstra.static(samples.unsqueeze(0)).squeeze(0)
