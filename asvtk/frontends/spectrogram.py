"""Log energies of narrow bands, evenly spaced up to 8 kHz: an image for convolutional systems.

25 ms Hann windows every 10 ms, a 1024-point spectrum, 128 triangular filters 62 Hz apart, natural
logarithm. An utterance is first brought to an RMS of 1: its level says nothing of who speaks. Unlike
cepstra, bands keep what a vocoder leaves in one place of the time-frequency plane in one place.
"""

from dataclasses import dataclass, field

import numpy as np

from asvtk.frontends.base import Conditioning, Crop
from asvtk.frontends.filterbank import FilterbankFrontEnd

__all__ = ["Spectrogram", "SpectrogramConfig"]

#: energy under every band: 88 dB below a band's of white noise as loud as the speech
FLOOR = 1e-6
SILENCE = 1e-5  # an RMS below this is not raised


@dataclass(frozen=True)
class SpectrogramConfig:
    name = "spectrogram"
    bands: int = 128
    window: int = 400  # samples: 25 ms
    shift: int = 160  # samples: 10 ms
    fft: int = 1024
    crop: Crop = field(default_factory=Crop)
    conditioning: Conditioning = field(default_factory=Conditioning)

    def __post_init__(self):
        if not 1 <= self.shift <= self.window <= self.fft:
            raise ValueError("expected 1 <= shift <= window <= fft")
        if not 1 <= self.bands <= self.fft // 4:
            raise ValueError(f"bands must lie between 1 and fft / 4 ({self.fft // 4}): filters need bins")


class Spectrogram(FilterbankFrontEnd):
    label = "spectrogram"

    def __init__(self, config: SpectrogramConfig, device: str = "cpu"):
        # The device is not used: this is a few products of small matrices.
        super().__init__(config, np.hanning(config.window + 1)[:-1], config.bands, config.bands)

    def describe(self) -> dict:
        config = self.config
        return {
            "front-end": "log energies of linearly spaced bands, at an RMS of 1",
            "bands": config.bands,
            "window, shift, FFT (samples)": [config.window, config.shift, config.fft],
            "crop (samples)": self.crop.samples,
            "shorter utterances are repeated": self.crop.repeat,
            **self.conditioning.describe(),
            "implementation": 1,
        }

    def prepare(self, audio: np.ndarray) -> np.ndarray:
        audio = super().prepare(audio)
        return audio / np.float32(max(np.sqrt(np.square(audio, dtype=np.float64).mean()), SILENCE))

    def compute(self, audio: np.ndarray) -> np.ndarray:
        """(samples,) -> (frames, bands)."""
        return np.log(self.energies(audio) + FLOOR).astype(np.float32)
