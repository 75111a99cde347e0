"""Linear-frequency cepstral coefficients (LFCC), the baseline features of the ASVspoof challenges.

20 ms Hamming windows every 10 ms, a 512-point spectrum, 20 triangular filters spaced evenly on the
linear frequency axis up to 8 kHz, log10 filter energies, a DCT to 20 coefficients (the 0th
included), and their first and second differences: 60 numbers a frame. Source: Sahidullah, Kinnunen
and Hanilçi, "A comparison of features for synthetic speech detection", Interspeech 2015.
"""

from torch import Tensor

from asvtk.frontends.base import FrontEnd
from asvtk.frontends.config import LfccConfig
from asvtk.nn.cepstra import LinearCepstra

__all__ = ["Lfcc", "LfccConfig"]


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
