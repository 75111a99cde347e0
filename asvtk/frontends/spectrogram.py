"""Log spectrogram of narrow bands, evenly spaced up to 8 kHz: an image for convolutional back-ends.

25 ms Hann windows every 10 ms, a 1024-point spectrum, 128 triangular filters 62 Hz apart, natural
logarithm. An utterance is first brought to an RMS of 1: its level says nothing of who speaks. Unlike
cepstra, bands keep what a vocoder leaves in one place of the time-frequency plane in one place.
"""

import numpy as np
import torch
from torch import Tensor

from asvtk.frontends.base import FrontEnd
from asvtk.frontends.config import SpectrogramConfig
from asvtk.frontends.spec import SILENCE, SpectrogramSpec
from asvtk.nn.filterbank import LinearFilterbank

__all__ = ["Spectrogram", "SpectrogramConfig"]

#: energy under every band: 88 dB below a band's of white noise as loud as the speech
FLOOR = 1e-6


class Spectrogram(SpectrogramSpec, FrontEnd):
    """Log energies of linearly spaced bands."""

    def __init__(self, config: SpectrogramConfig):
        super().__init__(config)
        window = np.hanning(config.window + 1)[:-1]
        self.filterbank = LinearFilterbank(window, config.shift, config.fft, config.bands)

    def prepare_heard(self, audio: Tensor, samples: Tensor | None) -> Tensor:
        rms = audio.double().square().mean(1, keepdim=True).sqrt().clamp_min(SILENCE)
        return audio / rms.float()

    def lower(self, audio: Tensor, samples: Tensor | None) -> dict[int, Tensor]:
        with torch.autocast(audio.device.type, enabled=False):
            return {0: (self.filterbank(audio.float()) + FLOOR).log()}
