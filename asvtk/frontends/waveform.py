"""Raw waveform as front-end, for back-ends with filters of their own (AASIST, the sinc stream).

It has no layers: nothing is cached, and training and scoring decode the audio files.
"""

from torch import Tensor

from asvtk.frontends.base import FrontEnd
from asvtk.frontends.config import WaveformConfig
from asvtk.frontends.spec import WaveformSpec

__all__ = ["Waveform", "WaveformConfig"]


class Waveform(WaveformSpec, FrontEnd):
    """Front-end without features: the back-end hears the audio."""

    def lower(self, audio: Tensor, samples: Tensor | None) -> dict[int, Tensor]:
        return {}
